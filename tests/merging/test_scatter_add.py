"""Every formulation of adding rows to rows, and of whole merges by it."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_vtm.merging import (
    bipartite_soft_matching,
    merge,
    merge_weighted,
    replaced_tokens,
)
from jax_vtm.merging.backends.scatter_add import BACKENDS, choose_merging, scatter_add
from jax_vtm.merging.backends.tpu_merging import merged_on_tpu

HOW = ("auto", *BACKENDS)
adding = {how: jax.jit(functools.partial(scatter_add, backend=how)) for how in HOW}


@pytest.fixture(autouse=True, scope="module")
def interpreted():
    """Kernels for TPUs run by their interpreter."""
    # By its name, since a function of the package has it too.
    merge_module = importlib.import_module("jax_vtm.merging.merge")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(merge_module, "merged_on_tpu", functools.partial(merged_on_tpu, interpret=True))
        yield


@pytest.mark.parametrize("how", HOW)
@given(
    # Rows that are there, rows that arrive, how many of the first they meet on.
    shape=st.sampled_from([(5, 7, 5), (5, 7, 1), (5, 0, 5), (1, 3, 1), (40, 39, 3)]),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    seed=st.integers(0, 2**16),
)
def test_exact(how, shape, dtype, seed):
    kept, arriving, met = shape
    rng = np.random.default_rng(seed)
    # Whole numbers, whose sums do not depend on their order.
    own, rows = (rng.integers(-9, 10, (2, count, 3)).astype(np.float32) for count in (kept, arriving))
    target = rng.integers(0, met, (2, arriving))
    found = adding[how](jnp.asarray(own, dtype), jnp.asarray(target), jnp.asarray(rows, dtype))
    expected = own.copy()
    for clip in range(2):
        np.add.at(expected[clip], target[clip], rows[clip])
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, expected)


@functools.partial(jax.jit, static_argnums=(0, 4))
def merged(backend, scores, x, size, threshold):
    matching = bipartite_soft_matching(scores, 99, class_token=True)
    replaced = None if threshold is None else replaced_tokens(matching, threshold)
    weighted = merge_weighted(matching, x, size, replaced=replaced, backend=backend)
    return *weighted, merge(matching, x, replaced=replaced, backend=backend)


@pytest.mark.parametrize("threshold", [None, 0.5, 2.0], ids=["merge", "hybrid", "all emptied"])
@pytest.mark.parametrize("how", BACKENDS)
@given(one_destination=st.booleans(), seed=st.integers(0, 2**16))
def test_merges_agree(how, threshold, one_destination, seed):
    rng = np.random.default_rng(seed)
    scores = rng.random((2, 6, 5)).astype(np.float32)
    if one_destination:
        scores[..., 2] += 1
    x, size = rng.normal(size=(2, 11, 3)).astype(np.float32), rng.integers(1, 600, (2, 11)).astype(np.float32)
    found = merged(how, scores, x, size, threshold)
    plain = merged("scatter", scores, x, size, threshold)
    np.testing.assert_allclose(found[0], plain[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found[1], plain[1])
    np.testing.assert_allclose(found[2], plain[2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", BACKENDS)
def test_gradients_agree(how):
    own, rows = jnp.ones((1, 3, 2)), jnp.arange(8.0).reshape(1, 4, 2)
    target = jnp.asarray([[0, 2, 2, 0]])

    def loss(own, rows, how):
        return (scatter_add(own, target, rows, how) ** 2).sum()

    for found, plain in zip(*(jax.grad(loss, (0, 1))(own, rows, way) for way in (how, "scatter")), strict=True):
        np.testing.assert_allclose(found, plain, rtol=1e-6)


@functools.partial(jax.jit, static_argnums=(3, 4))
def merged_as_for(x, size, scores, threshold, platform):
    matching = bipartite_soft_matching(scores, 9)
    replaced = None if threshold is None else replaced_tokens(matching, threshold)

    def loss(x, size):
        merged, sizes = merge_weighted(matching, x, size, replaced=replaced, platform=platform)
        return jnp.sum(merged**2) + jnp.sum(sizes**2), (merged, sizes)

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(x, size)


# Rows of one register and of several, tokens of one stretch of code and of several with a rest.
@pytest.mark.parametrize("shape", [(11, 3), (45, 256)])
@pytest.mark.parametrize("threshold", [None, 0.5])
@given(one_destination=st.booleans(), seed=st.integers(0, 2**16))
@settings(max_examples=5)
def test_a_tpus_kernel_merges_as_sums_do(shape, threshold, one_destination, seed):
    rng = np.random.default_rng(seed)
    num_tokens, channels = shape
    scores = rng.random((2, (num_tokens + 1) // 2, num_tokens // 2)).astype(np.float32)
    if one_destination:
        scores[..., 2] += 1
    x = rng.normal(size=(2, num_tokens, channels)).astype(np.float32)
    size = rng.integers(1, 600, (2, num_tokens)).astype(np.float32)
    found, plain = (merged_as_for(x, size, scores, threshold, platform) for platform in ("tpu", "cpu"))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5), found, plain)
    np.testing.assert_array_equal(found[0][1][1], plain[0][1][1])


def test_a_tpu_merges_by_products_what_does_not_fit_into_its_memory():
    assert choose_merging("auto", "tpu", shape=(3137, 300, 768)) == "pallas"
    assert choose_merging("pallas", "tpu", shape=(12545, 1200, 768)) == "one_hot"


def test_nothing_is_added_by_a_scatter_where_those_are_slow():
    shapes = [
        jax.ShapeDtypeStruct(shape, kind) for shape, kind in (((2, 9, 4), "f4"), ((2, 5), "i4"), ((2, 5, 4), "f4"))
    ]
    assert "stablehlo.scatter" in adding["scatter"].lower(*shapes).as_text()
    assert "stablehlo.scatter" not in adding["one_hot"].lower(*shapes).as_text()
