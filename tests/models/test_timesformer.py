"""TimeSformer against the PyTorch reference's records, and what its "fixed" layout promises."""

import jax.numpy as jnp
import numpy as np
import pytest
from recorded_transformers import Recorded, frame_groups

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction

FRAMES = 4


def time_innermost(outputs):
    """The reference keeps (place, time), we keep (time, place)."""
    cls, patches, _ = outputs
    patches = np.asarray(patches).swapaxes(1, 2)
    return np.concatenate([cls, patches.reshape(patches.shape[0], -1, patches.shape[-1])], axis=1)


TIMESFORMER = Recorded("timesformer", "timesformer_b_8", block_tokens=time_innermost, groups=frame_groups(FRAMES))


def test_without_reduction():
    TIMESFORMER.check_base()


@pytest.mark.parametrize("name", TIMESFORMER.cases)
def test_recorded_case(name):
    TIMESFORMER.check_case(name)


@pytest.mark.parametrize("prefix", ["ek_base", "ek_merge"])
def test_two_heads(prefix):
    TIMESFORMER.check_two_heads(prefix)


@pytest.mark.parametrize("name", TIMESFORMER.manifest["grad"]["cases"])
def test_recorded_gradients(name):
    TIMESFORMER.check_gradients(name)


def test_fixed_layout_merges_the_same_tokens_in_the_first_layer_and_keeps_their_order():
    states = {}
    for layout in ("reference", "fixed"):
        (_, trace), _ = TIMESFORMER.run(Reduction(r=(3, 0, 0, 0), layout=layout))
        states[layout] = np.asarray(trace.membership[:, 1:]).reshape(-1, FRAMES, 16), np.asarray(trace.sizes)
    same_group = {layout: m[..., :, None] == m[..., None, :] for layout, (m, _) in states.items()}
    np.testing.assert_array_equal(same_group["fixed"], same_group["reference"])
    membership, _ = states["fixed"]
    within_frame = membership - 1 - np.arange(FRAMES)[None, :, None] * 13
    # Destinations (odd places) are in every frame where they are in all others: behind the five kept sources.
    np.testing.assert_array_equal(within_frame[..., 1::2], np.broadcast_to(5 + np.arange(8), (2, FRAMES, 8)))
    for sources in within_frame[..., ::2].reshape(-1, 8):
        kept = sources[sources < 5]
        np.testing.assert_array_equal(kept, np.arange(5))


def test_patches_deeper_than_a_frame_are_refused():
    with pytest.raises(UserError, match=r"patch_size is \(2, 8, 8\).*one frame deep"):
        TIMESFORMER.model().clone(patch_size=(2, 8, 8)).apply({}, jnp.asarray(TIMESFORMER.video))
