import io
import pathlib
import random

import numpy as np
import pytest
from PIL import Image

from jax_vtm import reports

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
APART = [case for case in CASES if case.startswith("st")]


def membership(case: str) -> np.ndarray:
    """The group of every patch token from the recorded 0/1 matrix [.., groups, tokens]."""
    source = GOLDEN[f"{case}/source"]
    groups = np.where(source.any(axis=1), source.argmax(axis=1), -1)
    return (groups[:, 1:] if case.endswith("_cls") else groups).ravel().astype(np.int32)


def grey_levels_apart(ours: np.ndarray, recorded: np.ndarray) -> int:
    assert ours.shape == recorded.shape
    assert ours.dtype == np.uint8
    return int(np.abs(ours.astype(int) - recorded).max())


@pytest.mark.parametrize(("fill", "recorded"), [("mean", "vis_avg1"), ("none", "vis_avg0")])
@pytest.mark.parametrize("case", CASES)
def test_pixels_equal_the_recorded_ones(case, fill, recorded):
    grid, patch, scope = CASES[case]
    picture = reports.draw_groups(FRAMES, membership(case), grid, patch, fill=fill, scope=scope)
    assert grey_levels_apart(picture, GOLDEN[f"{case}/{recorded}"]) <= 1


@pytest.mark.parametrize("case", APART)
def test_groups_apart_equal_the_recorded_ones_up_to_their_brightness(case):
    grid, patch, _ = CASES[case]
    pictures = reports.draw_groups_apart(FRAMES, membership(case), range(3), grid, patch)
    darkened = (pictures * (225 / 255)).astype(np.uint8)
    assert grey_levels_apart(darkened, GOLDEN[f"{case}/separate_first3"]) <= 1


def test_colours_equal_the_recorded_ones_and_leave_the_global_generator_alone():
    state = random.getstate()
    np.testing.assert_array_equal(reports.group_colours(10), (GOLDEN["colormap_seed0_n10"] * 255).astype(np.uint8))
    assert random.getstate() == state
    assert reports.group_colours(0).shape == (0, 3)


def test_sheet_without_gutter_equals_the_recorded_one():
    sheet = reports.contact_sheet(GOLDEN["sp_depth1/vis_avg1"], 2, pad=0)
    np.testing.assert_array_equal(sheet, GOLDEN["concat/out"])


def test_sheet_scales_and_leaves_unused_places_grey():
    images = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(3, axis=-1)
    sheet = reports.contact_sheet(images, 2, pad=1, scale=2)[..., 0]
    assert sheet.tolist() == [
        [0, 0, 128, 1, 1],
        [0, 0, 128, 1, 1],
        [128] * 5,
        [2, 2, 128, 128, 128],
        [2, 2, 128, 128, 128],
    ]


def test_border_can_be_left_out():
    picture = reports.draw_groups(FRAMES, np.zeros(32, np.int32), (2, 4, 4), (2, 8, 8), border=False)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 1
    np.testing.assert_allclose(picture[0, 0, 0], FRAMES.mean(axis=(0, 1, 2)), atol=0.5)


def test_everything_discarded_is_black_and_the_input_is_untouched():
    frames = FRAMES.copy()
    picture = reports.draw_groups(frames, np.full(32, -1), (2, 4, 4), (2, 8, 8))
    assert not picture.any()
    np.testing.assert_array_equal(frames, FRAMES)


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
    arguments = {
        "frames": FRAMES,
        "membership": np.zeros(32, np.int32),
        "grid": (2, 4, 4),
        "patch": (2, 8, 8),
    }
    with pytest.raises(ValueError, match=words):
        reports.draw_groups(**(arguments | change))


def test_empty_sheet_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        reports.contact_sheet(np.zeros((0, 2, 2, 3), np.uint8), 2)


def test_picture_keeps_its_pixels():
    picture = reports.Picture.from_array("a title", "a caption", FRAMES[0])
    assert picture.size == (32, 32)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picture.png))), FRAMES[0])
