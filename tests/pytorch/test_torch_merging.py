"""Matching and merging in PyTorch: the recorded values, and properties against our JAX code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_cases import TIGHT, arrays, cases

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from jax_vtm import merging as ours  # noqa: E402
from jax_vtm.pytorch import merging as theirs  # noqa: E402

pytestmark = pytest.mark.torch

# The models are tiny: more threads would only wait for each other.
torch.set_num_threads(1)

SOFT = cases("bipartite_soft_matching", "bipartite_soft_matching_hybrid", "bipartite_soft_matching_drop")
# No model here has a distillation token.
SOFT = [case for case in SOFT if not case["distill_token"]]
CHAINS = cases("two successive merge", "two successive hybrid")


def names(recorded):
    return [case["id"] for case in recorded]


def matched(case, recorded, r):
    """The matching of a recorded case."""
    if "rand" in recorded:
        scores = torch.tensor(recorded["rand"])
    else:
        scores = theirs.cosine_scores(torch.tensor(recorded["metric"]))
    return theirs.bipartite_soft_matching(scores, r, class_token=case["class_token"])


@pytest.mark.parametrize("case", SOFT, ids=names(SOFT))
def test_recorded_case(case):
    recorded = arrays(case["id"])
    r = ours.clamp_r(case["tokens_in"], case["r"], case["class_token"])
    if r == 0:
        assert case["identity"]
        return
    matching = matched(case, recorded, r)
    kept = recorded["unm_idx"] if "unm_idx" in recorded else recorded["und_idx"]
    found = matching.kept.numpy()
    np.testing.assert_array_equal(matching.src, 2 * recorded["src_idx"])
    np.testing.assert_array_equal(found[:, : kept.shape[1]], 2 * kept)
    np.testing.assert_array_equal(found[:, kept.shape[1] :], [range(1, case["tokens_in"], 2)] * len(kept))
    if "out" in recorded:
        np.testing.assert_array_equal(theirs.drop(matching, torch.tensor(recorded["x"])), recorded["out"])
        return
    joined = np.take_along_axis(found, matching.dst.numpy(), 1)
    np.testing.assert_array_equal(joined, 2 * recorded["dst_idx"] + 1)
    replaced = theirs.replaced_tokens(matching, case["threshold"]) if "threshold" in case else None
    x = torch.tensor(recorded["x"])
    compared = 0
    for name, size in (("wavg", None), ("wavg_sized", recorded.get("size"))):
        if f"{name}_x" in recorded:
            size = None if size is None else torch.tensor(size[..., 0])
            merged, size = theirs.merge_weighted(matching, x, size, replaced)
            np.testing.assert_allclose(merged, recorded[f"{name}_x"], **TIGHT)
            np.testing.assert_allclose(size[..., None], recorded[f"{name}_size"], **TIGHT)
            compared += 1
    if replaced is None and "mean" in recorded:  # of the group's tokens, which is the same while all sizes are one
        np.testing.assert_allclose(theirs.merge_weighted(matching, x, None)[0], recorded["mean"], **TIGHT)
        compared += 1
    assert compared


@pytest.mark.parametrize("case", CHAINS, ids=names(CHAINS))
def test_recorded_chain(case):
    recorded = arrays(case["id"])
    x, size = torch.tensor(recorded["x"]), None
    for step, r in enumerate(case["r"], 1):
        scores = theirs.cosine_scores(torch.tensor(recorded[f"metric{step}"]))
        matching = theirs.bipartite_soft_matching(scores, r, class_token=case["class_token"])
        replaced = None if case["threshold"] is None else theirs.replaced_tokens(matching, case["threshold"])
        x, size = theirs.merge_weighted(matching, x, size, replaced)
        np.testing.assert_allclose(x, recorded[f"x{step}"], **TIGHT)
        np.testing.assert_allclose(size[..., None], recorded[f"size{step}"], **TIGHT)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def our_matching(scores, r, class_token, ascending):
    return ours.bipartite_soft_matching(scores, r, class_token=class_token, ascending=ascending)


def test_no_recorded_case_is_left_out():
    assert len(SOFT) == 47
    assert len(CHAINS) == 3


@given(
    tokens=st.sampled_from([5, 8]),
    class_token=st.booleans(),
    ascending=st.booleans(),
    levels=st.sampled_from([2, 10_000]),
    seed=st.integers(0, 2**16),
)
def test_decisions_are_ours_with_ties_too(tokens, class_token, ascending, levels, seed):
    r = 2
    shape = (2, (tokens + 1) // 2, tokens // 2)
    scores = np.random.default_rng(seed).integers(0, levels, shape).astype(np.float32)
    expected = our_matching(jnp.asarray(scores), r, class_token, ascending)
    before = torch.tensor(scores)
    found = theirs.bipartite_soft_matching(before, r, class_token=class_token, ascending=ascending)
    for name in ("kept", "src", "dst", "score"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    np.testing.assert_array_equal(before, scores, err_msg="the scores are left as they are")


def test_an_all_zero_key_is_similar_to_nothing():
    metric = torch.randn(1, 6, 4)
    metric[0, 2] = 0
    scores = theirs.cosine_scores(metric)
    np.testing.assert_array_equal(scores[0, 1], np.zeros(3))
    assert scores.isfinite().all()
