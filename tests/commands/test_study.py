import csv
import json
import pathlib
import re

import numpy as np
import pytest
from tiny_evaluation import write_config, write_videos

from jax_vtm import cli
from jax_vtm import errors as exit_codes

ROOT = pathlib.Path(__file__).parents[2]
# Verbs come again after eight videos, so twenty-four have three of each.
VIDEOS = 24
WORDS = ("--config.study.head=verb", "--config.data.batch_size=1", "--config.study.tubelets=1")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_videos(folder / "videos", VIDEOS)
    return write_config(folder, folder / "videos")


def splice(config, workdir, *words) -> int:
    return cli.run(["main.py", "study", f"--config={config}", f"--workdir={workdir}", *WORDS, *words], ROOT)


def results_of(workdir):
    return json.loads((workdir / "results.json").read_text())


@pytest.fixture(scope="module")
def spliced(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("spliced")
    assert splice(config, workdir) == exit_codes.SUCCESS
    return workdir / "study"


def test_every_kind_of_donor_is_counted_after_every_layer(spliced):
    results = results_of(spliced)
    assert results["study"]["donors"] == ["random", "same_class", "different_class"]
    assert (results["study"]["tubelets"], results["study"]["of"]) == (1, 2)
    kinds = ["unspliced", *results["study"]["donors"]]
    assert [(entry["clips"], entry["layer"]) for entry in results["layers"]] == [(k, i) for k in kinds for i in (0, 1)]
    for entry in results["layers"]:
        # Of two views each: at least what r = 6 removes.
        assert entry["merged_tokens"] >= 2 * VIDEOS * 6
        assert 0 < entry["mixed_tokens"] <= entry["merged_tokens"]
        assert entry["share_of_tokens"]["value"] == entry["mixed_tokens"] / entry["merged_tokens"]
    # Random merging takes no notice of what it merges.
    shares = [entry["share_of_tokens"]["value"] - entry["chance_of_tokens"] for entry in results["layers"]]
    assert np.max(np.abs(shares)) < 0.15
    table = list(csv.DictReader((spliced / "layers.csv").open(newline="")))
    assert [float(row["share_of_tokens"]) for row in table] == [
        entry["share_of_tokens"]["value"] for entry in results["layers"]
    ]
    page = (spliced / "report.html").read_text()
    assert "<h1>With 1 of 2 tubelets from a donor of another class, " in page
    assert re.search(
        r"000.mp4 and \d{3}.mp4 and the first with frames (1 to 2|3 to 4) of the second; below each, ", page
    )


def test_predictions_follow_somebody_or_nobody(spliced):
    for entry in results_of(spliced)["predictions"]:
        for name, head in entry["heads"].items():
            assert head["accuracy"]["count"] == VIDEOS
            followed = [head[key] for key in head if key.startswith("follows")]
            assert sum(metric["correct"] for metric in followed) == (followed[0]["count"] if followed else 0)
            if entry["clips"] == "different_class" and name == "verb":
                assert followed[0]["count"] == VIDEOS
            if entry["clips"] == "same_class" and name == "verb":
                assert not followed


def test_the_table_of_videos_says_who_gave_what(spliced):
    rows = list(csv.DictReader((spliced / "videos.csv").open(newline="")))
    assert [row["video"] for row in rows] == [f"{i:03d}.mp4" for i in range(VIDEOS)]
    assert {row["first tubelet"] for row in rows} == {"0", "1"}
    for row in rows:
        assert row["verb"] == row["same_class verb"] != row["different_class verb"]
        assert row["video"] not in (row["random"], row["same_class"], row["different_class"])
        assert int(row["random verb"]) == int(row["random"][:3]) % 8


def test_unspliced_clips_are_predicted_as_evaluate_does(config, spliced, tmp_path):
    words = [f"--config={config}", f"--workdir={tmp_path}", "--config.data.batch_size=1"]
    assert cli.run(["main.py", *words], ROOT) == exit_codes.SUCCESS
    evaluated = {run["name"]: run["metrics"] for run in results_of(tmp_path)["runs"]}
    found = [entry for entry in results_of(spliced)["predictions"] if entry["clips"] == "unspliced"]
    assert [entry["run"] for entry in found] == list(evaluated)
    for entry in found:
        for head, metrics in entry["heads"].items():
            assert metrics["accuracy"]["correct"] == evaluated[entry["run"]][f"{head}/top1"]["correct"]


def test_the_same_command_gives_the_same_and_another_backend_too(config, spliced, tmp_path):
    assert splice(config, tmp_path, "--config.backend=shard_map", "--config.data.clips_at_once=1") == exit_codes.SUCCESS
    ours, theirs = results_of(tmp_path / "study"), results_of(spliced)
    for key in ("predictions", "layers", "study", "runs"):
        assert ours[key] == theirs[key]
    assert (tmp_path / "study" / "videos.csv").read_bytes() == (spliced / "videos.csv").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config.study.head="], "there is one alone of noun"),
        (["--config.study.head=colour"], "config.study.head is 'colour'; its heads are noun, verb"),
        (["--config.study.donors=nearest"], "config.study.donors is 'nearest'; expected one or more of random"),
        (["--config.study.tubelets=2"], "config.study.tubelets is 2; expected 1 to 1"),
        (["--config.study.what=frames"], "config.study.what is 'frames'; expected splice or layers"),
        (
            ["--config.study.what=layers"],
            "the study of layers is a sweep: python main.py sweep --config=configs/layer_dup",
        ),
        (["--config.reduction.mode=none"], "expected one that reduces: a splice shows what merges"),
    ],
)
def test_mistakes_are_answered(config, tmp_path, capsys, words, message):
    assert splice(config, tmp_path, *words) == exit_codes.MISTAKE
    assert message in capsys.readouterr().err


def test_without_labels_any_other_video_may_give(tmp_path, capsys):
    write_videos(tmp_path / "videos", 8)
    (tmp_path / "videos" / "labels.csv").unlink()
    config = write_config(tmp_path, tmp_path / "videos")
    words = ["main.py", "study", f"--config={config}", f"--workdir={tmp_path / 'out'}", "--config.data.batch_size=1"]
    assert cli.run(words, ROOT) == exit_codes.MISTAKE
    assert "the videos have no labels" in capsys.readouterr().err
    assert cli.run([*words, "--config.study.donors=random"], ROOT) == exit_codes.SUCCESS
    results = results_of(tmp_path / "out" / "study")
    assert all(not entry["heads"] for entry in results["predictions"])
    assert results["predictions"][-1]["as_unspliced"]["count"] == 8


def test_a_broken_donor_is_named_and_the_rest_is_counted(tmp_path, capsys):
    videos = write_videos(tmp_path / "videos", VIDEOS)
    videos[3].write_bytes(b"")
    config = write_config(tmp_path, tmp_path / "videos")
    assert splice(config, tmp_path / "out") == exit_codes.TOO_MANY_FAILED
    results = results_of(tmp_path / "out" / "study")
    rows = list(csv.DictReader((tmp_path / "out" / "study" / "videos.csv").open(newline="")))
    assert results["dataset"]["n_ok"] == len(rows) == VIDEOS - len(results["failures"])
    reasons = {failure["id"]: failure["reason"] for failure in results["failures"]}
    assert "its donor" not in reasons.pop("003.mp4")
    assert reasons
    assert all(reason.startswith("its donor 003.mp4 could not be read: ") for reason in reasons.values())
