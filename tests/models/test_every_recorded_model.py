"""No recorded case of a whole model is left out, and nothing that was recorded of one."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_motionformer
import test_timesformer
import test_videomae
import test_vivit_reference
from recorded_models import torch_arrays, torch_model, torch_variables, torch_video

from jax_vtm.merging.backends import best_match
from jax_vtm.models.narrowing import narrowed

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
# By kind: the test module, all that was recorded, and what the manifest says of gradients.
KINDS = {
    "vivit": (test_vivit_reference, torch_arrays, test_vivit_reference.VIVIT),
    "timesformer": (
        test_timesformer,
        lambda: test_timesformer.TIMESFORMER.arrays,
        test_timesformer.TIMESFORMER.manifest,
    ),
    "motionformer": (
        test_motionformer,
        lambda: test_motionformer.MOTIONFORMER.arrays,
        test_motionformer.MOTIONFORMER.manifest,
    ),
    "videomae": (test_videomae, lambda: test_videomae.VIDEOMAE.arrays, test_videomae.VIDEOMAE.manifest),
}
# What the tests of a case compare, or feed in; numbers of layers taken off.
COMPARED = {"logits", "raw_logits", "size", "source", "block", "metric", "unm_idx", "und_idx", "src_idx", "dst_idx"}
FED = {"rand"}


def parametrised(module, test: str, argument: str) -> list:
    """The values that a test of the module runs over."""
    marks = getattr(module, test).pytestmark
    names = [mark.args for mark in marks if mark.name == "parametrize"]
    return [value for name, values in names if name == argument for value in values]


@pytest.mark.parametrize("kind", KINDS)
def test_every_case_runs(kind):
    module, _, manifest = KINDS[kind]
    run = parametrised(module, "test_recorded_case", "name")
    if kind == "motionformer":
        run += parametrised(module, "test_projected_values", "name")
    assert sorted(run) == sorted(IDS[kind].split())
    assert parametrised(module, "test_recorded_gradients", "name") == manifest["grad"]["cases"] == ["merge", "drop"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_array_is_compared(kind):
    _, arrays, manifest = KINDS[kind]
    inputs = {"param", "param_ek", "video", "aux"}
    others = {"base", "grad", "ek_base", "ek_merge"}
    found = {name.split("/")[0] for name in arrays()}
    assert found == set(IDS[kind].split()) | others | (inputs if kind == "videomae" else inputs - {"aux"})
    of_cases = [name.split("/")[1] for name in arrays() if name.split("/")[0] in [*IDS[kind].split(), "base"]]
    assert {re.sub(r"\d+$", "", name) for name in of_cases} <= COMPARED | FED
    gradients = {"labels", *(f"{case}/{what}" for case in ("merge", "drop") for what in ("loss", "norms"))}
    gradients |= {f"{case}/{name}" for case in ("merge", "drop") for name in manifest["grad"]["full_grads"]}
    assert {name.removeprefix("grad/") for name in arrays() if name.startswith("grad/")} == gradients


# Ways to compute things that the tests of single cases do not take. The kernel is run by its interpreter.
WAYS = {
    "merge": {"attention": "chunked", "matching": "xla", "merging": "segment"},
    "hybrid": {"attention": "chunked", "matching": "pallas", "merging": "one_hot"},
    "merge_dec": {"attention": "xla", "matching": "chunked", "merging": "sorted"},
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_other_ways_to_compute_it(monkeypatch, kind, name):
    interpreted = functools.partial(best_match.nearest_by_kernel, interpret=True)
    monkeypatch.setattr(best_match, "nearest_by_kernel", lambda *args, platform: interpreted(*args, platform="gpu"))
    monkeypatch.setattr(best_match, "choose_matching", lambda how, platform: how)
    module = KINDS[kind][0]
    check_case = module.check_case if kind == "vivit" else getattr(module, kind.upper()).check_case
    check_case(name, **WAYS[name])


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_on_recorded_models(kind):
    """Unmerged, since a rounded key may merge other tokens: within 2 % of the largest logit, and the same classes."""
    module, arrays, _ = KINDS[kind]
    if kind == "vivit":
        model, variables, video = torch_model(dtype=jnp.bfloat16), torch_variables(), torch_video()
    else:
        recorded = getattr(module, kind.upper())
        model, variables, video = recorded.model(dtype=jnp.bfloat16), recorded.variables, recorded.video
    logits = jax.jit(model.apply)({"params": narrowed(variables["params"], model.dtype)}, video)
    expected = arrays()[f"base/{'raw_logits' if kind == 'motionformer' else 'logits'}"]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=0.02 * np.abs(expected).max())
    np.testing.assert_array_equal(logits.argmax(-1), expected.argmax(-1))
