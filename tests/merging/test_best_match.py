"""Each source's best destination, in every way of finding it, against numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_vtm.errors import UserError
from jax_vtm.merging import cosine_scores, nearest_by_metric, nearest_by_scores
from jax_vtm.merging.backends import best_match
from jax_vtm.merging.backends.best_match import nearest_in_chunks
from jax_vtm.merging.backends.kernel import nearest_by_kernel

# Sources, destinations, features: fewer than any tile, just a tile, no multiple of one; features in several steps.
SHAPES = [(4, 3, 5), (64, 64, 64), (131, 130, 24), (70, 69, 130)]


def chunked(tile_bytes):
    def run(*vectors):
        best_match.TILE_BYTES, before = tile_bytes, best_match.TILE_BYTES
        try:
            return nearest_in_chunks(*vectors)
        finally:
            best_match.TILE_BYTES = before

    return run


WAYS = {
    "all in one chunk": nearest_in_chunks,
    "clip by clip": chunked(4 * 131 * 130),
    "one source a chunk": chunked(1),
    "ragged chunks": chunked(4 * 69 * 9),
    "gpu": functools.partial(nearest_by_kernel, platform="gpu", interpret=True),
    "tpu": functools.partial(nearest_by_kernel, platform="tpu", interpret=True),
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
    kernel = functools.partial(nearest_by_kernel, interpret=True)
    monkeypatch.setattr(best_match, "nearest_by_kernel", lambda *args, platform: kernel(*args, platform="gpu"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("how", ["xla", "chunked", "pallas"])
@pytest.mark.usefixtures("interpreted")
def test_cosine_similarity_in_float32(how, dtype):
    metric = jax.random.normal(jax.random.key(0), (2, 141, 24)).astype(dtype)
    found = jax.jit(lambda metric: nearest_by_metric(metric, class_token=True, how=how))(metric)
    assert (found.num_destinations, found.score.dtype) == (70, jnp.float32)
    unit = np.asarray(metric, np.float64)
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    expected = np.einsum("bsm,btm->bst", unit[:, ::2], unit[:, 1::2])[:, 1:]
    np.testing.assert_array_equal(found.score[:, 0], -np.inf)
    np.testing.assert_array_equal(found.destination[:, 0], 0)
    np.testing.assert_allclose(found.score[:, 1:], expected.max(-1), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.destination[:, 1:], expected.argmax(-1))


@pytest.mark.parametrize("how", ["xla", "chunked", "pallas"])
@pytest.mark.usefixtures("interpreted")
def test_under_vmap_and_with_a_gradient(how):
    metric = jax.random.normal(jax.random.key(1), (3, 2, 9, 4))
    flat = nearest_by_scores(cosine_scores(metric.reshape(6, 9, 4)))
    mapped = jax.vmap(lambda one: nearest_by_metric(one, how=how))(metric)
    np.testing.assert_array_equal(mapped.destination.reshape(6, -1), flat.destination)

    def some_of_the_destinations(metric):
        found = nearest_by_metric(metric, how=how)
        return jnp.take_along_axis(metric, found.destination[..., None], axis=1).sum()

    assert np.isfinite(jax.grad(some_of_the_destinations)(metric[0])).all()


@pytest.mark.parametrize("how", ["xla", "chunked"])
def test_a_single_token_has_nobody(how):
    found = nearest_by_metric(jnp.ones((2, 1, 3)), how=how)
    assert found.num_destinations == 0
    np.testing.assert_array_equal(found.score, -np.inf)


def test_chunks_and_kernels_never_hold_all_scores():
    metric = jax.ShapeDtypeStruct((1, 3137, 64), jnp.float32)
    chunked = jax.jit(functools.partial(nearest_by_metric, how="chunked")).lower(metric).as_text()
    assert "1569x1568" not in chunked
    assert "1569x1568" in jax.jit(functools.partial(nearest_by_metric, how="xla")).lower(metric).as_text()


@pytest.mark.parametrize(("platform", "lowered_for"), [("gpu", "cuda"), ("tpu", "tpu")])
@pytest.mark.parametrize("width", [64, 768])
def test_kernels_lower_for_their_platforms(platform, lowered_for, width):
    vectors = [jax.ShapeDtypeStruct((2, tokens, width), jnp.float32) for tokens in (1569, 1568)]
    traced = jax.jit(functools.partial(nearest_by_kernel, platform=platform)).trace(*vectors)
    text = traced.lower(lowering_platforms=(lowered_for,)).as_text()
    assert {"gpu": "__gpu$xla.gpu.triton", "tpu": "tpu_custom_call"}[platform] in text
    assert "1568x1569" not in text
    assert "1569x1568" not in text


def test_too_many_wide_destinations_for_a_tpu():
    vectors = [jax.ShapeDtypeStruct((1, 6272, 768), jnp.float32)] * 2
    with pytest.raises(UserError, match=r"6272 destinations with 768 features.*'xla' or 'chunked'"):
        jax.eval_shape(functools.partial(nearest_by_kernel, platform="tpu"), *vectors)
