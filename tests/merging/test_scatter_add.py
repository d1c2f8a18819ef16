"""Every formulation of adding rows to rows, and of whole merges by it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_vtm.merging import (
    MERGINGS,
    bipartite_soft_matching,
    merge,
    merge_weighted,
    replaced_tokens,
)
from jax_vtm.merging.backends.scatter_add import BACKENDS, scatter_add

adding = {how: jax.jit(functools.partial(scatter_add, backend=how)) for how in MERGINGS}


@pytest.mark.parametrize("how", MERGINGS)
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


def test_nothing_is_added_by_a_scatter_where_those_are_slow():
    shapes = [
        jax.ShapeDtypeStruct(shape, kind) for shape, kind in (((2, 9, 4), "f4"), ((2, 5), "i4"), ((2, 5, 4), "f4"))
    ]
    assert "stablehlo.scatter" in adding["scatter"].lower(*shapes).as_text()
    assert "stablehlo.scatter" not in adding["one_hot"].lower(*shapes).as_text()
