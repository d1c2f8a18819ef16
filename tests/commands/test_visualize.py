"""The command on real encoded videos: what it writes, for every model, and what it refuses."""

import contextlib
import io
import json
import pathlib
import re

import av
import numpy as np
import pytest
from PIL import Image

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.benchmarks.inputs import random_params
from jax_vtm.checkpoints import save_checkpoint
from jax_vtm.config import default_config
from jax_vtm.data import write_h264
from jax_vtm.errors import UserError
from jax_vtm.models import create_model
from jax_vtm.reports import draw_groups
from jax_vtm.visualization import command as visualize
from jax_vtm.visualization.page import probability, visualization_headline

VIVIT = {
    "name": "vivit_moving_digits",
    "num_classes": {"noun": 10, "verb": 8},
    "image_size": 16,
    "num_frames": 4,
    "patch_size": (2, 4, 4),
    "hidden_size": 16,
    "num_layers": 3,
    "num_heads": 2,
    "mlp_dim": 32,
}
ENCODER = {
    **{key: value for key, value in VIVIT.items() if key not in ("num_layers", "num_heads", "mlp_dim")},
    "name": "vivit_b_16x2_fe",
    "spatial_layers": 3,
    "spatial_heads": 2,
    "spatial_mlp_dim": 32,
    "temporal_layers": 1,
    "temporal_heads": 2,
    "temporal_mlp_dim": 32,
}
# (Fields, whether groups stay within a time step) of what is shown without a checkpoint.
MODELS = [
    ({**VIVIT, "name": "videomae_b_16", "num_classes": 7}, False),
    ({**VIVIT, "name": "motionformer_b_16"}, False),
    ({**VIVIT, "name": "timesformer_b_8", "patch_size": (1, 4, 4)}, True),
    (ENCODER, True),
]


def build_config(fields: dict, video: str = ""):
    config = default_config("tiny")
    config.compilation_cache = ""
    config.model = {"dtype": "float32", "attention": "auto", **fields}
    config.reduction.r = 4
    config.data.short_side = 16
    config.visualize.video = video
    config.visualize.random_weights = True
    return config


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "a small video.mp4"
    ramp = np.linspace(0, 200, 20).astype(np.uint8)
    frames = np.broadcast_to(ramp[None, :, None, None], (9, 20, 24, 3)).copy()
    frames[:, 4:12, 6:14] = np.arange(0, 90, 10, dtype=np.uint8)[:, None, None, None] + [10, 60, 120]
    write_h264(path, frames.astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint whose head is not zero, as it is before training."""
    fields = {key: value for key, value in VIVIT.items() if key != "name"}
    params = random_params(create_model(VIVIT["name"], **fields))
    return str(save_checkpoint(tmp_path_factory.mktemp("checkpoint") / "checkpoint", params))


@pytest.fixture(name="config")
def config_with_checkpoint(video, trained):
    config = build_config(VIVIT, str(video))
    config.checkpoint = trained
    config.visualize.random_weights = False
    return config


def read(folder):
    return json.loads((folder / "visualize.json").read_text()), (folder / "report.html").read_text()


def check_groups(folder: pathlib.Path, results: dict) -> None:
    """Groups, sizes and statistics of the only clip say the same."""
    (clip,) = results["clips"]
    grid = results["grid"]
    with np.load(folder / clip["folder"] / "membership.npz") as arrays:
        membership, frames = arrays["membership"], arrays["frames"]
        sizes = [arrays[f"sizes/{layer}"] for layer in range(4)]
    assert membership.shape == (4, *grid)
    assert membership.dtype == np.int32
    assert frames.shape == (4, 16, 16, 3)
    for layer, numbers in enumerate(clip["layers"]):
        counts = np.bincount(membership[layer].ravel(), minlength=len(sizes[layer]))
        assert numbers["groups"] == (counts > 0).sum()
        assert numbers["patches"] == np.prod(grid)
        np.testing.assert_array_equal(sizes[layer][counts > 0], counts[counts > 0])
        assert sum(int(size) * count for size, count in numbers["group_sizes"].items()) == np.prod(grid)
        assert sum(numbers["per_time_step"]["tokens"]) == pytest.approx(numbers["groups"])
        if results["run"]["within_time_steps"]:
            assert numbers["groups_in_several_steps"] == 0


@pytest.mark.parametrize(("fields", "within"), MODELS, ids=[fields["name"] for fields, _ in MODELS])
def test_every_model_is_shown_even_without_a_checkpoint(fields, within, video, tmp_path, capsys):
    assert visualize.run(build_config(fields, str(video)), tmp_path) == exit_codes.SUCCESS
    results, page = read(tmp_path / "visualize")
    assert "weights are random" in results["warnings"][0]
    assert "weights are random" in capsys.readouterr().out
    assert "untrained" in page
    assert "Predictions" not in page
    assert results["run"]["within_time_steps"] == within
    (clip,) = results["clips"]
    assert (clip["id"], clip["folder"]) == ("a small video.mp4", "01_a_small_video")
    assert (clip["labels"], clip["predictions"]) == ({}, {})
    check_groups(tmp_path / "visualize", results)
    assert ("Merged over time" in page) != within


@pytest.fixture(scope="module")
def shown(video, trained, tmp_path_factory):
    """What the command leaves of a clip, and the first line that it prints."""
    workdir = tmp_path_factory.mktemp("shown")
    config = build_config(VIVIT, str(video))
    config.update({"checkpoint": trained, "visualize": {"random_weights": False}})
    config.visualize.layers = "0,2"
    config.visualize.num_frames = 2
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert visualize.run(config, workdir) == exit_codes.SUCCESS
    return workdir / "visualize", said.getvalue().splitlines()[0]


def test_files_hold_the_pictures_that_the_golden_drawing_gives(shown):
    results, page = read(shown[0])
    check_groups(shown[0], results)
    folder = shown[0] / results["clips"][0]["folder"]
    assert results["layers_shown"] == [0, 2]
    with np.load(folder / "membership.npz") as arrays:
        membership, frames = arrays["membership"], arrays["frames"]
    drawn = draw_groups(frames, membership[3].ravel(), (2, 4, 4), (2, 4, 4))

    sheet = np.asarray(Image.open(folder / "sheet.png"))
    scale = 1024 // 32
    assert sheet.shape == (3 * (24 + 16 * scale), 2 * 16 * scale + 2, 3)
    last_row = sheet[-16 * scale :]
    np.testing.assert_array_equal(last_row[::scale, : 16 * scale : scale], drawn[0])
    np.testing.assert_array_equal(last_row[::scale, 16 * scale + 2 :: scale], drawn[3])

    with av.open(str(folder / "groups.mp4")) as container:
        played = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    with Image.open(folder / "groups.gif") as image:
        assert image.n_frames == len(played) == 4
        assert (image.info["duration"], image.info["loop"]) == (120, 0)
        image.seek(2)
        later = np.asarray(image.convert("RGB"))[24:, 2 * 226 : 2 * 226 + 224]
        image.seek(0)
        tile = np.asarray(image.convert("RGB"))[24:, 2 * 226 : 2 * 226 + 224]
    assert tile.shape == (224, 224, 3)
    assert np.abs(tile[7::14, 7::14].astype(int) - drawn[0]).max() <= 8
    assert np.abs(later[7::14, 7::14].astype(int) - drawn[2]).max() <= 8
    assert played.shape[1:] == (248, 3 * 224 + 4, 3)
    inside = (slice(24 + 28, None, 56), slice(2 * 226 + 28, None, 56))
    assert np.abs(played[0][inside].astype(int) - drawn[0, 2::4, 2::4]).max() < 40

    for words in ("after layer 0:", "Predictions of this view", "Tokens per layer", "Sizes of groups"):
        assert words in page


def test_predictions_are_compared_with_and_without_merging(shown):
    folder, headline = shown
    results, page = read(folder)
    predictions = results["clips"][0]["predictions"]
    assert list(predictions) == ["noun", "verb"]
    for classes in predictions.values():
        assert 5 <= len(classes) <= 10
        assert [one["unmerged_rank"] for one in classes[:5]] == [1, 2, 3, 4, 5]
        assert {one["merged_rank"] for one in classes} >= {1, 2, 3, 4, 5}
        assert classes[0]["name"] == f"class {classes[0]['class']}"
        assert 0 < sum(one["merged"] for one in classes) <= 1 + 1e-6
    assert headline.startswith("Merging made 21 tokens of 33, with ")
    assert "; prediction " in headline
    assert re.sub(r"\W+", " ", headline) in re.sub(r"\W+", " ", page.replace("&#x27;", "'"))


def test_a_page_needs_nothing_from_outside(shown):
    _, page = read(shown[0])
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert not re.search(r"https?://|url\(", page)
    assert "default-src 'none'" in page
    assert page.count("<canvas") == 2 + 2
    # Everything that the script looks for is there.
    for name in set(re.findall(r'find\("([\w-]+)"\)', page)):
        assert len(re.findall(rf'class="{name}"', page)) == 1, name
    assert (page.count('class="view"'), page.count('class="step"')) == (2, 2)
    assert 'max="3" value="3"' in page
    assert 'min="1" max="4"' in page
    assert len(page) < 300_000


def test_first_videos_of_a_folder_come_with_names_and_labels(config, video, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("b.mp4", "a.mp4", "c.mp4"):
        (folder / name).write_bytes(video.read_bytes())
    (folder / "labels.csv").write_text("video,verb,noun\na.mp4,1,2\nb.mp4,3,4\nc.mp4,5,6\n")
    config.visualize.video = ""
    config.data.path = str(folder)
    config.data.name = "moving_digits"
    config.data.num_clips = 2
    config.visualize.view = 2
    config.reduction.mode = "drop"
    visualize.run(config, tmp_path)
    results, page = read(tmp_path / "visualize")
    assert [(clip["id"], clip["folder"]) for clip in results["clips"]] == [("a.mp4", "01_a"), ("b.mp4", "02_b")]
    assert results["clips"][1]["labels"] == {"verb": 3, "noun": 4}
    assert results["clips"][1]["predictions"]["noun"][0]["name"] in (
        "zero one two three four five six seven eight nine"
    )
    assert "This is view 2 of the 2 that the protocol takes of a video (clip 2 of 2)." in page
    layers = results["clips"][0]["layers"]
    assert [layer["discarded"] for layer in layers] == [0, 4, 8, 12]
    assert "discarded" in page
    assert page.count('class="viewer"') == 2
    assert len(set(re.findall(r'id="([^"]+)"', page))) == len(re.findall(r'id="[^"]+"', page))


def test_without_arguments_the_embedded_model_and_videos_are_shown(tmp_path):
    default = pathlib.Path(__file__).parents[2] / "configs" / "moving_digits.py"
    words = ["main.py", "visualize", f"--workdir={tmp_path}", "--config.compilation_cache="]
    assert cli.run([*words, "--config.visualize.num_videos=1"], default) == exit_codes.SUCCESS
    results, page = read(tmp_path / "visualize")
    (clip,) = results["clips"]
    assert clip["id"] == "000_zero_east.mp4"
    assert clip["predictions"]["noun"][0]["name"] == "zero"
    assert "zero (label)" in page
    assert not (tmp_path / "videos").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"visualize.video": "some/none.mp4"}, r"some/none.mp4: there is no such file"),
        ({"visualize.video": "FOLDER"}, r"is a folder, expected a "),
        ({"visualize.video": "TEXT"}, r"text.mp4: cannot be read: it is cut short, damaged or not a video"),
        ({"visualize.video": ""}, r"no video to show: give --config.visualize.video=FILE"),
        ({"visualize.layers": "1,3"}, r"layers is '1,3', with '3' in it; expected numbers from 0 to 2"),
        ({"visualize.layers": "-1"}, r"with '-1' in it"),
        ({"visualize.layers": "last"}, r"with 'last' in it; .*\"all\""),
        ({"visualize.layers": "1,,2"}, r"with '' in it"),
        ({"visualize.view": 2}, r"view is 2; the protocol takes 1 view of a video, counted from 1"),
        ({"visualize.view": 0}, r"view is 0"),
        ({"visualize.num_frames": 0}, r"num_frames is 0"),
        ({"visualize.fps": 0.0}, r"fps is 0; expected frames per second"),
        ({"visualize.num_videos": 0, "visualize.video": ""}, r"num_videos is 0"),
        ({"checkpoint": ""}, r"tiny has no checkpoint; give --config.checkpoint=FILE.*random_weights=True"),
        ({"visualize.random_weights": True}, r"but there is a checkpoint"),
        ({"reduction.mode": "none"}, r"mode is 'none', so that there are no groups to show"),
        ({"reduction.r": 0}, r"r is 0, which removes no token"),
    ],
)
def test_mistakes_are_explained_before_anything_is_written(changes, message, config, tmp_path):
    (tmp_path / "text.mp4").write_text("no video at all")
    for key, value in changes.items():
        value = {"FOLDER": str(tmp_path), "TEXT": str(tmp_path / "text.mp4")}.get(value, value)
        config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=message):
        visualize.run(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_merge_says_so(video, tmp_path):
    model = {
        "attention_config": {"type": "factorized_dot_product_attention"},
        "patches": {"size": (4, 4, 2)},
        "temporal_encoding_config": {"method": "3d_conv"},
        "hidden_size": 16,
        "num_heads": 2,
        "num_layers": 2,
        "mlp_dim": 32,
        "representation_size": None,
        "classifier": "gap",
    }
    scenic = build_config(VIVIT, str(video))
    shape = {"num_classes": 5, "input_shape": (4, 16, 16, 3)}
    ways = {"attention": "auto", "matching": "auto", "merging": "auto"}
    scenic.model = {"name": "vivit", "dtype": "float32", **ways, "scenic": {"config": {"model": model}, **shape}}
    with pytest.raises(UserError, match=r"merge none, so that there are no groups to show"):
        visualize.run(scenic, tmp_path)


@pytest.mark.parametrize(
    ("text", "layers"),
    [("", (0, 5, 11)), ("all", tuple(range(12))), ("6, 0,6", (0, 6))],
)
def test_layers_that_are_shown(text, layers):
    assert visualize.layer_numbers(text, 12) == layers


SAME = {"label": [{"name": "archery", "unmerged": 0.971, "merged": 0.964}]}
CUT, WASH = {"name": "cut", "unmerged": 0.6, "merged": 0.2}, {"name": "wash", "unmerged": 0.3, "merged": 0.7}


@pytest.mark.parametrize(
    ("mode", "per_step", "predictions", "said"),
    [
        ("merge", False, [SAME], "Merging made 50 tokens of 197, with 40 % of the arithmetic; prediction unchanged."),
        (
            "drop",
            False,
            [{**SAME, "verb": [CUT, WASH]}],
            "Dropping left 50 of 197 tokens, with 40 % of the arithmetic; prediction changed: verb cut → wash.",
        ),
        (
            "hybrid",
            True,
            [SAME, {"verb": [CUT, WASH]}],
            "Hybrid merging made 50 tokens of 197 in each time step, with 40 % of the arithmetic; "
            "the prediction is unchanged in 1 of 2 clips.",
        ),
        ("random_merge", False, [{}], "Random merging made 50 tokens of 197, with 40 % of the arithmetic."),
    ],
)
def test_one_sentence_says_what_was_done_and_what_came_of_it(mode, per_step, predictions, said):
    run = {"reduction": {"mode": mode}, "tokens_per_layer": [150, 100, 50], "tokens_per_time_step": per_step}
    # The input is reduced too.
    run["tokens_unmerged"] = 197
    clips = [{"predictions": prediction} for prediction in predictions]
    assert visualization_headline({"run": run | {"mac_ratio": 0.4}, "clips": clips}) == said


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0"), (0.0004, "<0.1"), (0.0006, "0.1"), (0.9996, ">99.9"), (1, "100.0")],
)
def test_what_is_almost_certain_is_not_called_certain(share, text):
    assert probability(share) == text
