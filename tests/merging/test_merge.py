"""What becomes of the tokens, by properties checked in numpy; the recorded cases are in test_recorded_merges.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_vtm.merging import (
    Matching,
    bipartite_soft_matching,
    compose,
    cosine_scores,
    drop,
    initial_membership,
    membership_of,
    merge_weighted,
    replaced_tokens,
    source_matrix,
    unmerge,
)

# Tokens 0 to 5: 4 joins 1 and 2 joins 5, the outputs are 0, 1, 3, 5 in this order.
MATCHING = Matching(
    kept=jnp.array([[0, 1, 3, 5]]),
    src=jnp.array([[4, 2]]),
    dst=jnp.array([[1, 3]]),
    score=jnp.array([[0.9, 0.1]]),
    num_tokens=6,
)


def test_membership_of_merge_drop_and_hybrid():
    np.testing.assert_array_equal(membership_of(MATCHING), [[0, 1, 3, 2, 1, 3]])
    np.testing.assert_array_equal(membership_of(MATCHING, dropped=True), [[0, 1, -1, 2, -1, 3]])
    replaced = jnp.array([[False, False, False, True]])
    np.testing.assert_array_equal(membership_of(MATCHING, replaced=replaced), [[0, 1, 3, 2, 1, -1]])


def test_composition_keeps_the_discarded_discarded():
    later = jnp.array([[2, 0, -1, 1]])
    np.testing.assert_array_equal(compose(jnp.array([[0, 1, -1, 2, -1, 3]]), later), [[2, 0, -1, -1, -1, 1]])
    np.testing.assert_array_equal(compose(initial_membership(1, 4), later), later)


def test_unmerge_follows_membership():
    y = jnp.arange(4.0).reshape(1, 4, 1)
    np.testing.assert_array_equal(unmerge(MATCHING, y)[..., 0], membership_of(MATCHING))


@pytest.mark.parametrize("r", [0, -3])
def test_dropping_nothing_returns_the_tokens(r):
    # The reference returns two functions instead of one here, so that nothing can be dropped with r = 0.
    x = jax.random.normal(jax.random.key(0), (2, 5, 3))
    matching = bipartite_soft_matching(cosine_scores(x), r, class_token=True)
    np.testing.assert_array_equal(drop(matching, x), x)
    np.testing.assert_array_equal(membership_of(matching, dropped=True), [range(5)] * 2)


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def reduce_once(scores, x, size, r, class_token, threshold=None):
    matching = bipartite_soft_matching(scores, r, class_token=class_token)
    replaced = None if threshold is None else replaced_tokens(matching, threshold)
    merged, new_size = merge_weighted(matching, x, size, replaced=replaced)
    membership = membership_of(matching, replaced=replaced)
    return merged, new_size, membership, source_matrix(membership, merged.shape[1]), unmerge(matching, merged)


def draw(seed, tokens, levels=9):
    """Scores with ties, tokens, and whole-numbered sizes of two clips."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(-levels, levels + 1, (2, (tokens + 1) // 2, tokens // 2)) / levels
    x, size = rng.normal(size=(2, tokens, 3)), rng.integers(1, 6, (2, tokens))
    return tuple(jnp.asarray(part, jnp.float32) for part in (scores, x, size))


SHAPES = {
    "tokens": st.sampled_from([7, 12]),
    "r": st.sampled_from([2, 99]),
    "class_token": st.booleans(),
    "seed": st.integers(0, 2**16),
}


@given(**SHAPES)
def test_merging_conserves(tokens, r, class_token, seed):
    scores, x, size = draw(seed, tokens)
    merged, new_size, membership, source, back = map(np.asarray, reduce_once(scores, x, size, r, class_token))
    np.testing.assert_array_equal(new_size.sum(axis=1), size.sum(axis=1))
    np.testing.assert_allclose(
        (merged * new_size[..., None]).sum(1), (x * size[..., None]).sum(1), rtol=1e-5, atol=1e-5
    )
    assert (membership >= 0).all()
    np.testing.assert_array_equal(source.sum(axis=1), 1)
    assert (source.sum(axis=2) >= 1).all()
    check_groups(merged, new_size, membership, x, size)
    assert back.shape == x.shape
    # Tokens of one group get the same content: that of their group.
    np.testing.assert_array_equal(back, np.take_along_axis(merged, membership[..., None], 1))
    if class_token:
        np.testing.assert_allclose(merged[:, 0], x[:, 0], rtol=1e-6)
        np.testing.assert_array_equal(source[:, 0].sum(axis=1), 1)


@given(**SHAPES, shift=st.sampled_from([-9, 0, 9]))
def test_hybrid_replaces(tokens, r, class_token, seed, shift):
    scores, x, size = draw(seed, tokens)
    scores += shift
    merged, new_size, membership, source, _ = map(np.asarray, reduce_once(scores, x, size, r, class_token, 0.5))
    # Every group that is left stands for the tokens in it, and none is empty: what was emptied has been refilled.
    check_groups(merged, new_size, membership, x, size)
    np.testing.assert_array_equal(new_size.sum(axis=1), np.where(membership >= 0, size, 0).sum(axis=1))
    np.testing.assert_array_equal(source.sum(axis=1), membership >= 0)
    replaced = membership == -1
    assert not replaced[:, ::2].any()
    best = np.asarray(scores).max(axis=2)
    for clip, token in zip(*np.nonzero(replaced), strict=True):
        # Some edge that arrived was bad; in particular the destination has an edge at all.
        assert best[clip].min() < 0.5
        assert token % 2 == 1
    if shift == 9:
        assert not replaced.any()
    if shift == -9:
        assert replaced.any(axis=1).all()
    if class_token:
        np.testing.assert_allclose(merged[:, 0], x[:, 0], rtol=1e-6)


def check_groups(merged, new_size, membership, x, size):
    """The content of every group is the weighted mean of its members, and its size their sum."""
    x, size = np.asarray(x, np.float64), np.asarray(size, np.float64)
    for clip, group in np.ndindex(new_size.shape):
        members = membership[clip] == group
        assert members.any()
        assert new_size[clip, group] == size[clip][members].sum()
        expected = np.average(x[clip][members], axis=0, weights=size[clip][members])
        np.testing.assert_allclose(merged[clip, group], expected, rtol=1e-5, atol=1e-5)


@given(**SHAPES, hybrid=st.booleans())
def test_norm_preserving_means_have_the_direction_of_the_mean_and_the_largest_norm(
    tokens, r, class_token, seed, hybrid
):
    scores, x, size = draw(seed, tokens)
    matching = bipartite_soft_matching(scores, r, class_token=class_token)
    replaced = replaced_tokens(matching, 0.5) if hybrid else None
    plain, plain_size = merge_weighted(matching, x, size, replaced=replaced)
    merged, new_size = merge_weighted(matching, x, size, replaced=replaced, norm_preserving=True)
    np.testing.assert_array_equal(new_size, plain_size)
    membership, norms = np.asarray(membership_of(matching, replaced=replaced)), np.linalg.norm(x, axis=-1)
    for clip, group in np.ndindex(new_size.shape):
        largest = norms[clip][membership[clip] == group].max()
        direction = plain[clip, group] / np.linalg.norm(plain[clip, group])
        np.testing.assert_allclose(merged[clip, group], direction * largest, rtol=1e-4, atol=1e-5)


def test_tokens_of_zeros_keep_their_gradient():
    def total(x):
        return jnp.sum(merge_weighted(MATCHING, x, jnp.ones((1, 6)), norm_preserving=True)[0])

    assert np.isfinite(jax.grad(total)(jnp.zeros((1, 6, 3)))).all()


def test_an_edge_at_the_threshold_is_good():
    scores = jnp.full((1, 2, 2), 0.5)
    matching = bipartite_soft_matching(scores, 1)
    assert not replaced_tokens(matching, 0.5).any()
    assert replaced_tokens(matching, 0.5000001).sum() == 1


def test_clips_are_independent():
    args = draw(5, 9)
    both = reduce_once(*args, 3, True, 0.5)
    for clip in range(2):
        alone = reduce_once(*(part[clip : clip + 1] for part in args), 3, True, 0.5)
        for one, several in zip(alone, both, strict=True):
            np.testing.assert_array_equal(one[0], several[clip])


def test_bfloat16_tokens_keep_exact_sizes():
    scores, x, _ = draw(2, 12)
    # 257 + 300 is beyond what bfloat16 can count.
    size = jnp.full((2, 12), 257.0).at[:, 1::2].set(300.0)
    exact, exact_size, *_ = reduce_once(scores, x, size, 3, False)
    merged, new_size, *_ = reduce_once(scores, x.astype(jnp.bfloat16), size, 3, False)
    assert merged.dtype == jnp.bfloat16
    assert new_size.dtype == jnp.float32
    np.testing.assert_array_equal(new_size, exact_size)
    np.testing.assert_allclose(merged.astype(jnp.float32), exact, rtol=0.01, atol=0.02)


@pytest.mark.parametrize("mode", ["merge", "drop", "hybrid"])
def test_gradients_flow(mode):
    scores, x, size = draw(3, 8)

    @jax.jit
    @jax.grad
    def gradient(x):
        matching = bipartite_soft_matching(scores, 3, class_token=True)
        if mode == "drop":
            return (drop(matching, x) ** 2).sum()
        replaced = replaced_tokens(matching, 2.0) if mode == "hybrid" else None
        return (merge_weighted(matching, x, size, replaced=replaced)[0] ** 2).sum()

    matching = bipartite_soft_matching(scores, 3, class_token=True)
    found = np.asarray(gradient(x))
    assert np.isfinite(found).all()
    reached = np.abs(found).max(axis=-1) > 0
    membership = {
        "merge": membership_of(matching),
        "drop": membership_of(matching, dropped=True),
        "hybrid": membership_of(matching, replaced=replaced_tokens(matching, 2.0)),
    }[mode]
    # Exactly the tokens that are left in some group have a say.
    np.testing.assert_array_equal(reached, membership >= 0)
