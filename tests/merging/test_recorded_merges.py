"""Every recorded case of matching and merging: what is decided, what becomes of the tokens, and where they went."""

import json
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recorded_cases import TIGHT, TORCH, arrays, cases

from jax_vtm.merging import (
    bipartite_soft_matching,
    compose,
    cosine_scores,
    drop,
    initial_membership,
    kth_bipartite_matching,
    membership_of,
    merge,
    merge_weighted,
    random_bipartite_matching,
    replaced_tokens,
    source_matrix,
    unmerge,
)

SOFT = cases("bipartite_soft_matching", "bipartite_soft_matching_drop", "bipartite_soft_matching_hybrid")
CHAINS = cases("two successive merge", "two successive hybrid")
KTH = cases("kth_bipartite_soft_matching")
RANDOM = cases("random_bipartite_soft_matching")
# Written down here, so that a case that went missing from the manifest would be missed.
COUNTS = {
    "bipartite_soft_matching": 47,
    "bipartite_soft_matching_hybrid": 9,
    "bipartite_soft_matching_drop": 9,
    "kth_bipartite_soft_matching": 5,
    "random_bipartite_soft_matching": 4,
    "two successive merge": 2,
    "two successive hybrid": 1,
}
# A note without arrays, on what the reference returns for r = 0; `test_dropping_nothing_returns_the_tokens` has ours.
NOTES = ["drop_r0_note"]


def names(recorded):
    return [case["id"] for case in recorded]


def test_no_case_is_left_out():
    manifest = json.loads((TORCH / "manifest.json").read_text())["merge_ops"]
    assert Counter(case["function"] for case in manifest) == COUNTS
    assert sorted([*names([*SOFT, *CHAINS, *KTH, *RANDOM]), *NOTES]) == sorted(names(manifest))


@pytest.mark.parametrize("case", SOFT, ids=names(SOFT))
def test_bipartite_soft_matching(case):
    recorded = {name: jnp.asarray(value) for name, value in arrays(case["id"]).items()}
    drops = case["function"].endswith("_drop")

    @jax.jit
    def run(recorded):
        x = recorded["x"]
        scores = recorded["rand"] if "rand" in recorded else cosine_scores(recorded["metric"])
        matching = bipartite_soft_matching(
            scores, case["r"], class_token=case["class_token"], distill_token=case["distill_token"]
        )
        replaced = replaced_tokens(matching, case["threshold"]) if "threshold" in case else None
        membership = membership_of(matching, dropped=drops, replaced=replaced)
        found = {"source": source_matrix(membership, case["tokens_out"])}
        if drops:
            return scores, matching, membership, {**found, "out": drop(matching, x)}
        unit = jnp.ones(x.shape[:2])
        for name, size in (("wavg", unit), ("wavg_sized", recorded.get("size", unit[..., None])[..., 0])):
            merged, new_size = merge_weighted(matching, x, size, replaced=replaced)
            found |= {f"{name}_x": merged, f"{name}_size": new_size[..., None]}
        found |= {how: merge(matching, x, how, replaced=replaced) for how in ("mean", "sum")}
        found |= {"amax": merge(matching, x, "max"), "unmerge": unmerge(matching, found["mean"])}
        return scores, matching, membership_of(matching), {**found, "unmerge_of_mean": found["unmerge"]}

    scores, matching, membership, found = jax.tree.map(np.asarray, run(recorded))
    check_indices(case, recorded, scores, matching)
    if drops:
        assert (membership == -1).sum(axis=1).tolist() == [case["tokens_in"] - case["tokens_out"]] * 2
    checked = recorded.keys() & found.keys()
    assert len(checked) >= 2
    assert recorded.keys() - checked <= {"metric", "x", "size", "rand", "unm_idx", "und_idx", "src_idx", "dst_idx"}
    for name in checked:
        expected = recorded[name]
        if name == "unmerge_of_mean" and case["distill_token"]:
            # The reference does not undo the re-ordering; every token gets what its group became, here as elsewhere.
            expected = np.take_along_axis(np.asarray(recorded["mean"]), membership[..., None], 1)
        np.testing.assert_allclose(found[name], expected, err_msg=name, **({"rtol": 0} if drops else TIGHT))


def check_indices(case, recorded, scores, matching):
    """The tokens that stay, those that go, and where to, in order."""
    tokens = case["tokens_in"]
    assert matching.num_tokens == tokens
    assert matching.kept.shape == (len(scores), case["tokens_out"])
    if case.get("identity"):
        assert matching.src.shape == (len(scores), 0)
        np.testing.assert_array_equal(matching.kept, [range(tokens)] * len(scores))
        return
    np.testing.assert_array_equal(matching.src, 2 * recorded["src_idx"])
    sources = recorded["unm_idx"] if "unm_idx" in recorded else recorded["und_idx"]
    np.testing.assert_array_equal([row[row % 2 == 0] for row in matching.kept], 2 * sources)
    np.testing.assert_array_equal([row[row % 2 == 1] for row in matching.kept], [range(1, tokens, 2)] * len(scores))
    if case["distill_token"]:
        np.testing.assert_array_equal(matching.kept[:, :2], [[0, 1]] * len(scores))
    if "dst_idx" in recorded:
        joined = np.take_along_axis(matching.kept, matching.dst, 1)
        np.testing.assert_array_equal(joined, 2 * recorded["dst_idx"] + 1)
        edges = scores[np.arange(len(scores))[:, None], recorded["src_idx"], recorded["dst_idx"]]
        np.testing.assert_array_equal(matching.score, edges)


@pytest.mark.parametrize("case", CHAINS, ids=names(CHAINS))
def test_chains(case):
    recorded = {name: jnp.asarray(value) for name, value in arrays(case["id"]).items()}

    @jax.jit
    def run(recorded):
        x = recorded["x"]
        size, membership = jnp.ones(x.shape[:2]), initial_membership(*x.shape[:2])
        found = {}
        for step, r in enumerate(case["r"], 1):
            scores = cosine_scores(recorded[f"metric{step}"])
            matching = bipartite_soft_matching(scores, r, class_token=case["class_token"])
            replaced = None if case["threshold"] is None else replaced_tokens(matching, case["threshold"])
            x, size = merge_weighted(matching, x, size, replaced=replaced)
            membership = compose(membership, membership_of(matching, replaced=replaced))
            found |= {f"x{step}": x, f"size{step}": size[..., None]}
            found[f"source{step}"] = source_matrix(membership, x.shape[1])
        return found

    for name, value in run(recorded).items():
        np.testing.assert_allclose(value, recorded[name], err_msg=name, **TIGHT)


def apply(decision, x, *args):
    """One compilation of a matching and of everything that is recorded of it."""

    @jax.jit
    def run(x, *args):
        matching = decision(*args)
        mean = merge(matching, x)
        return matching, mean, merge(matching, x, "sum"), unmerge(matching, mean), membership_of(matching)

    return jax.tree.map(np.asarray, run(x, *args))


@pytest.mark.parametrize("case", KTH, ids=names(KTH))
def test_kth_bipartite_matching(case):
    recorded, k = arrays(case["id"]), case["k"]
    metric = jnp.asarray(recorded["metric"])
    matching, mean, total, back, membership = apply(
        lambda metric: kth_bipartite_matching(metric, k), jnp.asarray(recorded["x"]), metric
    )
    if k > 1:
        np.testing.assert_array_equal(matching.dst, recorded["dst_idx"])
        np.testing.assert_allclose(total, recorded["sum"], **TIGHT)
    np.testing.assert_allclose(mean, recorded["mean"], **TIGHT)
    # The reference shortens what it unmerges; here the discarded rest is zero and belongs to no group.
    length = case["tokens_after_unmerge"]
    assert back.shape == recorded["x"].shape
    np.testing.assert_allclose(back[:, :length], recorded["unmerge_of_mean"], **TIGHT)
    np.testing.assert_array_equal(back[:, length:], 0)
    assert (membership[:, length:] == -1).all()
    assert (membership[:, :length] >= 0).all()


@pytest.mark.parametrize("case", RANDOM, ids=names(RANDOM))
def test_random_bipartite_matching(case):
    recorded = arrays(case["id"])
    metric, x = jnp.asarray(recorded["metric"]), jnp.asarray(recorded["x"])
    order = jnp.asarray(recorded["rand"])[..., 0] if "rand" in recorded else jnp.zeros(x.shape[:2])
    matching, mean, total, back, _ = apply(
        lambda metric, order: random_bipartite_matching(metric, order, case["r"]), x, metric, order
    )
    found = {"a_idx": matching.src, "b_idx": matching.kept, "dst_idx": matching.dst}
    for name in recorded.keys() & found.keys():
        np.testing.assert_array_equal(found[name], recorded[name])
    found = {"mean": mean, "unmerge_of_mean": back, "sum": total}
    for name in recorded.keys() & found.keys():
        np.testing.assert_allclose(found[name], recorded[name], err_msg=name, **TIGHT)
    assert {"mean", "unmerge_of_mean"} <= recorded.keys()
