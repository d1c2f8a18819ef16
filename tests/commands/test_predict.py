"""`predict`: any videos to named probabilities, on the command line and from Python."""

import csv
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_vtm
from jax_vtm import cli
from jax_vtm.config import load_config
from jax_vtm.data import ClipProtocol, VideoItem, load_views, moving_digits, write_h264
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.models import releases
from jax_vtm.models.releases import Release, class_list

SHOWN = ("000_zero_east.mp4", "001_five_north-east.mp4")
PROTOCOL = ClipProtocol(num_frames=16, crop=64, stride=1, short_side=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict") / "videos"
    source = moving_digits.open_test_videos(folder)
    assert (source[0].id, source[4].id) == SHOWN
    return folder


@pytest.fixture(scope="module")
def predicted(folder):
    """The folder and a broken file: exit code, workdir, rows."""
    workdir, broken = folder.parent / "workdir", folder.parent / "broken.mp4"
    broken.write_text("no video")
    code = cli.run(["jax-vtm", "predict", str(folder), str(broken), f"--workdir={workdir}"])
    with (workdir / "predict" / "predictions.csv").open() as file:
        return code, workdir / "predict", list(csv.DictReader(file))


@pytest.fixture(scope="module")
def model():
    model = jax_vtm.create_model("vivit_moving_digits", reduction=jax_vtm.Reduction(r=138))
    return model, jax_vtm.load_checkpoint("embedded:moving_digits", model)


def test_every_video_has_its_most_likely_classes_by_name(predicted, folder):
    code, _, rows = predicted
    assert code == 3
    assert {row["video"] for row in rows} == {f"{folder}/{name}" for name in SHOWN}
    assert {row["run"] for row in rows} == {"unmerged", "merge r=138"}
    assert len(rows) == 2 * 2 * (5 + 5)
    first = [row for row in rows if row["video"].endswith(SHOWN[0]) and row["rank"] == "1"]
    assert [row["class"] for row in first] == ["zero", "east", "zero", "east"]
    assert all(float(row["probability"]) > 0.9 for row in first)


def test_probabilities_are_those_of_the_merging_model(predicted, folder, model):
    model, variables = model
    clips = np.concatenate([load_views(VideoItem(name, folder / name), PROTOCOL) for name in SHOWN])
    expected = np.asarray(jax.nn.softmax(jax.jit(model.apply)(variables, clips)["noun"]))
    rows = [row for row in predicted[2] if (row["run"], row["head"]) == ("merge r=138", "noun")]
    found = np.array([float(row["probability"]) for row in rows]).reshape(2, 5)
    np.testing.assert_allclose(found, -np.sort(-expected, 1)[:, :5], rtol=1e-3, atol=1e-6)


def test_the_page_shows_frames_classes_and_what_failed(predicted):
    _, path, _ = predicted
    page = (path / "report.html").read_text()
    assert "Merging changes the most likely class of none of 2 videos" in page.replace("\xa0", " ")
    assert page.count("data:image/png") == 2
    assert "broken.mp4" in page
    assert "broken.mp4" in (path / "failures.csv").read_text()


def test_a_terminal_of_80_columns_has_room(folder, capsys, tmp_path):
    video = folder / SHOWN[0]
    assert cli.run(["jax-vtm", "predict", str(video), "--config.predict.top=2", f"--workdir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"noun +zero +\d\d\.\d +\d\d\.\d\n", out)
    assert max(map(len, out.replace(str(folder), "").replace(str(tmp_path), "").splitlines())) <= 80
    many = [str(video)] * 6
    assert cli.run(["jax-vtm", "predict", *many, "--config.reduction.mode=none", f"--workdir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"noun +zero", out)) == 6
    assert "The most likely classes of 6 videos, without merging" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), r"predict takes videos: predict FILE_OR_FOLDER\.\.\. --config=NAME"),
        (("none.mp4",), "none.mp4: there is no such file or folder"),
        (("{folder}", "--config.predict.top=0"), "config.predict.top is 0; expected at least 1"),
        (("{broken}",), "none of the 1 videos could be read; .*broken.mp4: cannot be read"),
    ],
)
def test_mistakes_are_one_sentence(words, message, folder, predicted, capsys, tmp_path):
    paths = {"folder": folder, "broken": folder.parent / "broken.mp4"}
    given = [word.format(**paths) for word in words]
    assert cli.run(["jax-vtm", "predict", *given, f"--workdir={tmp_path}"]) == 2
    assert re.search(f"error: .*{message}", capsys.readouterr().err)


def test_from_python_it_takes_three_lines(predicted, folder, model):
    model, variables = model
    options = {"protocol": PROTOCOL, "class_names": moving_digits.CLASS_NAMES}
    found = jax_vtm.predict(folder / SHOWN[1], model, variables, **options)
    rows = [row for row in predicted[2] if row["run"] == "merge r=138" and row["video"].endswith(SHOWN[1])]
    for head in ("noun", "verb"):
        expected = {row["class"]: float(row["probability"]) for row in rows if row["head"] == head}
        assert list(found[head]) == list(expected)
        np.testing.assert_allclose(list(found[head].values()), list(expected.values()), rtol=1e-3, atol=1e-6)
    numbered = jax_vtm.predict((folder / SHOWN[0]).read_bytes(), model, variables, protocol=PROTOCOL, top=1)
    assert (list(numbered["noun"]), list(numbered["verb"])) == (["0"], ["0"])
    with pytest.raises(UserError, match="no data set is known for the protocol"):
        jax_vtm.predict(folder / SHOWN[0], model, variables)
    with pytest.raises(UserError, match="class_names has 3 names for 'noun'"):
        jax_vtm.predict(folder / SHOWN[0], model, variables, protocol=PROTOCOL, class_names={"noun": "abc"})


def test_released_models_know_their_protocol_and_the_names_of_their_classes(tmp_path):
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_layers": 1,
        "num_heads": 2,
        "mlp_dim": 32,
        "patch_size": (2, 112, 112),
    }
    model = jax_vtm.create_model("videomae_b_16", **sizes)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *model.input_shape)))
    path = tmp_path / "clip.mp4"
    write_h264(path, np.random.default_rng(0).integers(256, size=(20, 64, 80, 3), dtype=np.uint8))
    found = jax_vtm.predict(path, model, variables, top=0)
    assert set(found) == set(class_list("kinetics400"))
    assert sum(found.values()) == pytest.approx(1, abs=1e-4)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_release_names_the_checkpoint_of_the_configs_model(monkeypatch, folder, tmp_path, capsys):
    words = ["jax-vtm", "predict", str(folder), "--config.checkpoint=release", f"--workdir={tmp_path}"]
    assert cli.run(words) == 2
    assert "No released checkpoint of 'vivit_moving_digits' on 'moving_digits' is known" in capsys.readouterr().err
    known = {("vivit_moving_digits", "moving_digits"): Release("embedded:moving_digits", "us", "Apache-2.0")}
    monkeypatch.setattr(releases, "RELEASES", known)
    assert cli.run(words) == 0
    assert "zero" in capsys.readouterr().out


def test_names_of_epic_kitchens_come_from_the_csv_files_next_to_the_annotations(tmp_path):
    config = load_config(pathlib.Path("vivit_l_16x2_fe_epic"))
    sizes: dict[str, Any] = {
        f"{part}_{key}": value for part in ("spatial", "temporal") for key, value in (("layers", 1), ("heads", 2))
    }
    model = jax_vtm.create_model(config.model.name, hidden_size=16, **sizes)
    config.data.annotations = str(tmp_path / "EPIC_100_validation.csv")
    assert build.class_names(config, model) == {}
    rows = "".join(f"{index},verb {index}\n" for index in range(97))
    (tmp_path / "EPIC_100_verb_classes.csv").write_text(f"id,key\n{rows}")
    assert build.class_names(config, model) == {"verb": tuple(f"verb {index}" for index in range(97))}
