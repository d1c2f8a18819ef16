"""Groups are drawn as the PyTorch reference draws its own: in files, in the report, and as the page's script paints."""

import base64
import importlib.resources
import io
import json
import pathlib
import random
import re

import numpy as np
import pytest
from PIL import Image

from jax_vtm import reports
from jax_vtm.benchmarks.inputs import random_params
from jax_vtm.data import ClipProtocol
from jax_vtm.evaluation import Variant
from jax_vtm.merging import Reduction
from jax_vtm.models import PatchGroups, create_model
from jax_vtm.reports.merged_tokens import draw_layer, merged_tokens
from jax_vtm.visualization.clip_files import INK, TEXT_HEIGHT, side_by_side, with_label
from jax_vtm.visualization.viewer import frame_source, viewer

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "torch" / "visualisation.npz")
FRAMES = (GOLDEN["video_tchw"].transpose(0, 2, 3, 1) * 255).astype(np.uint8)
# Case -> (grid, patch, scope), as the manifest of the recorded set gives them.
CASES = {
    "st_merge_cls": ((2, 4, 4), (2, 8, 8), "clip"),
    "st_merge_nocls": ((2, 4, 4), (2, 8, 8), "clip"),
    "st_drop_cls": ((2, 4, 4), (2, 8, 8), "clip"),
    "st_hybrid_nocls": ((2, 4, 4), (2, 8, 8), "clip"),
    "sp_depth1": ((4, 4, 4), (1, 8, 8), "frame"),
    "sp_depth2": ((2, 4, 4), (2, 8, 8), "frame"),
}
NOISE = np.random.default_rng(0).integers(100, 140, size=(3, 64, 64, 3)).astype(np.uint8)


def recorded(case: str) -> PatchGroups:
    """The groups of one layer from the recorded 0/1 matrix [.., groups, tokens]."""
    grid, _, scope = CASES[case]
    source = GOLDEN[f"{case}/source"]
    groups = np.where(source.any(axis=1), source.argmax(axis=1), -1)
    numbers = (groups[:, 1:] if case.endswith("_cls") else groups).reshape(grid).astype(np.int32)
    within = scope == "frame"
    start = np.arange(grid[0])[:, None, None] * source.shape[1] if within else 0
    membership = np.where(numbers < 0, -1, numbers + start).astype(np.int32)
    return PatchGroups(membership[None], numbers[None], (), within_steps=within)


def levels_apart(ours: np.ndarray, theirs: np.ndarray) -> int:
    assert ours.shape == theirs.shape
    assert ours.dtype == np.uint8
    return int(np.abs(ours.astype(int) - theirs).max())


def painted(data: dict) -> np.ndarray:
    """Paints every frame of a viewer's only layer as the script does."""
    (steps, rows, columns), (depth, height, width), (one,) = data["grid"], data["patch"], data["layers"]
    membership = np.frombuffer(base64.b64decode(one["membership"]), "<i4").reshape(steps, rows, columns)
    fill, edge = (np.frombuffer(base64.b64decode(one[name]), "u1").reshape(-1, 3) for name in ("fill", "edge"))
    labels = membership.repeat(depth, 0).repeat(height, 1).repeat(width, 2)
    around = np.pad(labels, ((0, 0), (1, 1), (1, 1)), constant_values=-2)
    neighbours = (around[:, :-2, 1:-1], around[:, 2:, 1:-1], around[:, 1:-1, :-2], around[:, 1:-1, 2:])
    border = np.any([other != labels for other in neighbours], axis=0)
    colours = np.where(border[..., None], edge[labels], fill[labels])
    return np.where(labels[..., None] < 0, 0, colours).astype(np.uint8)


@pytest.mark.parametrize("case", CASES)
def test_pixels_equal_the_recorded_ones_wherever_they_are_drawn(case):
    (grid, patch, scope), groups = CASES[case], recorded(case)
    numbers = groups.numbers.ravel()
    picture = reports.draw_groups(FRAMES, numbers, grid, patch, scope=scope)
    assert levels_apart(picture, GOLDEN[f"{case}/vis_avg1"]) <= 1
    unfilled = reports.draw_groups(FRAMES, numbers, grid, patch, fill="none", scope=scope)
    assert levels_apart(unfilled, GOLDEN[f"{case}/vis_avg0"]) <= 1
    np.testing.assert_array_equal(draw_layer(FRAMES, groups, 0, patch), picture)
    np.testing.assert_array_equal(painted(json.loads(viewer(FRAMES, groups, ["one"], patch, fps=8)["data"])), picture)
    if scope == "clip":
        apart = reports.draw_groups_apart(FRAMES, numbers, range(3), grid, patch)
        darkened = (apart * (225 / 255)).astype(np.uint8)
        assert levels_apart(darkened, GOLDEN[f"{case}/separate_first3"]) <= 1


def test_colours_equal_the_recorded_ones_and_leave_the_global_generator_alone():
    state = random.getstate()
    np.testing.assert_array_equal(reports.group_colours(10), (GOLDEN["colormap_seed0_n10"] * 255).astype(np.uint8))
    assert random.getstate() == state
    assert reports.group_colours(0).shape == (0, 3)


def test_border_can_be_left_out_and_what_is_discarded_is_black():
    frames = FRAMES.copy()
    plain = reports.draw_groups(frames, np.zeros(32, np.int32), (2, 4, 4), (2, 8, 8), border=False)
    assert len(np.unique(plain.reshape(-1, 3), axis=0)) == 1
    np.testing.assert_allclose(plain[0, 0, 0], FRAMES.mean(axis=(0, 1, 2)), atol=0.5)
    nothing = np.full((1, 2, 4, 4), -1, np.int32)
    assert not reports.draw_groups(frames, nothing.ravel(), (2, 4, 4), (2, 8, 8)).any()
    np.testing.assert_array_equal(frames, FRAMES)
    shown = viewer(FRAMES, PatchGroups(nothing, nothing, (), within_steps=False), ["one"], (2, 8, 8), fps=8)
    (layer,) = json.loads(shown["data"])["layers"]
    assert layer["fill"] == layer["edge"] == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"membership": np.zeros(33, np.int32)}, "class token"),
        ({"frames": FRAMES[:2]}, "needs uint8"),
        ({"frames": FRAMES / 255.0}, "float64"),
        ({"fill": "median"}, "median"),
        ({"scope": "patch"}, "patch"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    arguments = {"frames": FRAMES, "membership": np.zeros(32, np.int32), "grid": (2, 4, 4), "patch": (2, 8, 8)}
    with pytest.raises(ValueError, match=words):
        reports.draw_groups(**(arguments | change))


def test_a_sheet_equals_the_recorded_one_scales_and_leaves_unused_places_grey():
    sheet = reports.contact_sheet(GOLDEN["sp_depth1/vis_avg1"], 2, pad=0)
    np.testing.assert_array_equal(sheet, GOLDEN["concat/out"])
    images = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(3, axis=-1)
    rows = [[0, 0, 128, 1, 1], [0, 0, 128, 1, 1], [128] * 5, [2, 2, 128, 128, 128], [2, 2, 128, 128, 128]]
    assert reports.contact_sheet(images, 2, pad=1, scale=2)[..., 0].tolist() == rows
    with pytest.raises(ValueError, match="at least one image"):
        reports.contact_sheet(np.zeros((0, 2, 2, 3), np.uint8), 2)


def test_pictures_keep_their_pixels_and_frames_take_the_smaller_form():
    picture = reports.Picture.from_array("a title", "a caption", FRAMES[0])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picture.png))), FRAMES[0])
    for kind, frame, mean in (("png", np.full((64, 64, 3), (10, 200, 30), np.uint8), 0), ("jpeg", NOISE[0], 8)):
        source = frame_source(frame)
        assert source.startswith(f"data:image/{kind};base64,")
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))
        assert np.abs(image.astype(int) - frame).mean() <= mean


def test_text_stands_above_pictures_and_is_cut_where_it_is_wider():
    def is_ink(strip: np.ndarray) -> np.ndarray:
        return (np.abs(strip.astype(int) - INK).max(axis=-1) < 60).any(axis=0)

    labelled, long = with_label(NOISE, "input"), with_label(NOISE, "a text that is far wider than it may be")
    np.testing.assert_array_equal(labelled[:, TEXT_HEIGHT:], NOISE)
    assert is_ink(labelled[0, :TEXT_HEIGHT]).any()
    assert not np.array_equal(long[0], labelled[0])
    assert not is_ink(long[0, :TEXT_HEIGHT])[-1]
    assert with_label(NOISE[:, :, :3], "a text").shape == (3, 64 + TEXT_HEIGHT, 3, 3)


def test_videos_go_side_by_side_frame_by_frame_in_even_sizes():
    frames = NOISE[:, :9, :60]
    video = side_by_side([("a", frames), ("b", 255 - frames), ("c", frames)], scale=1, columns=2)
    assert video.shape[0] == 3
    assert video.shape[1] % 2 == video.shape[2] % 2 == 0
    np.testing.assert_array_equal(video[:, TEXT_HEIGHT : TEXT_HEIGHT + 9, :60], frames)
    np.testing.assert_array_equal(video[:, TEXT_HEIGHT : TEXT_HEIGHT + 9, 62:122], 255 - frames)


def test_names_cannot_end_the_data_and_script_and_style_load_nothing():
    name = '</script><b a="1">&'
    one = np.zeros((1, 1, 1, 1), np.int32)
    shown = viewer(NOISE[:1], PatchGroups(one, one, (), within_steps=False), [name], (1, 64, 64), fps=8)
    assert "<" not in shown["data"]
    assert json.loads(shown["data"])["layers"][0]["name"] == name
    folder = importlib.resources.files("jax_vtm.visualization")
    for kind in ("js", "css"):
        assert not re.search(r"https?:|url\(|import |fetch\(|XMLHttp", folder.joinpath(f"viewer.{kind}").read_text())


PLAIN = {"num_layers": 2, "num_heads": 2, "mlp_dim": 16}
ENCODERS = {
    f"{part}_{name}": size
    for part, layers in (("spatial", 2), ("temporal", 1))
    for name, size in (("layers", layers), ("heads", 2), ("mlp_dim", 16))
}


@pytest.mark.parametrize(
    ("preset", "fields", "words"),
    [
        ("timesformer_b_8", PLAIN, "the 21 groups of the clip's 37 tokens"),
        ("vivit_b_16x2_fe", ENCODERS, "the 6 groups of each time index's 10 tokens"),
    ],
)
def test_the_reports_picture_says_whose_tokens_and_leaves_out_what_is_no_patch(preset, fields, words):
    fields = fields | {"num_classes": 3, "hidden_size": 16, "num_frames": 4, "patch_size": (1, 8, 8), "image_size": 30}
    model = create_model(preset, reduction=Reduction(r=2), **fields)
    clips = np.random.default_rng(0).normal(size=(2, *model.input_shape)).astype(np.float32)
    params = random_params(model)
    protocol = ClipProtocol(num_frames=4, stride=1, short_side=30, crop=30)
    picture = merged_tokens(Variant("merge r=2", model, params), protocol, ["a", "b"], [0, 1], clips)
    assert picture is not None
    assert words in picture.caption
    # Two clips, each above its groups; 24 of the 30 pixels fill patches.
    scale = 1024 // (4 * 24)
    assert picture.size == (4 * (24 * scale + 2) - 2, 4 * (24 * scale + 2) - 2)
