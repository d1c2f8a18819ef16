"""What holds for TimeSformer, Motionformer and VideoMAE alike."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recorded import QUICK
from tiny_models import FRAMES, PLACES, random_params, tiny, variables, video

from jax_vtm.merging import Reduction, plan
from jax_vtm.models.frames import SpaceTimePositions, resize_matrix

IN_FRAMES = ["timesformer", "motionformer"]
KINDS = [*IN_FRAMES, "videomae"]
MODES = ["merge", "random_merge", "drop", "random_drop", "hybrid"]


def run(model, kind, clips=None, params=None):
    """Logits and trace."""

    @functools.partial(jax.jit, compiler_options=QUICK)
    def forward(variables, clips):
        return model.apply(variables, clips, trace=True, rngs={"reduction": jax.random.key(0)})

    return forward(params or variables(kind), video(model) if clips is None else clips)


def patch_membership(kind, trace):
    """Groups of the patches alone."""
    return np.asarray(trace.membership)[:, 0 if kind == "videomae" else 1 :]


@pytest.mark.parametrize(("mode", "layout"), [*((mode, "fixed") for mode in MODES), ("drop", "reference")])
@pytest.mark.parametrize("kind", KINDS)
def test_every_mode_down_to_the_last_token(kind, mode, layout):
    # More than there is, so that every step is clamped: 3 -> 2 -> 1 -> 1 in a frame, 6 -> 3 -> 2 -> 1 in the clip.
    reduction = Reduction(r=100, mode=mode, layout=layout, threshold=0.2, repeat_layer=(0, 3))
    model = tiny(kind, reduction, num_layers=1, image_size=(4, 12))
    logits, trace = run(model, kind, params=random_params(model))
    assert np.isfinite(logits).all()
    groups, first = (1, 0) if kind == "videomae" else (FRAMES, 1)
    counts = plan(FRAMES * 3 // groups, (100,) * 3)
    assert counts[-1] == 1
    assert model.tokens_per_layer == tuple(first + groups * count for count in counts)
    assert trace.tokens_per_layer == (first + FRAMES * 3, first + groups)
    sizes, membership = np.asarray(trace.sizes), patch_membership(kind, trace)
    assert ((membership >= -1) & (membership < sizes.shape[1])).all()
    for clip_sizes, clip_membership in zip(sizes, membership, strict=True):
        if not reduction.drops:
            # A token stands for those that are in its group; in drop modes for itself alone.
            members = np.bincount(clip_membership[clip_membership >= 0], minlength=sizes.shape[1])
            np.testing.assert_array_equal(clip_sizes[first:], members[first:])
        if mode in ("merge", "random_merge"):
            assert clip_sizes[first:].sum() == FRAMES * 3


@pytest.mark.parametrize("mode", ["merge", "random_drop", "hybrid"])
@pytest.mark.parametrize("kind", IN_FRAMES)
def test_fixed_layout_never_crosses_a_frame(kind, mode):
    model = tiny(kind, Reduction(r=4, mode=mode, layout="fixed"))
    _, trace = run(model, kind)
    assert model.tokens_per_layer == trace.tokens_per_layer == (31, 23, 15)
    frame = np.arange(FRAMES * PLACES) // PLACES
    for members in patch_membership(kind, trace):
        for group in range(1, 15):
            assert set(frame[members == group]) == {(group - 1) // 7}, "equal counts, group by group"


def test_motionformers_reference_layout_groups_by_index_modulo_frames():
    _, trace = run(tiny("motionformer", Reduction(r=4)), "motionformer")
    for members in patch_membership("motionformer", trace):
        for group in range(1, 15):
            assert set(np.flatnonzero(members == group) % FRAMES) == {(group - 1) % FRAMES}


@pytest.mark.parametrize("kind", KINDS)
def test_concat_compares_all_heads(kind):
    model = tiny(kind, Reduction(r=4, head_aggregation="concat"))
    _, trace = run(model, kind)
    _, mean = run(tiny(kind, Reduction(r=4)), kind)
    assert trace.tokens_per_layer == mean.tokens_per_layer
    assert (np.asarray(trace.membership) != np.asarray(mean.membership)).any()


def test_resizing_rules():
    assert resize_matrix(3, 6, "nearest").argmax(1).tolist() == [0, 0, 1, 1, 2, 2]
    assert resize_matrix(5, 2, "nearest").argmax(1).tolist() == [0, 2]
    np.testing.assert_allclose(resize_matrix(2, 4, "linear"), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    for method in ("nearest", "linear", "cubic"):
        np.testing.assert_array_equal(resize_matrix(4, 4, method), np.eye(4))
        np.testing.assert_allclose(resize_matrix(14, 21, method).sum(1), 1, rtol=1e-6)
    # Half way between two samples the cubic kernel with a = -0.75 has these weights.
    np.testing.assert_allclose(resize_matrix(8, 4, "cubic")[1], [0, -0.09375, 0.59375, 0.59375, -0.09375, 0, 0, 0])


def test_resizing_as_torch_does():
    # Recorded from torch 2.13's `interpolate`: for Motionformer-HR's 14 to 21 places, "bicubic" with a scale of 1.5;
    # for TimeSformer, "nearest", whose arithmetic is float32: 41 * (2 / 82) falls just short of 1.
    rows = resize_matrix(14, 21, "cubic")
    np.testing.assert_allclose(rows[0, :3], [1.08680594, -0.08680559, 0], atol=1e-6)
    np.testing.assert_allclose(rows[4, :6], [0, -0.09375001, 0.59375006, 0.59375006, -0.09375001, 0], atol=1e-6)
    nearest = [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9, 10, 10, 11, 12, 12, 13]
    assert resize_matrix(14, 21, "nearest").argmax(1).tolist() == nearest
    assert resize_matrix(2, 82, "nearest").argmax(1).tolist() == [0] * 42 + [1] * 40


@pytest.mark.torch
@pytest.mark.parametrize(("method", "mode"), [("nearest", "nearest"), ("linear", "linear"), ("cubic", "bicubic")])
def test_resizing_beside_torch(method, mode):
    torch = pytest.importorskip("torch")
    for num_in, num_out in ((14, 21), (8, 3), (3, 5), (28, 14), (1, 4)):
        lines = torch.eye(num_in)[:, None]
        if mode == "bicubic":  # of pictures only
            square = lines[..., None].expand(-1, -1, -1, 4)
            found = torch.nn.functional.interpolate(square, size=(num_out, 4), mode=mode)[..., 0]
        else:
            found = torch.nn.functional.interpolate(lines, size=num_out, mode=mode)
        np.testing.assert_allclose(resize_matrix(num_in, num_out, method), found[:, 0].T, atol=1e-6)


@pytest.mark.parametrize("kind", IN_FRAMES)
def test_stored_positions_are_interpolated(kind):
    model = tiny(kind, position_grid=(1, 3, 5))
    stored = {**variables(kind)["params"]}
    stored["positions"] = {**stored["positions"], "time": stored["positions"]["time"][:, :1]}
    expected = {**stored, "positions": {**stored["positions"]}}
    expected["positions"]["time"] = np.repeat(stored["positions"]["time"], FRAMES, axis=1)
    clips = jnp.asarray(video(model))
    found = jax.jit(model.apply)({"params": stored}, clips)
    np.testing.assert_allclose(found, jax.jit(tiny(kind).apply)({"params": expected}, clips), rtol=0, atol=2e-5)


def test_places_are_interpolated_apart_from_the_class_token():
    space = np.random.default_rng(0).normal(size=(1, 5, 3)).astype(np.float32)
    params = {"cls": np.ones((1, 1, 3), np.float32), "space": space, "time": np.zeros((1, 1, 3), np.float32)}
    cls, x = SpaceTimePositions((1, 2, 2), "nearest").apply({"params": params}, jnp.zeros((1, 1, 4, 4, 3)))
    np.testing.assert_array_equal(cls[0, 0], 1 + space[0, 0])
    rows = np.repeat(np.repeat(space[0, 1:].reshape(2, 2, 3), 2, axis=0), 2, axis=1)
    np.testing.assert_allclose(x[0, 0].reshape(4, 4, 3), rows, rtol=1e-6)
