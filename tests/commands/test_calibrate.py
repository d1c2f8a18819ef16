import json
import pathlib
import shutil

import pytest
from tiny_evaluation import write_config, write_videos

from jax_vtm import cli, errors
from jax_vtm.calibration import schedules
from jax_vtm.config import load_config, read_flags
from jax_vtm.evaluation import ResumeState

ROOT = pathlib.Path(__file__).parents[2]
FEW = ("--config.data.batch_size=1", "--config.reduction.mode=merge", "--config.calibrate.clips=4")
SEARCH = ("--config.calibrate.budget=0.75", "--config.calibrate.input=True")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_videos(folder / "videos", 12)
    return write_config(folder, folder / "videos")


def run(config, workdir, *words: str, command: str = "calibrate") -> int:
    return cli.run(["main.py", *command.split(), f"--config={config}", f"--workdir={workdir}", *words], ROOT)


@pytest.fixture(scope="module")
def calibrated(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("calibrated")
    assert run(config, workdir, *FEW, *SEARCH) == errors.SUCCESS
    return workdir


@pytest.fixture(scope="module", autouse=True)
def _few_programs():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(schedules, "GENTLE", (1, 2))
        patched.setattr(schedules, "FACTORS", (2**-0.5,))
        patched.setattr(schedules, "BUDGETS", 4)
        yield


def results(workdir) -> dict:
    return json.loads((workdir / "results.json").read_text())


def test_schedules_are_within_their_budgets_and_no_worse_than_plain_ones(calibrated):
    found = results(calibrated)
    schedules = found["calibration"]["schedules"]
    assert [one["kind"] for one in schedules] == ["searched", "by single layers", "constant", "decreasing"]
    assert [one["predicted"] is None for one in schedules] == [True, False, True, True]
    for one in schedules:
        assert one["share"] <= one["budget"] == 0.75
        run_ = next(run_ for run_ in found["runs"] if run_["name"] == one["run"])
        assert run_["mac_ratio"] == pytest.approx(one["share"])
        assert [n for n in run_["tokens_per_layer"] if n in one["tokens"]] == one["tokens"]
    divergence = [one["searched_on"]["divergence"] for one in schedules]
    assert divergence[0] == min(divergence) > 0
    assert found["dataset"]["n_ok"] == 8
    assert found["calibration"]["clips"] == 4
    assert len(found["calibration"]["edge_scores"]) == 2
    assert all(-1 <= q <= 1.001 for one in found["calibration"]["edge_scores"] for q in one)
    page = (calibrated / "report.html").read_text()
    for title in ("Schedules", "Sensitivity", "Similarity of tokens", "Before the first layer"):
        assert title in page


def test_a_schedule_is_a_reduction_wherever_a_config_is_taken(config, calibrated, tmp_path):
    file = calibrated / "schedule.json"
    schedule = json.loads(file.read_text())
    held_out = ("--config.data.leave_out=4", "--config.data.batch_size=1")
    assert run(config, tmp_path, f"--config.reduction={file}", *held_out, command="") == errors.SUCCESS
    evaluated = json.loads((tmp_path / "results.json").read_text())["runs"][1]
    assert evaluated["tokens_per_layer"][-1] == schedule["tokens"][-1]
    assert list(evaluated["reduction"]["r"]) == schedule["reduction"]["r"]
    assert evaluated["reduction"]["repeat_layer"] == schedule["reduction"]["repeat_layer"]
    assert evaluated["mac_ratio"] == pytest.approx(schedule["cost_share"])
    assert evaluated["metrics"] == schedule["held_out"]["metrics"]
    assert evaluated["metrics"]["action/top1"]["count"] == 8
    assert schedule["made_for"]["model"] == "vivit_moving_digits"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--config.model.num_layers=3", "was searched for layers 2; the config has layers 3. Run calibrate"),
        ("--config.model.image_size=24", "was searched for tokens 33; the config has tokens 73."),
        (
            "--config.model.name=vivit_b_16x2",
            "was searched for model vivit_moving_digits; the config has model vivit_b",
        ),
    ],
)
def test_a_schedule_of_another_model_is_refused(config, calibrated, tmp_path, capsys, change, message):
    words = (f"--config.reduction={calibrated / 'schedule.json'}", change)
    assert run(config, tmp_path, *words, command="") == errors.MISTAKE
    assert message in capsys.readouterr().err


def test_what_is_no_schedule_is_refused_in_a_sentence(config, tmp_path, capsys):
    for name, content, message in (
        ("missing.json", None, "there is no such file"),
        ("list.json", "[1]", "is not a schedule as calibrate writes it"),
        ("text.json", "r = 3", "is not a schedule as calibrate writes it"),
        ("other.json", '{"format": "another"}', "its format is 'another'"),
    ):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(errors.UserError, match=message):
            read_flags([f"--config.reduction={tmp_path / name}"], load_config(config), config)


def test_a_search_stopped_with_its_workdir_in_a_bucket_goes_on_and_comes_to_the_same(
    config, calibrated, storage, monkeypatch
):
    passes = len([*calibrated.glob("passes/*/*/*.npz")])
    add, added = ResumeState.add, []

    def stopped(state, result):
        if len(added) == 2:
            raise KeyboardInterrupt
        add(state, result)
        added.append(result)

    monkeypatch.setattr(ResumeState, "add", stopped)
    assert run(config, storage.folder, *FEW, *SEARCH) == errors.FAILURE
    again = []
    monkeypatch.setattr(ResumeState, "add", lambda state, result: (again.append(result), add(state, result)))
    assert run(config, storage.folder, *FEW, *SEARCH) == errors.SUCCESS
    assert len(again) == passes - 2 > 0
    assert results(storage.folder)["calibration"] == results(calibrated)["calibration"]
    assert (storage.folder / "schedule.json").read_text() == (calibrated / "schedule.json").read_text()


@pytest.fixture
def continued(calibrated, tmp_path):
    """A copy of the workdir of the search; another search there measures only what that one has not."""
    return shutil.copytree(calibrated, tmp_path / "continued")


def test_a_tolerance_is_met_by_the_cheapest_schedule_that_was_measured(config, continued):
    words = ("--config.calibrate.tolerance=0.25", "--config.calibrate.rounds=0", "--config.calibrate.input=True")
    assert run(config, continued, *FEW, *words) == errors.SUCCESS
    searched, *others = results(continued)["calibration"]["schedules"]
    assert searched["kind"] == "searched"
    assert searched["searched_on"]["disagreement"] <= 0.25
    assert searched["share"] < 1
    for one in others:
        assert one["searched_on"]["disagreement"] > 0.25 or one["share"] >= searched["share"]
    assert json.loads((continued / "schedule.json").read_text())["objective"]["tolerance"] == 0.25


def test_labels_are_searched_by_where_accuracy_is_asked_for(config, continued):
    words = (*SEARCH, "--config.calibrate.by=accuracy", "--config.calibrate.rounds=0")
    assert run(config, continued, *FEW, *words) == errors.SUCCESS
    found = results(continued)["calibration"]
    rise = [one["searched_on"]["cross_entropy"] for one in found["schedules"]]
    assert len(rise) >= 3
    assert rise[0] == min(rise)
    assert "Rise of the cross entropy" in (continued / "report.html").read_text()


def test_accuracy_needs_labels(config, tmp_path, capsys):
    write_videos(tmp_path / "videos", 12)
    (tmp_path / "videos" / "labels.csv").unlink()
    words = (*SEARCH, "--config.calibrate.by=accuracy", f"--config.data.path={tmp_path / 'videos'}")
    assert run(config, tmp_path / "out", *FEW, *words) == errors.MISTAKE
    assert "config.calibrate.by is 'accuracy', but the videos have no labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--config.calibrate.by=speed",), "config.calibrate.by is 'speed'; expected divergence or accuracy"),
        (("--config.calibrate.cost=euros",), "expected macs or latency"),
        (("--config.calibrate.budget=1.5",), "expected shares of the cost such as 0.4"),
        (("--config.calibrate.clips=12",), "less than the 12 videos"),
        (("--config.reduction.mode=none",), "expected one that reduces"),
        (("--config.data.leave_out=12",), "config.data.leave_out is 12"),
    ],
)
def test_mistakes_are_answered(config, tmp_path, capsys, words, message):
    assert run(config, tmp_path, *FEW, *words) == errors.MISTAKE
    assert message in capsys.readouterr().err
