"""What is compared, and what is decided by it, against numpy; the recorded cases are in test_recorded_merges.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_cases import groups, match

from jax_vtm.errors import UserError
from jax_vtm.merging import (
    bipartite_soft_matching,
    cosine_scores,
    kth_bipartite_matching,
    match_by_importance,
    membership_of,
    merge,
    metric_from_keys,
    nearest_by_scores,
    random_bipartite_matching,
    uniform_scores,
)
from jax_vtm.merging.backends.best_match import unit_vectors
from jax_vtm.merging.tome import random_order


@functools.partial(jax.jit, static_argnums=(2, 3))
def decide_by_importance(importance, scores, r, class_token):
    best = None if scores is None else nearest_by_scores(scores, class_token=class_token)
    return match_by_importance(importance, best, r, class_token=class_token, ascending=True)


@given(
    tokens=st.sampled_from([6, 9]),
    r=st.sampled_from([0, 2, 9]),
    class_token=st.booleans(),
    with_edges=st.booleans(),
    levels=st.sampled_from([2, 10_000]),
    seed=st.integers(0, 2**16),
)
def test_the_least_important_sources_go_along_their_edges(tokens, r, class_token, with_edges, levels, seed):
    rng = np.random.default_rng(seed)
    importance = rng.integers(0, levels, (2, tokens)).astype(np.float32)
    scores = rng.random((2, (tokens + 1) // 2, tokens // 2)).astype(np.float32)
    matching = decide_by_importance(importance, scores if with_edges else None, r, class_token)
    r = min(r, (tokens - class_token) // 2)
    for clip in range(2):
        # Of equally important ones the first.
        sources = sorted(range(2 * class_token, tokens, 2), key=lambda token, clip=clip: importance[clip, token])
        kept = [*sorted(set(range(0, tokens, 2)) - {*sources[:r]}), *range(1, tokens, 2)]
        np.testing.assert_array_equal(matching.src[clip], sources[:r])
        np.testing.assert_array_equal(matching.kept[clip], kept if r else range(tokens))
        if with_edges and r:
            edges = scores[clip][np.array(sources[:r]) // 2]
            np.testing.assert_array_equal(matching.score[clip], edges.max(-1))
            np.testing.assert_array_equal(np.array(kept)[matching.dst[clip]], 2 * edges.argmax(-1) + 1)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def decide(scores, r, class_token, distill_token):
    matching = bipartite_soft_matching(scores, r, class_token=class_token, distill_token=distill_token)
    return matching, membership_of(matching)


@given(
    tokens=st.sampled_from([6, 9]),
    r=st.sampled_from([-1, 2, 9]),
    class_token=st.booleans(),
    distill_token=st.booleans(),
    levels=st.sampled_from([2, 5, 10_000]),
    seed=st.integers(0, 2**16),
)
def test_against_numpy_with_ties(tokens, r, class_token, distill_token, levels, seed):
    shape = (2, (tokens + 1) // 2, tokens // 2)
    scores = np.random.default_rng(seed).integers(0, levels, shape).astype(np.float32)
    matching, membership = decide(scores, r, class_token, distill_token)
    for clip in range(2):
        survivors, removed, targets = match(scores[clip], r, class_token=class_token, distill_token=distill_token)
        np.testing.assert_array_equal(matching.kept[clip], survivors)
        np.testing.assert_array_equal(matching.src[clip], removed)
        np.testing.assert_array_equal(matching.dst[clip], targets)
        np.testing.assert_array_equal(membership[clip], groups(tokens, survivors, removed, targets))
        if class_token:
            # It stays in front as a source, and only destinations receive.
            assert membership[clip][0] == 0
            assert 0 not in targets
        if distill_token:
            assert survivors.index(1) == 1 or not removed
            assert not removed or 1 not in targets


@pytest.mark.parametrize("k", [0, -1, 7])
def test_kth_needs_a_sensible_k(k):
    with pytest.raises(UserError, match=f"k is {k}; expected 1 to 6"):
        kth_bipartite_matching(jnp.ones((1, 6, 2)), k)


def test_random_bipartite_keeps_one_token():
    matching = random_bipartite_matching(jnp.ones((1, 5, 2)), random_order(jax.random.key(0), 1, 5), 99)
    assert matching.kept.shape == (1, 1)
    np.testing.assert_array_equal(merge(matching, jnp.ones((1, 5, 2)), "sum"), [[[5, 5]]])


@pytest.mark.parametrize("num_tokens", [1, 2, 7])
def test_cosine_of_even_and_odd_positions(num_tokens):
    metric = np.random.default_rng(0).normal(size=(2, num_tokens, 5)).astype(np.float32)
    exact = metric.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=-1, keepdims=True)
    expected = np.einsum("bsm,btm->bst", exact[:, ::2], exact[:, 1::2])
    found = cosine_scores(jnp.asarray(metric))
    assert found.shape == (2, (num_tokens + 1) // 2, num_tokens // 2)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_zero_metric_is_similar_to_nothing_and_has_a_gradient():
    metric = jnp.ones((1, 6, 3)).at[:, 2].set(0)
    scores = cosine_scores(metric)
    np.testing.assert_allclose(scores[0, 1], 0)
    np.testing.assert_allclose(scores[0, [0, 2]], 1, rtol=1e-6)
    gradient = jax.grad(lambda metric: unit_vectors(metric).sum())(metric)
    assert np.isfinite(gradient).all()
    # It is the least similar source, so it is the one that stays.
    matching = bipartite_soft_matching(scores, 2)
    np.testing.assert_array_equal(matching.kept, [[2, 1, 3, 5]])


def test_head_aggregation():
    keys = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)
    np.testing.assert_allclose(metric_from_keys(jnp.asarray(keys), "mean"), keys.mean(2), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(metric_from_keys(jnp.asarray(keys), "concat"), keys.reshape(2, 4, 15))
    for dtype in (jnp.float32, jnp.bfloat16):
        by_sum, by_product = (
            metric_from_keys(jnp.asarray(keys, dtype), "mean", platform=where) for where in ("cpu", "tpu")
        )
        np.testing.assert_allclose(by_product, by_sum, rtol=1e-6, atol=1e-6)
    for how in ("mean", "concat"):
        assert metric_from_keys(jnp.asarray(keys, jnp.bfloat16), how).dtype == jnp.float32
    with pytest.raises(UserError, match=r"'median'; known are mean, concat"):
        metric_from_keys(jnp.asarray(keys), "median")


def test_uniform_scores_follow_their_key():
    key = jax.random.key(3)
    scores = uniform_scores(key, 2, 9)
    assert scores.shape == (2, 5, 4)
    assert ((scores >= 0) & (scores < 1)).all()
    np.testing.assert_array_equal(scores, uniform_scores(key, 2, 9))
    assert (scores != uniform_scores(jax.random.key(4), 2, 9)).any()
    assert (scores[0] != scores[1]).any()
