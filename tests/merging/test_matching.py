import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_cases import TIGHT, arrays, cases, groups, match

from jax_vtm.errors import UserError
from jax_vtm.merging import (
    bipartite_soft_matching,
    cosine_scores,
    kth_bipartite_matching,
    membership_of,
    merge,
    random_bipartite_matching,
    unmerge,
)
from jax_vtm.merging.tome import random_order

SOFT = cases("bipartite_soft_matching", "bipartite_soft_matching_drop", "bipartite_soft_matching_hybrid")


def names(recorded):
    return [case["id"] for case in recorded]


similarity = jax.jit(cosine_scores)


@pytest.mark.parametrize("case", SOFT, ids=names(SOFT))
def test_recorded_indices(case):
    recorded = arrays(case["id"])
    scores = jnp.asarray(recorded["rand"]) if "rand" in recorded else similarity(jnp.asarray(recorded["metric"]))
    class_token, distill_token = case["class_token"], case["distill_token"]
    matching, _ = decide(scores, case["r"], class_token, distill_token)
    assert matching.num_tokens == case["tokens_in"]
    assert matching.kept.shape == (len(scores), case["tokens_out"])
    if case.get("identity"):
        assert matching.src.shape == (len(scores), 0)
        np.testing.assert_array_equal(matching.kept, [range(case["tokens_in"])] * len(scores))
        return
    np.testing.assert_array_equal(matching.src, 2 * recorded["src_idx"])
    kept = recorded["unm_idx"] if "unm_idx" in recorded else recorded["und_idx"]
    survivors = np.asarray(matching.kept)
    np.testing.assert_array_equal([row[row % 2 == 0] for row in survivors], 2 * kept)
    for row in survivors:
        np.testing.assert_array_equal(row[row % 2 == 1], range(1, case["tokens_in"], 2))
    if distill_token:
        np.testing.assert_array_equal(survivors[:, :2], [[0, 1]] * len(scores))
    if "dst_idx" in recorded:
        joined = np.take_along_axis(survivors, np.asarray(matching.dst), 1)
        np.testing.assert_array_equal(joined, 2 * recorded["dst_idx"] + 1)
        edges = np.asarray(scores)[np.arange(len(scores))[:, None], recorded["src_idx"], recorded["dst_idx"]]
        np.testing.assert_array_equal(matching.score, edges)


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


def apply(decision, x, *args):
    """One compilation of a matching and of everything that is recorded of it."""

    @jax.jit
    def run(x, *args):
        matching = decision(*args)
        mean = merge(matching, x)
        return matching, mean, merge(matching, x, "sum"), unmerge(matching, mean), membership_of(matching)

    return run(x, *args)


KTH = cases("kth_bipartite_soft_matching")


@pytest.mark.parametrize("case", KTH, ids=names(KTH))
def test_recorded_kth(case):
    recorded = arrays(case["id"])
    x, k = jnp.asarray(recorded["x"]), case["k"]
    metric = jnp.asarray(recorded["metric"])
    matching, mean, total, back, membership = apply(lambda metric: kth_bipartite_matching(metric, k), x, metric)
    if k > 1:
        np.testing.assert_array_equal(matching.dst, recorded["dst_idx"])
        np.testing.assert_allclose(total, recorded["sum"], **TIGHT)
    np.testing.assert_allclose(mean, recorded["mean"], **TIGHT)
    # The reference shortens what it unmerges; here the discarded rest is zero and belongs to no group.
    length = case["tokens_after_unmerge"]
    assert back.shape == x.shape
    np.testing.assert_allclose(back[:, :length], recorded["unmerge_of_mean"], **TIGHT)
    np.testing.assert_array_equal(back[:, length:], 0)
    membership = np.asarray(membership)
    assert (membership[:, length:] == -1).all()
    assert (membership[:, :length] >= 0).all()


@pytest.mark.parametrize("k", [0, -1, 7])
def test_kth_needs_a_sensible_k(k):
    with pytest.raises(UserError, match=f"k is {k}; expected 1 to 6"):
        kth_bipartite_matching(jnp.ones((1, 6, 2)), k)


RANDOM = cases("random_bipartite_soft_matching")


@pytest.mark.parametrize("case", RANDOM, ids=names(RANDOM))
def test_recorded_random_bipartite(case):
    recorded = arrays(case["id"])
    metric, x = jnp.asarray(recorded["metric"]), jnp.asarray(recorded["x"])
    order = jnp.asarray(recorded["rand"])[..., 0] if "rand" in recorded else jnp.zeros(x.shape[:2])
    matching, mean, total, back, _ = apply(
        lambda metric, order: random_bipartite_matching(metric, order, case["r"]), x, metric, order
    )
    for name, found in (("a_idx", matching.src), ("b_idx", matching.kept), ("dst_idx", matching.dst)):
        if name in recorded:
            np.testing.assert_array_equal(found, recorded[name])
    np.testing.assert_allclose(mean, recorded["mean"], **TIGHT)
    np.testing.assert_allclose(back, recorded["unmerge_of_mean"], **TIGHT)
    if "sum" in recorded:
        np.testing.assert_allclose(total, recorded["sum"], **TIGHT)


def test_random_bipartite_keeps_one_token():
    matching = random_bipartite_matching(jnp.ones((1, 5, 2)), random_order(jax.random.key(0), 1, 5), 99)
    assert matching.kept.shape == (1, 1)
    np.testing.assert_array_equal(merge(matching, jnp.ones((1, 5, 2)), "sum"), [[[5, 5]]])
