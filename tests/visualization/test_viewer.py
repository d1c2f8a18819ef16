"""What the page's script gets is enough to paint the recorded pictures."""

import base64
import importlib.resources
import io
import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from jax_vtm.models import PatchGroups
from jax_vtm.reports import draw_groups
from jax_vtm.visualization.viewer import frame_source, viewer

FOLDER = importlib.resources.files("jax_vtm.visualization")
SCRIPT, STYLE = (FOLDER.joinpath(f"viewer.{kind}").read_text() for kind in ("js", "css"))
GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "torch" / "visualisation.npz")
FRAMES = (GOLDEN["video_tchw"].transpose(0, 2, 3, 1) * 255).astype(np.uint8)
# Case -> (grid, patch, whether groups are within a time step), as the manifest of the recorded set gives them.
CASES = {
    "st_merge_cls": ((2, 4, 4), (2, 8, 8), False),
    "st_merge_nocls": ((2, 4, 4), (2, 8, 8), False),
    "st_drop_cls": ((2, 4, 4), (2, 8, 8), False),
    "st_hybrid_nocls": ((2, 4, 4), (2, 8, 8), False),
    "sp_depth1": ((4, 4, 4), (1, 8, 8), True),
    "sp_depth2": ((2, 4, 4), (2, 8, 8), True),
}


def one_layer(membership: np.ndarray, numbers: np.ndarray | None = None) -> PatchGroups:
    numbers = membership if numbers is None else numbers
    return PatchGroups(membership[None].astype(np.int32), numbers[None].astype(np.int32), (), within_steps=False)


def recorded_layer(case: str) -> PatchGroups:
    grid, _, within = CASES[case]
    source = GOLDEN[f"{case}/source"]
    groups = np.where(source.any(axis=1), source.argmax(axis=1), -1)
    numbers = (groups[:, 1:] if case.endswith("_cls") else groups).reshape(grid)
    start = np.arange(grid[0])[:, None, None] * source.shape[1] if within else 0
    return one_layer(np.where(numbers < 0, -1, numbers + start), numbers)


def decoded(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def painted(data: dict, layer: int) -> np.ndarray:
    """Paints every frame as the script does."""
    (steps, rows, columns), (depth, height, width) = data["grid"], data["patch"]
    one = data["layers"][layer]
    membership = decoded(one["membership"], "<i4").reshape(steps, rows, columns)
    fill, edge = (decoded(one[name], "u1").reshape(-1, 3) for name in ("fill", "edge"))
    labels = membership.repeat(depth, 0).repeat(height, 1).repeat(width, 2)
    around = np.pad(labels, ((0, 0), (1, 1), (1, 1)), constant_values=-2)
    neighbours = (around[:, :-2, 1:-1], around[:, 2:, 1:-1], around[:, 1:-1, :-2], around[:, 1:-1, 2:])
    border = np.any([other != labels for other in neighbours], axis=0)
    colours = np.where(border[..., None], edge[labels], fill[labels])
    return np.where(labels[..., None] < 0, 0, colours)


@pytest.mark.parametrize("case", CASES)
def test_pixels_equal_the_recorded_ones(case):
    grid, patch, within = CASES[case]
    groups = recorded_layer(case)
    picture = painted(json.loads(viewer(FRAMES, groups, ["one"], patch, fps=8)["data"]), 0)
    assert np.abs(picture.astype(int) - GOLDEN[f"{case}/vis_avg1"]).max() <= 1
    drawn = draw_groups(FRAMES, groups.numbers.ravel(), grid, patch, scope="frame" if within else "clip")
    np.testing.assert_array_equal(picture, drawn, "those of the files")


def test_a_clip_where_everything_is_discarded_is_black():
    nothing = np.full((1, 2, 2), -1)
    frames = np.full((1, 8, 8, 3), 200, np.uint8)
    one = json.loads(viewer(frames, one_layer(nothing), ["one"], (1, 4, 4), fps=8)["data"])["layers"][0]
    assert one["fill"] == one["edge"] == ""


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_frames_are_embedded_in_whichever_form_is_smaller(kind):
    rng = np.random.default_rng(0)
    noise = rng.integers(100, 140, size=(64, 64, 3)).astype(np.uint8)
    frame = noise if kind == "jpeg" else np.full((64, 64, 3), (10, 200, 30), np.uint8)
    source = frame_source(frame)
    assert source.startswith(f"data:image/{kind};base64,")
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))
    assert np.abs(image.astype(int) - frame).mean() <= (0 if kind == "png" else 8)


def test_names_cannot_end_the_data():
    name = '</script><b a="1">&'
    shown = viewer(np.zeros((1, 4, 4, 3), np.uint8), one_layer(np.zeros((1, 1, 1), int)), [name], (1, 4, 4), fps=8)
    assert "<" not in shown["data"]
    assert json.loads(shown["data"])["layers"][0]["name"] == name


def test_script_and_style_ship_with_the_package_and_load_nothing():
    assert "class Viewer" in SCRIPT
    for text in (SCRIPT, STYLE):
        assert not re.search(r"https?:|url\(|import |fetch\(|XMLHttp", text)
