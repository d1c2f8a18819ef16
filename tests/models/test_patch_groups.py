"""The groups of patches that models trace: one numbering for the clip, and the one that pictures take colours by."""

import functools

import jax
import numpy as np
import pytest
from tiny_models import random_params, tiny, variables, video

from jax_vtm.merging import Reduction
from jax_vtm.models import create_model, merges_within_steps, num_merging_layers, patch_groups, seen_frames, seen_pixels

ENCODER = {
    "image_size": (12, 20),
    "num_frames": 4,
    "patch_size": (2, 4, 4),
    "hidden_size": 24,
    "num_classes": 5,
    "spatial_layers": 2,
    "spatial_heads": 3,
    "spatial_mlp_dim": 32,
    "temporal_layers": 1,
    "temporal_heads": 3,
    "temporal_mlp_dim": 32,
}
CASES = [
    ("vivit", "reference", False),
    ("videomae", "reference", False),
    ("timesformer", "reference", True),
    ("timesformer", "fixed", True),
    ("motionformer", "reference", False),
    ("motionformer", "fixed", True),
    ("encoder", "reference", True),
]


@functools.cache
def applied(kind: str, layout: str, mode: str):
    reduction = Reduction(r=4, mode=mode, layout=layout, threshold=0.5)
    if kind == "encoder":
        model = create_model("vivit_b_16x2_fe", reduction=reduction, **ENCODER)
        params = random_params(create_model("vivit_b_16x2_fe", **ENCODER))
    else:
        model, params = tiny(kind, reduction), variables(kind)
    _, trace = jax.jit(functools.partial(model.apply, trace=True))(params, video(model))
    return model, trace


def traced(kind: str, layout: str, mode: str = "merge", clip: int = 0):
    model, trace = applied(kind, layout, mode)
    return model, trace, patch_groups(model, trace, clip)


@pytest.mark.parametrize(("kind", "layout", "within"), CASES)
def test_merged_patches_are_all_there_and_sizes_are_counts(kind, layout, within):
    model, _, groups = traced(kind, layout)
    assert merges_within_steps(model) == groups.within_steps == within
    assert groups.membership.shape == (3, *model.grid)
    assert groups.grid == model.grid
    assert num_merging_layers(model) == groups.num_layers == 2
    patches = int(np.prod(model.grid))
    assert len(np.unique(groups.membership[0])) == patches
    for layer, size in enumerate(groups.sizes):
        counts = np.bincount(groups.membership[layer].ravel(), minlength=len(size))
        of_patches = counts > 0
        np.testing.assert_array_equal(size[of_patches], counts[of_patches])
        # What is left are class tokens: one, or one in each time step.
        classes = model.has_class_token * (model.grid[0] if kind == "encoder" else 1)
        assert (~of_patches).sum() == classes
        assert size[~of_patches].tolist() == [1] * classes


@pytest.mark.parametrize(("kind", "layout", "within"), CASES)
def test_groups_stay_within_a_time_step_where_they_should_and_their_numbers_tell_them_apart(kind, layout, within):
    _, _, groups = traced(kind, layout, clip=1)
    last = groups.membership[-1]
    crossing = [group for group in np.unique(last) if (last == group).any(axis=(1, 2)).sum() > 1]
    assert bool(crossing) != within
    for membership, numbers in zip(groups.membership, groups.numbers, strict=True):
        if not within:
            np.testing.assert_array_equal(membership, numbers)
        for step in range(groups.grid[0]):
            pairs = set(zip(membership[step].ravel().tolist(), numbers[step].ravel().tolist(), strict=True))
            assert len(pairs) == len({group for group, _ in pairs}) == len({number for _, number in pairs})


def test_groups_are_those_of_the_trace():
    model, trace, groups = traced("vivit", "reference", clip=1)
    np.testing.assert_array_equal(groups.membership[-1].ravel(), np.asarray(trace.membership)[1, 1:])
    model, trace, groups = traced("encoder", "reference", clip=1)
    np.testing.assert_array_equal(
        groups.numbers[-1].reshape(model.grid[0], -1), np.asarray(trace.membership)[1, :, int(model.has_class_token) :]
    )


@pytest.mark.parametrize("mode", ["drop", "hybrid"])
@pytest.mark.parametrize("kind", ["vivit", "encoder"])
def test_discarded_patches_belong_to_nothing(kind, mode):
    _, _, groups = traced(kind, "reference", mode)
    np.testing.assert_array_equal(groups.membership < 0, groups.numbers < 0)
    assert (groups.membership[0] >= 0).all()
    assert groups.membership.min() >= -1
    if mode == "drop":
        kept = groups.membership[-1][groups.membership[-1] >= 0]
        assert len(np.unique(kept)) == len(kept) < groups.membership[-1].size


def test_what_is_no_patch_is_cut_off():
    model = tiny("vivit", image_size=(15, 22), num_frames=5)
    frames = np.arange(5 * 15 * 22 * 3).reshape(5, 15, 22, 3).astype(np.uint8)
    assert seen_frames(model).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(seen_pixels(model, frames), frames[:4, :12, :20])
    sampled = tiny("vivit", num_frames=8, patch_size=(1, 4, 4), num_sampled_frames=3)
    assert seen_frames(sampled).tolist() == [2, 4, 6]
    assert seen_pixels(sampled, np.zeros((8, 12, 20, 3), np.uint8)).shape == (3, 12, 20, 3)
