"""Each source's best destination, in every way of finding it, against numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_vtm.merging import choose_matching, cosine_scores, nearest_by_metric, nearest_by_scores
from jax_vtm.merging.backends import best_match
from jax_vtm.merging.backends.best_match import nearest_in_chunks
from jax_vtm.merging.backends.gpu_matching import nearest_on_gpu

# Sources, destinations, features: fewer than any tile, just a tile, no multiple of one; features in several steps.
SHAPES = [(4, 3, 5), (64, 64, 64), (131, 130, 24), (70, 69, 130)]


def chunked(tile_bytes):
    def run(*vectors):
        before = best_match.TILE_BYTES, best_match.ONE_TILE_BYTES
        best_match.TILE_BYTES = best_match.ONE_TILE_BYTES = tile_bytes
        try:
            return nearest_in_chunks(*vectors)
        finally:
            best_match.TILE_BYTES, best_match.ONE_TILE_BYTES = before

    return run


WAYS = {
    "all in one chunk": nearest_in_chunks,
    "clip by clip": chunked(4 * 131 * 130),
    "one source a chunk": chunked(1),
    "ragged chunks": chunked(4 * 69 * 9),
    "gpu": functools.partial(nearest_on_gpu, interpret=True),
}
jitted = {name: jax.jit(way) for name, way in WAYS.items()}


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=8)
@given(shape=st.sampled_from(SHAPES), levels=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_exact_with_ties(way, shape, levels, seed):
    num_sources, num_destinations, width = shape
    rng = np.random.default_rng(seed)
    # Small whole numbers, so that products are exact and often equal.
    sources, destinations = (
        rng.integers(-levels, levels + 1, (2, tokens, width)).astype(np.float32)
        for tokens in (num_sources, num_destinations)
    )
    # A destination that comes again further on.
    destinations[:, -1] = destinations[:, 0]
    score, destination = jitted[way](sources, destinations)
    expected = np.einsum("bsm,btm->bst", sources, destinations)
    np.testing.assert_array_equal(score, expected.max(-1))
    np.testing.assert_array_equal(destination, expected.argmax(-1))
    assert (score.dtype, destination.dtype) == (jnp.float32, jnp.int32)


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@given(levels=st.integers(1, 3), seed=st.integers(0, 99))
def test_scores_that_are_there(platform, class_token, levels, seed):
    scores = np.random.default_rng(seed).integers(-levels, levels + 1, (2, 6, 5)).astype(np.float32)
    found = nearest_by_scores(jnp.asarray(scores), class_token=class_token, platform=platform)
    scores[:, 0] = -np.inf if class_token else scores[:, 0]
    np.testing.assert_array_equal(found.score, scores.max(-1))
    np.testing.assert_array_equal(found.destination, scores.argmax(-1))
    assert found.destination.dtype == jnp.int32


@pytest.fixture
def interpreted(monkeypatch):
    """Lets "pallas" be asked for here."""
    monkeypatch.setattr(best_match, "choose_matching", lambda how, platform, shape: how)
    for name in ("nearest_on_gpu", "nearest_on_tpu"):
        monkeypatch.setattr(best_match, name, functools.partial(getattr(best_match, name), interpret=True))


HOW = [("xla", "cpu"), ("chunked", "cpu"), ("pallas", "gpu"), ("pallas", "tpu")]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("how", "platform"), HOW)
@pytest.mark.parametrize("num_tokens", [141, 512])
@pytest.mark.usefixtures("interpreted")
def test_cosine_similarity_in_float32(how, platform, dtype, num_tokens):
    metric = jax.random.normal(jax.random.key(0), (2, num_tokens, 24)).astype(dtype)
    # One that is like nothing, and a destination that comes again further on.
    metric = metric.at[:, 4].set(0).at[:, -1 - num_tokens % 2].set(metric[:, 1])
    found = jax.jit(lambda metric: nearest_by_metric(metric, class_token=True, how=how, platform=platform))(metric)
    assert (found.num_destinations, found.score.dtype) == (num_tokens // 2, jnp.float32)
    unit = np.asarray(metric, np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=-1, keepdims=True), 1e-9)
    expected = np.einsum("bsm,btm->bst", unit[:, ::2], unit[:, 1::2])[:, 1:]
    np.testing.assert_array_equal(found.score[:, 0], -np.inf)
    np.testing.assert_array_equal(found.destination[:, 0], 0)
    np.testing.assert_allclose(found.score[:, 1:], expected.max(-1), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.destination[:, 1:], expected.argmax(-1))


@pytest.mark.parametrize(("how", "platform"), HOW)
@pytest.mark.usefixtures("interpreted")
def test_under_vmap_and_with_a_gradient(how, platform):
    metric = jax.random.normal(jax.random.key(1), (3, 2, 9, 4))
    flat = nearest_by_scores(cosine_scores(metric.reshape(6, 9, 4)))
    mapped = jax.vmap(lambda one: nearest_by_metric(one, how=how, platform=platform))(metric)
    np.testing.assert_array_equal(mapped.destination.reshape(6, -1), flat.destination)

    def some_of_the_destinations(metric):
        found = nearest_by_metric(metric, how=how, platform=platform)
        return jnp.take_along_axis(metric, found.destination[..., None], axis=1).sum()

    assert np.isfinite(jax.grad(some_of_the_destinations)(metric[0])).all()


@pytest.mark.parametrize("how", ["xla", "chunked"])
def test_a_single_token_has_nobody(how):
    found = nearest_by_metric(jnp.ones((2, 1, 3)), how=how)
    assert found.num_destinations == 0
    np.testing.assert_array_equal(found.score, -np.inf)


def test_chunks_and_kernels_never_hold_all_scores():
    metric = jax.ShapeDtypeStruct((2, 3137, 64), jnp.float32)
    chunked = jax.jit(functools.partial(nearest_by_metric, how="chunked")).lower(metric).as_text()
    assert "1569x1568" not in chunked
    assert "1569x1568" in jax.jit(functools.partial(nearest_by_metric, how="xla")).lower(metric).as_text()


@pytest.mark.parametrize("width", [64, 768])
def test_kernel_lowers_for_gpus(width):
    vectors = [jax.ShapeDtypeStruct((2, tokens, width), jnp.float32) for tokens in (1569, 1568)]
    text = jax.jit(nearest_on_gpu).trace(*vectors).lower(lowering_platforms=("cuda",)).as_text()
    assert "__gpu$xla.gpu.triton" in text
    assert "1568x1569" not in text
    assert "1569x1568" not in text


def test_a_tpu_matches_by_a_kernel_what_fits_into_its_memory():
    chosen = {shape: choose_matching("auto", "tpu", shape=shape) for shape in ((3137, 64), (12545, 64), (3137, 768))}
    assert chosen == {(3137, 64): "pallas", (12545, 64): "chunked", (3137, 768): "chunked"}
    metric = jax.ShapeDtypeStruct((2, 3137, 64), jnp.float32)
    traced = jax.jit(functools.partial(nearest_by_metric, platform="tpu")).trace(metric)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert "tpu_custom_call" in text
    assert "1568x1569" not in text
