"""The command `study`: all of its studies, on models and videos of a moment."""

import csv
import json
import pathlib
import re

import numpy as np
import pytest
from tiny_evaluation import write_config, write_videos

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.evaluation import ResumeState

ROOT = pathlib.Path(__file__).parents[2]
# Verbs come again after eight videos, so twenty-four have three of each.
VIDEOS = 24
SPLICES = ("--config.study.head=verb", "--config.study.tubelets=1")
LAYERS = ("--config.study.what=layers", "--config.study.times=(2,)", "--config.reduction.mode=merge")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_videos(folder / "videos", VIDEOS)
    return write_config(folder, folder / "videos")


def study(config, workdir, *words) -> int:
    words = ["--config.data.batch_size=1", *words]
    return cli.run(["main.py", "study", f"--config={config}", f"--workdir={workdir}", *words], ROOT)


def results_of(workdir):
    return json.loads((workdir / "results.json").read_text())


def table_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def spliced(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("spliced")
    assert study(config, workdir, *SPLICES) == exit_codes.SUCCESS
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
    assert [float(row["share_of_tokens"]) for row in table_of(spliced / "layers.csv")] == [
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
    rows = table_of(spliced / "videos.csv")
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


def stop_once(monkeypatch) -> None:
    """Lets the next evaluation stop after its first batch."""
    add, stopped = ResumeState.add, []

    def stop(state, result):
        add(state, result)
        if not stopped:
            stopped.append(True)
            raise KeyboardInterrupt

    monkeypatch.setattr(ResumeState, "add", stop)


def test_a_stopped_study_of_splices_goes_on_and_gives_the_same_with_another_backend(
    config, spliced, tmp_path, monkeypatch, capsys
):
    words = [*SPLICES, "--config.backend=shard_map", "--config.data.clips_at_once=1"]
    stop_once(monkeypatch)
    assert study(config, tmp_path, *words) == exit_codes.FAILURE
    assert study(config, tmp_path, *words) == exit_codes.SUCCESS
    assert "continuing: 8 videos are evaluated already, 16 are to do" in capsys.readouterr().err
    ours, theirs = results_of(tmp_path / "study"), results_of(spliced)
    for key in ("predictions", "layers", "study", "runs"):
        assert ours[key] == theirs[key]
    assert (tmp_path / "study" / "videos.csv").read_bytes() == (spliced / "videos.csv").read_bytes()


def test_layers_that_merge_alone_are_told_apart_and_a_stopped_study_goes_on(config, tmp_path, monkeypatch, capsys):
    stop_once(monkeypatch)
    assert study(config, tmp_path, *LAYERS) == exit_codes.FAILURE
    assert study(config, tmp_path, *LAYERS) == exit_codes.SUCCESS
    assert "continuing: 8 videos are evaluated already, 16 are to do" in capsys.readouterr().err
    folder = tmp_path / "study"
    results = results_of(folder)
    assert [run["name"] for run in results["runs"]] == [
        *("unmerged", "merge r=[6 x 2], layer 0 2 times", "merge r=[0, 6 x 2], layer 1 2 times")
    ]
    for layer, run in enumerate(results["runs"][1:]):
        one = run["one_layer"]
        assert (one["layer"], one["times"], one["r"]) == (layer, 2, 6)
        assert (one["tokens"], one["clips"], one["groups"]) == (32, 16, 20)
        # Each of the tokens that went has joined at least one other.
        assert one["merged_tokens"] >= 16 * (12 + 1)
        assert 0 <= one["mixed_tokens"] <= one["merged_tokens"]
        assert 0 < one["chance_tokens"] <= one["merged_tokens"]
        assert run["metrics"]["action/top1"]["count"] == VIDEOS
    page = (folder / "report.html").read_text()
    assert "<h1>In one layer alone (2 times r" in page
    assert 'alt="One layer at a time"' in page
    assert [row["run"] for row in table_of(folder / "layers.csv")] == [run["name"] for run in results["runs"]]
    assert "action/top1" in table_of(folder / "layers.csv")[0]
    assert len(np.load(folder / "predictions.npz")["ids"]) == VIDEOS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "there is one alone of noun"),
        (["--config.study.head=colour"], "config.study.head is 'colour'; its heads are noun, verb"),
        (["--config.study.donors=nearest"], "config.study.donors is 'nearest'; expected one or more of random"),
        (["--config.study.tubelets=2"], "config.study.tubelets is 2; expected 1 to 1"),
        (["--config.study.what=splice"], "config.study.what is 'splice'; expected one of splices, layers, finetuning"),
        (["--config.reduction.mode=none"], "expected one that reduces: a splice shows what merges"),
        ([*LAYERS, "--config.reduction.mode=none"], "config.reduction.mode is 'none'; expected one that reduces"),
        ([*LAYERS, "--config.reduction.r=0"], "config.study.r is empty and config.reduction.r is 0; expected tokens"),
        ([*LAYERS, "--config.study.times=(0,)"], "config.study.times holds 0; expected a whole number of times, at"),
        ([*LAYERS, "--config.study.layers=(1.5,)"], "config.study.layers holds 1.5; expected the number of a layer"),
        ([*LAYERS, "--config.study.layers=(2,)"], "layer"),
        (["--config.sweep.one_layer.times=(4,)"], "the key config.sweep.one_layer.times is now config.study.times"),
    ],
)
def test_mistakes_are_answered(config, tmp_path, capsys, words, message):
    assert study(config, tmp_path, *words) == exit_codes.MISTAKE
    assert message in capsys.readouterr().err


def test_without_labels_any_other_video_may_give(tmp_path, capsys):
    write_videos(tmp_path / "videos", 8)
    (tmp_path / "videos" / "labels.csv").unlink()
    config = write_config(tmp_path, tmp_path / "videos")
    assert study(config, tmp_path / "out") == exit_codes.MISTAKE
    assert "the videos have no labels" in capsys.readouterr().err
    assert study(config, tmp_path / "out", "--config.study.donors=random") == exit_codes.SUCCESS
    results = results_of(tmp_path / "out" / "study")
    assert all(not entry["heads"] for entry in results["predictions"])
    assert results["predictions"][-1]["as_unspliced"]["count"] == 8


def test_a_broken_donor_is_named_and_the_rest_is_counted(tmp_path):
    videos = write_videos(tmp_path / "videos", VIDEOS)
    videos[3].write_bytes(b"")
    config = write_config(tmp_path, tmp_path / "videos")
    assert study(config, tmp_path / "out", *SPLICES) == exit_codes.TOO_MANY_FAILED
    results = results_of(tmp_path / "out" / "study")
    rows = table_of(tmp_path / "out" / "study" / "videos.csv")
    assert results["dataset"]["n_ok"] == len(rows) == VIDEOS - len(results["failures"])
    reasons = {failure["id"]: failure["reason"] for failure in results["failures"]}
    assert "its donor" not in reasons.pop("003.mp4")
    assert reasons
    assert all(reason.startswith("its donor 003.mp4 could not be read: ") for reason in reasons.values())


def test_finetuning_compares_all_weights_and_a_stopped_study_goes_on(config, tmp_path, monkeypatch, capsys):
    words = [
        *("--config.study.what=finetuning", "--config.study.reduction=mode=merge r=6", "--config.study.seeds=1"),
        *("--config.train.steps=1", "--config.train.batch_size=8", "--config.train.learning_rate=1e-3"),
        *("--config.data.num_videos=8", "--config.clips.scale=(1.0,1.2)"),
        f"--config.clips.path={config.parent}/other",
    ]
    write_videos(config.parent / "other", 8)
    stop_once(monkeypatch)
    assert study(config, tmp_path, *words) == exit_codes.FAILURE
    assert "2/2 steps" in capsys.readouterr().err
    assert study(config, tmp_path, *words) == exit_codes.SUCCESS
    # Weights that are trained already are not trained again.
    assert "/2 steps" not in capsys.readouterr().err
    results = results_of(tmp_path / "study")
    accuracies = {run["name"]: run["metrics"]["action/top1"]["value"] for run in results["runs"]}
    found = {(entry["run"], entry["weights"]): entry for entry in results["study"]["compared"]}
    for (name, how), entry in found.items():
        runs = [name] if how == "training-free" else [f"{name}, {how}, seed 0"]
        assert entry["by_seed"] == pytest.approx([accuracies[run] for run in runs])
        assert entry["accuracy"]["value"] == pytest.approx(np.mean(entry["by_seed"]))
        assert entry["gain"]["value"] == pytest.approx(np.mean(entry["by_seed"]) - accuracies[name])
        assert entry["cost"] == pytest.approx(accuracies["unmerged"] - accuracies[name])
    weights = {"training-free": 2, "finetuned with merging": 1, "finetuned without merging": 2}
    assert {how: sum(key[1] == how for key in found) for how in weights} == weights
    assert [row["run"] for row in table_of(tmp_path / "study" / "finetuning.csv")] == list(
        dict.fromkeys(name for name, _ in found)
    )
    words[5] = "--config.train.learning_rate=1e-4"
    assert study(config, tmp_path, *words) == exit_codes.MISTAKE
    assert "config.train.learning_rate" in capsys.readouterr().err
