import csv
import json
import pathlib
import shutil

import numpy as np
import pytest
from tiny_evaluation import write_config, write_videos

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.evaluation import ResumeState

ROOT = pathlib.Path(__file__).parents[2]
ALL = ("--config.sweep.mode=merge,random_drop", "--config.sweep.r=3,6")
ONE = ("--config.sweep.mode=merge", "--config.sweep.r=6")
RUNS = ["merge r=3", "merge r=6", "random_drop r=3", "random_drop r=6"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A config file for twelve tiny videos: two batches on eight devices."""
    folder = tmp_path_factory.mktemp("tiny")
    write_videos(folder / "videos", 12)
    return write_config(folder, folder / "videos")


def sweep(config, workdir, lists=ALL, *words: str) -> int:
    lists = [*lists, "--config.sweep.runs_per_pass=3", "--config.data.batch_size=1"]
    return cli.run(["main.py", "sweep", f"--config={config}", f"--workdir={workdir}", *lists, *words], ROOT)


@pytest.fixture(scope="module")
def swept(config, tmp_path_factory):
    """The workdir of a sweep that nobody disturbed."""
    workdir = tmp_path_factory.mktemp("swept")
    assert sweep(config, workdir) == exit_codes.SUCCESS
    return workdir


def table(workdir) -> list[dict[str, str]]:
    with (workdir / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def predictions(workdir) -> dict[str, np.ndarray]:
    """The arrays of all passes; those of the unmerged model have to be the same in each."""
    arrays: dict[str, np.ndarray] = {}
    for path in sorted(workdir.glob("passes/*/*/predictions.npz")):
        saved = np.load(path)
        for name in saved.files:
            np.testing.assert_array_equal(arrays.setdefault(name, saved[name]), saved[name])
    return arrays


def assert_same_results(workdir, expected):
    """Equal in all but what was measured."""
    ours, theirs = predictions(workdir), predictions(expected)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name])
    measured = ("clips_per_s", "speedup")
    plain = [[{k: v for k, v in row.items() if k not in measured} for row in table(one)] for one in (workdir, expected)]
    assert plain[0] == plain[1]


def test_every_run_has_a_row_with_its_settings_costs_and_metrics(swept):
    rows = table(swept)
    assert [row["run"] for row in rows] == ["unmerged", *RUNS]
    assert [(row["mode"], row["r"]) for row in rows[1:]] == [
        (mode, r) for mode in ("merge", "random_drop") for r in ("3", "6")
    ]
    unmerged, merged = rows[0], rows[2]
    assert float(unmerged["mac_ratio"]) == float(unmerged["speedup"]) == float(unmerged["agreement"]) == 1
    assert (unmerged["tokens_per_layer"], merged["tokens_per_layer"]) == ("33 33 33", "33 27 21")
    assert float(merged["mac_ratio"]) == int(merged["macs_per_clip"]) / int(unmerged["macs_per_clip"]) < 1
    for row in rows:
        assert row["action/top1 count"] == row["videos"] == "12"
        assert float(row["action/top1"]) == int(row["action/top1 correct"]) / 12
        low, value, high = (float(row[f"noun/top1{part}"]) for part in (" low", "", " high"))
        assert 0 <= low < value < high <= 1
        assert float(row["clips_per_s"]) > 0
    for row in rows[1:]:
        assert row["changed_metric"] == "action/top1"
        assert float(row["change"]) == pytest.approx(float(row["action/top1"]) - float(unmerged["action/top1"]))
        assert float(row["speedup"]) > 0


def test_fewer_patches_are_an_axis_and_a_curve(config, tmp_path):
    inputs = "({'keep': 20}, {'keep': 24}, {'keep': 24, 'by': 'random'})"
    lists = (f"--config.sweep.runs=({{'mode': 'merge', 'r': 0, 'input': {inputs}}},)",)
    assert sweep(config, tmp_path, lists) == exit_codes.SUCCESS
    rows = table(tmp_path)[1:]
    names = ["input 20 by run_length", "input 24 by run_length", "input 24 by random"]
    assert [row["run"] for row in rows] == names
    assert [row["tokens_per_layer"] for row in rows] == ["21 21 21", "25 25 25", "25 25 25"]
    assert json.loads(rows[2]["input"]) == {"keep": 24, "by": "random"}
    assert len({row["macs_per_clip"] for row in rows}) == 2
    page = (tmp_path / "report.html").read_text()
    assert "at equal MACs" in page
    assert "input by run length" in page
    assert "is not among the runs: --config.sweep.mode=&#34;merge,random_drop&#34; adds it." in page


def test_runs_of_one_name_are_a_curve_on_the_page_in_the_terminal_and_in_compare(config, tmp_path, capsys):
    mine = {"series": "mine", "mode": "merge"}
    runs = ({**mine, "r": ((6, 5),)}, {**mine, "r": ((9, 2, 2),), "repeat_layer": (0, 2), "input": {"keep": 24}})
    assert sweep(config, tmp_path, (f"--config.sweep.runs={runs}",)) == exit_codes.SUCCESS
    printed = capsys.readouterr().out
    assert "Action top-1 at equal MACs:" in printed
    assert len([line for line in printed.splitlines() if line.startswith("mine ")]) >= 1
    (found,) = json.loads((tmp_path / "results.json").read_text())["experiments"]
    assert [run["series"] for run in found["runs"]] == ["", "mine", "mine"]
    assert "mine" in (tmp_path / "report.html").read_text()
    compared = tmp_path / "compared"
    words = [f"--workdir={compared}", f"--config.compare.ours={tmp_path}", f"--config.compare.theirs={tmp_path}"]
    assert cli.run(["main.py", "compare", *words], ROOT / "configs" / "moving_digits.py") == exit_codes.SUCCESS
    assert "mine (run)" in capsys.readouterr().out


def test_a_sweep_is_compared_at_equal_macs_with_another(swept, tmp_path, capsys):
    words = [f"--workdir={tmp_path}", f"--config.compare.ours={swept}", f"--config.compare.theirs={swept}"]
    assert cli.run(["main.py", "compare", *words], ROOT / "configs" / "moving_digits.py") == exit_codes.SUCCESS
    found = json.loads((tmp_path / "compare" / "compare.json").read_text())["equal_cost"]
    assert [run["name"] for run in found["runs"]] == [
        f"{run} ({side})" for side in ("run", "baseline") for run in ("unmerged", *RUNS)
    ]
    by_run = {row["run"]: row for row in table(swept)}
    for run in found["runs"]:
        row = by_run[run["name"].rpartition(" (")[0]]
        assert (run["mac_share"], run["accuracy"]["value"]) == (float(row["mac_ratio"]), float(row["action/top1"]))
    assert "of the MACs: " in capsys.readouterr().out


def test_rows_say_what_the_predictions_say(swept):
    arrays = predictions(swept)
    for row in table(swept):
        right = [
            arrays[f"{row['run']}/logits/{head}"].mean(1).argmax(-1) == arrays[f"labels/{head}"]
            for head in ("noun", "verb")
        ]
        assert int(row["noun/top1 correct"]) == right[0].sum()
        assert int(row["action/top1 correct"]) == np.sum(right[0] & right[1])


def test_a_run_of_a_sweep_is_that_of_an_evaluation(config, swept, tmp_path):
    words = ["--config.reduction.mode=random_drop", "--config.data.batch_size=1"]
    assert cli.run(["main.py", f"--config={config}", f"--workdir={tmp_path}", *words], ROOT) == exit_codes.SUCCESS
    evaluated, ours = np.load(tmp_path / "predictions.npz"), predictions(swept)
    for name in evaluated.files:
        np.testing.assert_array_equal(ours[name], evaluated[name])


def test_what_is_done_is_not_done_again_and_new_runs_are_added(config, swept, tmp_path, monkeypatch, capsys):
    workdir = tmp_path / "out"
    evaluated, add = [], ResumeState.add

    def noted(state, result):
        evaluated.append(list(result.logits))
        add(state, result)

    monkeypatch.setattr(ResumeState, "add", noted)
    assert sweep(config, workdir, ONE) == exit_codes.SUCCESS
    assert sweep(config, workdir) == exit_codes.SUCCESS
    later = ["unmerged", "merge r=3", "random_drop r=3", "random_drop r=6"]
    assert evaluated == [["unmerged", "merge r=6"]] * 2 + [later] * 2
    assert [row["run"] for row in table(workdir)] == ["unmerged", *RUNS]
    assert_same_results(workdir, swept)

    before = (workdir / "sweep.csv").read_bytes()
    capsys.readouterr()
    assert sweep(config, workdir) == exit_codes.SUCCESS
    assert len(evaluated) == 4
    assert (workdir / "sweep.csv").read_bytes() == before
    assert "Of 4 reduced runs" in capsys.readouterr().out


@pytest.mark.parametrize("batches_before_the_end", [1, 2, 3])
def test_a_stopped_sweep_loses_the_batch_at_hand_at_most(
    config, swept, tmp_path, monkeypatch, capsys, batches_before_the_end
):
    workdir = tmp_path / "out"
    add, added = ResumeState.add, []

    def stopped(state, result):
        if len(added) == batches_before_the_end:
            raise KeyboardInterrupt
        add(state, result)
        added.append(result.ids)

    monkeypatch.setattr(ResumeState, "add", stopped)
    assert sweep(config, workdir) == exit_codes.FAILURE
    # The rows of complete passes are there already.
    assert (workdir / "sweep.csv").exists() == (batches_before_the_end >= 2)
    # Only what is not finished yet is evaluated.
    again = []
    monkeypatch.setattr(ResumeState, "add", lambda state, result: (again.append(result.ids), add(state, result)))
    capsys.readouterr()
    assert sweep(config, workdir) == exit_codes.SUCCESS
    assert ("continuing: 8 videos are evaluated already, 4 are to do" in capsys.readouterr().err) == (
        batches_before_the_end != 2
    )
    assert len(again) == 4 - batches_before_the_end
    assert_same_results(workdir, swept)


def test_a_pass_whose_first_file_is_damaged_is_evaluated_anew(config, swept, tmp_path, capsys):
    workdir = tmp_path / "out"
    shutil.copytree(swept, workdir)
    (state,) = workdir.glob("passes/*/001/resume")
    for path in state.glob("*"):
        path.write_bytes(b"damaged")
    assert sweep(config, workdir) == exit_codes.SUCCESS
    assert f"warning: {state}: damaged; its runs are evaluated again." in capsys.readouterr().err
    shutil.rmtree(state.parent)
    assert_same_results(workdir, swept)


def test_other_settings_are_refused_by_name_or_begin_anew(config, tmp_path, capsys):
    workdir = tmp_path / "out"
    assert sweep(config, workdir, ONE) == exit_codes.SUCCESS
    results = (workdir / "results.json").read_bytes()
    capsys.readouterr()
    assert sweep(config, workdir, ONE, "--config.data.num_crops=3") == exit_codes.MISTAKE
    assert "  data.num_crops was 1, is 3\nGive another --workdir, or --config.restart=True" in capsys.readouterr().err
    assert (workdir / "results.json").read_bytes() == results

    assert sweep(config, workdir, ONE, "--config.data.num_crops=3", "--config.restart=True") == exit_codes.SUCCESS
    assert json.loads((workdir / "results.json").read_text())["experiments"][0]["protocol"]["num_crops"] == 3
    assert len(list(workdir.glob("passes.old/*/*/predictions.npz"))) == 1
    assert len(list(workdir.glob("passes/*/*/predictions.npz"))) == 1


def test_experiments_have_folders_of_their_own_and_one_table(config, tmp_path, monkeypatch):
    frame = tmp_path / "frame.py"
    frame.write_text(
        "from jax_vtm.config import default_config\n"
        "def get_config():\n"
        "    config = default_config('two')\n"
        f"    one = {{'config': {str(config)!r}, 'runs': ({{'mode': 'merge', 'r': 4}},)}}\n"
        "    config.sweep.experiments = {'a': one, 'b': {**one, 'changes': {'data': {'num_clips': 1}}}}\n"
        "    return config\n"
    )
    workdir = tmp_path / "out"
    assert cli.run(["main.py", "sweep", f"--config={frame}", f"--workdir={workdir}"], ROOT) == exit_codes.SUCCESS
    assert [(row["experiment"], row["run"]) for row in table(workdir)] == [
        (one, run) for one in "ab" for run in ("unmerged", "merge r=4")
    ]
    assert (workdir / "a" / "passes").is_dir()
    results = json.loads((workdir / "results.json").read_text())
    assert [one["protocol"]["num_clips"] for one in results["experiments"]] == [2, 1]
    assert "2 models and data sets, 4 runs." in (workdir / "report.html").read_text()

    # One of them alone has its results beside its predictions, and leaves those of all as they are.
    whole = (workdir / "sweep.csv").read_bytes()
    monkeypatch.delattr(ResumeState, "add")
    words = ["--config.sweep.experiment=b", f"--workdir={workdir}"]
    assert cli.run(["main.py", "sweep", f"--config={frame}", *words], ROOT) == exit_codes.SUCCESS
    assert [row["experiment"] for row in table(workdir / "b")] == ["b", "b"]
    assert (workdir / "sweep.csv").read_bytes() == whole


def test_videos_that_cannot_be_read_are_tried_again_and_end_with_three(tmp_path, capsys):
    videos = write_videos(tmp_path / "videos", 9)
    whole = videos[7].read_bytes()
    videos[7].write_bytes(b"")
    config, workdir = write_config(tmp_path, tmp_path / "videos"), tmp_path / "out"
    assert sweep(config, workdir, ONE) == exit_codes.TOO_MANY_FAILED
    assert "1 video failed, more than data.max_failures = 0" in capsys.readouterr().err
    assert "1 of 9 videos could not be read" in (workdir / "report.html").read_text()
    assert {row["action/top1 count"] for row in table(workdir)} == {"8"}
    videos[7].write_bytes(whole)
    assert sweep(config, workdir, ONE) == exit_codes.SUCCESS
    assert {row["action/top1 count"] for row in table(workdir)} == {"9"}


def test_without_labels_agreement_takes_the_place_of_accuracy(tmp_path):
    write_videos(tmp_path / "videos", 9)
    (tmp_path / "videos" / "labels.csv").unlink()
    config, workdir = write_config(tmp_path, tmp_path / "videos"), tmp_path / "out"
    assert sweep(config, workdir) == exit_codes.SUCCESS
    rows = table(workdir)
    assert "action/top1" not in rows[0]
    assert all(0 <= float(row["agreement"]) <= 1 for row in rows)
    assert "Agreement with unmerged over arithmetic" in (workdir / "report.html").read_text()
