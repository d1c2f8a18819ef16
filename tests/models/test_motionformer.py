"""Motionformer against the PyTorch reference's records, and what its "fixed" layout promises."""

import jax
import numpy as np
import pytest
from recorded_transformers import LOGITS, Recorded, interleaved_groups, reduction_of

from jax_vtm.merging import Reduction

FRAMES = 4
# The reference's evaluation returns probabilities; the logits before are recorded too.
MOTIONFORMER = Recorded(
    "motionformer",
    "motionformer_b_16",
    block_tokens=lambda outputs: outputs[0],
    groups=interleaved_groups(FRAMES),
    logits="raw_logits",
)
FIXEDTRAJ = [name for name in MOTIONFORMER.cases if name.startswith("fixedtraj_")]


def test_without_reduction():
    MOTIONFORMER.check_base()


@pytest.mark.parametrize("name", [name for name in MOTIONFORMER.cases if name not in FIXEDTRAJ])
def test_recorded_case(name):
    MOTIONFORMER.check_case(name)


@pytest.mark.parametrize("name", FIXEDTRAJ)
def test_projected_values(name):
    case = MOTIONFORMER.cases[name]
    (logits, trace), _ = MOTIONFORMER.run(reduction_of(case), project_values=True)
    np.testing.assert_allclose(jax.nn.softmax(logits), MOTIONFORMER.arrays[f"{name}/logits"], **LOGITS)
    assert trace.tokens_per_layer[1:] == tuple(case["token_counts"])


@pytest.mark.parametrize("prefix", ["ek_base", "ek_merge"])
def test_two_heads(prefix):
    MOTIONFORMER.check_two_heads(prefix, probabilities=True)


@pytest.mark.parametrize("name", MOTIONFORMER.manifest["grad"]["cases"])
def test_recorded_gradients(name):
    MOTIONFORMER.check_gradients(name)


def test_layouts_are_the_same_model_without_merging():
    (logits, _), _ = MOTIONFORMER.run(Reduction(r=0, layout="fixed"))
    np.testing.assert_allclose(logits, MOTIONFORMER.arrays["base/raw_logits"], **LOGITS)


def test_reference_layout_mixes_times_and_fixed_does_not():
    times = np.arange(64) // 16
    for layout, mixed in (("reference", True), ("fixed", False)):
        (_, trace), _ = MOTIONFORMER.run(Reduction(r=3, layout=layout))
        crossing = [
            len(set(times[members[1:] == group])) > 1
            for members in np.asarray(trace.membership)
            for group in range(1, trace.sizes.shape[1])
        ]
        assert any(crossing) == mixed
