import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_vtm.errors import UserError
from jax_vtm.merging import (
    Reduction,
    TokenReduction,
    bipartite_soft_matching,
    cosine_scores,
    drop,
    initial_state,
    match,
    merge_weighted,
    metric_from_keys,
    nearest_by_scores,
    replaced_tokens,
)

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(2, 9, 4)), jnp.float32)
KEYS = jnp.asarray(RNG.normal(size=(2, 9, 2, 3)), jnp.float32)
SCORES = jnp.asarray(RNG.random((2, 5, 4)), jnp.float32)


def reduce(reduction, r=3, *, variables=None, rngs=None, trace=True, state=None):
    module = TokenReduction(reduction, r, class_token=True)
    state = state or initial_state(*X.shape[:2], trace=trace)
    return jax.jit(lambda: module.apply(variables or {}, X, KEYS, state, rngs=rngs))()


@pytest.mark.parametrize("aggregation", ["mean", "concat"])
@pytest.mark.parametrize("mode", ["merge", "drop", "hybrid"])
def test_scores_are_the_keys_similarity(mode, aggregation):
    x, state = reduce(Reduction(mode=mode, head_aggregation=aggregation, threshold=0.3))
    matching = bipartite_soft_matching(cosine_scores(metric_from_keys(KEYS, aggregation)), 3, class_token=True)
    if mode == "drop":
        expected, size = drop(matching, X), jnp.ones((2, 6))
    else:
        replaced = replaced_tokens(matching, 0.3) if mode == "hybrid" else None
        expected, size = merge_weighted(matching, X, jnp.ones((2, 9)), replaced=replaced)
    np.testing.assert_allclose(x, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(state.size, size)
    counts = [np.bincount(row[row >= 0], minlength=6) for row in np.asarray(state.membership)]
    np.testing.assert_array_equal(counts, state.size)


def test_dropping_leaves_sizes_as_they_are():
    sizes = jnp.asarray(RNG.integers(1, 9, (2, 9)), jnp.float32)
    _, state = reduce(Reduction(mode="drop"), state=initial_state(2, 9, trace=True).replace(size=sizes))
    for clip in range(2):
        stays = np.asarray(state.membership[clip]) >= 0
        assert stays.sum() == 6
        np.testing.assert_array_equal(state.size[clip], sizes[clip][np.argsort(state.membership[clip])[3:]])


@pytest.mark.parametrize("mode", ["drop", "hybrid"])
def test_what_attention_moved_least_goes_by_shift(mode):
    reduction = Reduction(mode=mode, importance="shift", threshold=-2.0)
    added = jnp.asarray(RNG.normal(size=X.shape), jnp.float32)
    module = TokenReduction(reduction, 3, class_token=True)
    x, state = jax.jit(lambda: module.apply({}, X, KEYS, initial_state(2, 9, trace=True), added))()
    for clip in range(2):
        moved = np.linalg.norm(added[clip], axis=-1)
        gone = sorted([2, 4, 6, 8], key=lambda token: moved[token])[:3]
        stays = [token for token in (0, 2, 4, 6, 8, 1, 3, 5, 7) if token not in gone]
        own = np.asarray(state.membership[clip])[stays]
        np.testing.assert_array_equal(own, range(6))
        if mode == "drop":
            np.testing.assert_array_equal(x[clip], X[clip][np.array(stays)])
            np.testing.assert_array_equal(np.asarray(state.membership[clip])[gone], -1)
        else:
            scores = cosine_scores(metric_from_keys(KEYS, "mean"))[clip]
            towards = 2 * np.asarray(scores).argmax(-1)[np.array(gone) // 2] + 1
            np.testing.assert_array_equal(np.asarray(state.membership[clip])[gone], [stays.index(k) for k in towards])
            assert state.size[clip].sum() == 9
    with pytest.raises(UserError, match=r"give TokenReduction what was added, \[B, N, C\], after the state"):
        module.apply({}, X, KEYS, initial_state(2, 9))


def test_a_layer_takes_one_mode():
    with pytest.raises(UserError, match=r"give each its own, reduction.of_layer\(i\)"):
        reduce(Reduction(mode=("drop", "merge")))


@pytest.mark.parametrize(("mode", "r"), [("none", 3), ("merge", 0)])
def test_nothing_to_do(mode, r):
    x, state = reduce(Reduction(mode=mode), r)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(state.membership, [range(9)] * 2)


@pytest.mark.parametrize("mode", ["merge", "random_merge", "random_drop"])
def test_given_scores_replace_all_others(mode):
    x, _ = reduce(Reduction(mode=mode), variables={"scores": {"scores": SCORES}})
    matching = bipartite_soft_matching(SCORES, 3, class_token=True)
    expected = drop(matching, X) if mode == "random_drop" else merge_weighted(matching, X, jnp.ones((2, 9)))[0]
    np.testing.assert_allclose(x, expected, rtol=1e-6, atol=1e-6)


def test_random_scores_follow_the_stream():
    first, second, other = (
        reduce(Reduction(mode="random_merge"), rngs={"reduction": jax.random.key(seed)})[1].membership
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_without_a_class_token_kept_sources_come_by_falling_score_unless_asked_otherwise():
    best = nearest_by_scores(SCORES)
    kept = {}
    for ascending in (None, True):
        settings = {} if ascending is None else {"ascending": ascending}
        module = TokenReduction(Reduction(), 2, class_token=False, **settings)
        x, state = module.apply({"scores": {"scores": SCORES}}, X, KEYS, initial_state(2, 9))
        matching = match(best, 2, **settings)
        np.testing.assert_allclose(x, merge_weighted(matching, X, jnp.ones((2, 9)))[0], rtol=1e-6, atol=1e-6)
        assert state.membership is None
        kept[ascending] = np.asarray(matching.kept[:, :3])
    by_score = -np.take_along_axis(np.asarray(best.score), kept[None] // 2, axis=1)
    np.testing.assert_array_equal(by_score, np.sort(by_score))
    np.testing.assert_array_equal(kept[True], np.sort(kept[None]))
    assert (kept[True] != kept[None]).any()
