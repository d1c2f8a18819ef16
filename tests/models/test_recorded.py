"""Every recorded case of the PyTorch reference's models: none is left out, and nothing that was recorded of one."""

import functools
import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recorded import RECORDED

from jax_vtm.merging.backends import best_match, order
from jax_vtm.models.compute import narrowed
from jax_vtm.models.videomae import sinusoid_positions

# Written down here, so that a case that went missing from the manifest would be missed.
IDS = {
    "vivit": """
        merge merge_noprop merge_concat merge_dec merge_inc merge_half_inflect merge_shortlist merge_max drop drop_dec
        hybrid hybrid_never random_merge random_drop duplicate_l0 duplicate_l3
    """,
    "timesformer": """
        merge merge_noprop merge_dec merge_inc merge_shortlist merge_max drop drop_dec hybrid random_merge random_drop
        duplicate_l0 duplicate_l3
    """,
    "motionformer": """
        merge merge_noprop merge_dec merge_inc merge_shortlist merge_max drop drop_dec hybrid random_merge random_drop
        duplicate_l0 duplicate_l3 fixedtraj_base fixedtraj_merge
    """,
    "videomae": """
        merge merge_prop merge_concat merge_dec merge_inc merge_shortlist merge_max drop drop_inc hybrid hybrid_prop
        random_merge random_drop duplicate_l0 duplicate_l3
    """,
}
# What is compared of a case, or fed in; numbers of layers taken off.
COMPARED = {"logits", "raw_logits", "size", "source", "block", "metric", "unm_idx", "und_idx", "src_idx", "dst_idx"}
FED = {"rand"}


@pytest.mark.parametrize("kind", RECORDED)
def test_nothing_recorded_is_left_out(kind):
    recorded = RECORDED[kind]
    names = IDS[kind].split()
    assert sorted(recorded.cases) == sorted(names)
    assert recorded.manifest["grad"]["cases"] == ["merge", "drop"]
    inputs = {"param", "param_ek", "video", "aux"}
    others = {"base", "grad", "ek_base", "ek_merge"}
    found = {name.split("/")[0] for name in recorded.arrays}
    assert found == set(names) | others | (inputs if kind == "videomae" else inputs - {"aux"})
    of_cases = [name.split("/")[1] for name in recorded.arrays if name.split("/")[0] in [*names, "base"]]
    assert {re.sub(r"\d+$", "", name) for name in of_cases} <= COMPARED | FED
    gradients = {"labels", *(f"{case}/{what}" for case in ("merge", "drop") for what in ("loss", "norms"))}
    gradients |= {f"{case}/{name}" for case in ("merge", "drop") for name in recorded.manifest["grad"]["full_grads"]}
    assert {name.removeprefix("grad/") for name in recorded.arrays if name.startswith("grad/")} == gradients


@pytest.mark.parametrize("kind", RECORDED)
def test_without_reduction(kind):
    RECORDED[kind].check_base()


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in RECORDED for name in IDS[kind].split()])
def test_recorded_case(kind, name):
    RECORDED[kind].check_case(name)


@pytest.mark.parametrize("prefix", ["ek_base", "ek_merge"])
@pytest.mark.parametrize("kind", RECORDED)
def test_two_heads(kind, prefix):
    RECORDED[kind].check_two_heads(prefix)


@pytest.mark.parametrize("name", ["merge", "drop"])
@pytest.mark.parametrize("kind", RECORDED)
def test_recorded_gradients(kind, name):
    RECORDED[kind].check_gradients(name)


# Backends that the tests of single cases do not take. The kernel is run by its interpreter.
BACKENDS = {
    "merge": {"attention": "chunked", "matching": "xla", "merging": "sorted"},
    "hybrid": {"attention": "chunked", "matching": "pallas", "merging": "one_hot"},
    "merge_dec": {"attention": "xla", "matching": "chunked", "merging": "sorted"},
}


# Every model attends in its own way; matching and merging know no more of a model than the tokens of a group.
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("vivit", "hybrid"), ("vivit", "merge_dec"), ("timesformer", "merge")),
        *(("motionformer", "merge"), ("motionformer", "hybrid"), ("videomae", "merge")),
    ],
)
def test_other_backends(monkeypatch, kind, name):
    monkeypatch.setattr(best_match, "nearest_on_gpu", functools.partial(best_match.nearest_on_gpu, interpret=True))
    monkeypatch.setattr(best_match, "choose_matching", lambda how, platform, shape: how)
    RECORDED[kind].check_case(name, **BACKENDS[name])


@pytest.mark.parametrize(
    ("kind", "name"),
    [("vivit", "merge"), ("timesformer", "hybrid"), ("motionformer", "merge"), ("videomae", "merge_dec")],
)
def test_as_on_a_tpu(monkeypatch, kind, name):
    """Its kernels run by their interpreter."""
    # By its name, since a function of the package has it too.
    merge = importlib.import_module("jax_vtm.merging.merge")
    for module, kernel in ((best_match, "nearest_on_tpu"), (order, "split_on_tpu"), (merge, "merged_on_tpu")):
        monkeypatch.setattr(module, kernel, functools.partial(getattr(module, kernel), interpret=True))
    RECORDED[kind].check_case(name, platform="tpu")


@pytest.mark.parametrize("name", ["merge", "fixedtraj_merge"])
def test_trajectories_as_elsewhere_than_on_a_cpu(name):
    RECORDED["motionformer"].check_case(name, platform="gpu")


@pytest.mark.parametrize("kind", RECORDED)
def test_bfloat16(kind):
    """Unmerged, since a rounded key may merge other tokens: within 2 % of the largest logit, and the same classes."""
    recorded = RECORDED[kind]
    model = recorded.model(dtype=jnp.bfloat16)
    params = narrowed(recorded.variables["params"], model.dtype)
    logits = jax.jit(model.apply)({"params": params}, recorded.video)
    expected = recorded.arrays[f"base/{recorded.logits}"]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=0.02 * np.abs(expected).max())
    np.testing.assert_array_equal(logits.argmax(-1), expected.argmax(-1))


def test_videomaes_positions_are_the_recorded_sinusoid_and_no_parameter():
    recorded = RECORDED["videomae"]
    np.testing.assert_array_equal(sinusoid_positions(48, 48), recorded.arrays["aux/pos_embed"])
    assert not any("pos" in name for name in recorded.variables["params"])
