"""Commands whose workdir is in a bucket, against a server of Google's storage protocol on this machine."""

import pathlib
import re
import signal
import time

import jax
import pytest
from jobs import Job
from tiny_evaluation import assert_same_predictions, draw_nothing, not_measured, write_config, write_videos

import jax_vtm
from jax_vtm import cli
from jax_vtm import errors as exit_codes

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def _plain_pages():
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch.setattr)
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_videos(folder / "videos", 24)[7].write_bytes(b"")
    return write_config(folder, folder / "videos", max_failures=1)


def run(command, config, workdir, *words) -> int:
    words = ("--config.data.batch_size=1", *words)
    return cli.run(["main.py", command, f"--config={config}", f"--workdir={workdir}", *words], ROOT)


@pytest.fixture(scope="module")
def local(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("local")
    assert run("evaluate", config, workdir) == exit_codes.SUCCESS
    return workdir


def names(storage, folder="") -> set[str]:
    """What a test has written there, with pages and figures."""
    start = f"{storage.folder.name}/"
    return {name.removeprefix(start) for name in storage.written if name.startswith(start)}


def test_an_evaluation_leaves_the_same_and_goes_on(config, local, storage, capsys):
    assert run("evaluate", config, storage.folder) == exit_codes.SUCCESS
    files = {str(path.relative_to(local)) for path in local.rglob("*") if path.is_file()}
    assert names(storage) == files
    assert len(storage.requests) < len(files) + 30, "nothing is asked for again and again"
    for path in files:
        if path.endswith((".npz", ".csv")):
            assert (storage.folder / path).read_bytes() == (local / path).read_bytes(), path
    assert not_measured(storage.folder) == not_measured(local)
    capsys.readouterr()

    # Another process goes on with what is there, and evaluates what is not.
    batch = sorted(storage.folder.glob("resume/*.npz"))[0]
    content = batch.read_bytes()
    batch.write_bytes(content[:-7])
    assert run("evaluate", config, storage.folder) == exit_codes.SUCCESS
    said = capsys.readouterr().err
    assert f"warning: {batch}: damaged (" in said
    assert "continuing: 16 videos are evaluated already, 8 are to do" in said
    assert batch.read_bytes() == content
    assert_same_predictions(storage.folder, local)

    # Others are refused, or begin anew.
    assert run("evaluate", config, storage.folder, "--config.seed=3") == exit_codes.MISTAKE
    assert "resume: the predictions there are of another evaluation:\n  seed was 0, is 3" in capsys.readouterr().err
    kept = {path.name: path.read_bytes() for path in storage.folder.glob("resume/*")}
    assert run("evaluate", config, storage.folder, "--config.seed=3", "--config.restart=True") == exit_codes.SUCCESS
    assert {path.name: path.read_bytes() for path in storage.folder.glob("resume.old/*")} == kept


def test_one_request_in_ten_may_fail(config, local, storage):
    storage.bad = 0.1
    assert run("evaluate", config, storage.folder) == exit_codes.SUCCESS
    faults, storage.bad = storage.faults, 0.0
    assert faults >= 2
    assert not_measured(storage.folder) == not_measured(local)
    assert_same_predictions(storage.folder, local)


def test_a_slow_storage_is_waited_for_a_few_times_alone(config, storage):
    assert run("evaluate", config, storage.folder / "fast") == exit_codes.SUCCESS
    # Batches are written while devices go on, and files that belong together at the same time.
    others = [path for _, path in storage.requests if "resume%2F" not in path and "uploadType" not in path]
    assert len(others) <= 6, others
    assert len(storage.written) == len({*storage.written}), "each object is written once"


def test_every_command_writes_there(config, local, storage, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAX_VTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    workdir = storage.folder
    for name in ("predictions.npz", "results.json"):
        (workdir / name).write_bytes((local / name).read_bytes())
    video = sorted(pathlib.Path(config).parent.glob("videos/*.mp4"))[0]
    grid = ("--config.sweep.mode=merge", "--config.sweep.r=6")
    layers = ("--config.study.what=layers", "--config.study.times=(2,)", "--config.reduction.mode=merge")
    broken = ("--config.data.max_failures=3",)
    splices = ("--config.study.donors=random", f"--workdir={workdir / 'splices'}")
    commands = (
        ("visualize", ["--config.reduction.mode=merge", f"--config.visualize.video={video}"]),
        ("compare", [f"--config.compare.theirs={local}"]),
        ("predict", [str(video)]),
        ("study", layers),
        ("study", (*splices, *broken)),
        ("convert", []),
        ("convert", ["--config.convert.to=stablehlo"]),
        ("prepare", broken),
        ("sweep", [*grid, f"--workdir={workdir / 'sweep'}"]),
    )
    for command, words in commands:
        assert run(command, config, workdir, *words) == exit_codes.SUCCESS, command
    found = {path.removeprefix("sweep/") for path in names(storage)}
    for path in (
        *("visualize/report.html", "visualize/visualize.json", "visualize/01_000/groups.mp4", "compare/flips.csv"),
        *("compare/report.html", "predict/predictions.csv", "study/layers.csv", "study/results.json", "checkpoint"),
        *("checkpoint.sha256", "sweep.csv", "config.json", "splices/study/videos.csv"),
    ):
        assert path in found, path
    description = jax_vtm.load_exported(workdir / "exported").description
    assert description["input_shape"] == [4, 16, 16, 3]
    assert 'href="../visualize/report.html"' in (workdir / "compare" / "report.html").read_text()
    capsys.readouterr()
    assert run("sweep", config, workdir / "sweep", *grid) == exit_codes.SUCCESS
    assert "continuing: 23 videos are evaluated already, 0 are to do, 1 that" in capsys.readouterr().err
    assert not list(tmp_path.glob("runs"))


def test_training_that_is_killed_goes_on_from_a_state_in_the_bucket_to_the_same_bytes(
    config, storage, tmp_path, capsys
):
    keys = ("steps=12", "batch_size=8", "warmup_steps=1", "checkpoint_every=3", "log_every=1", "learning_rate=0.001")
    words = [f"--config.train.{key}" for key in (*keys, "evaluate=False")]
    words += ["--config.data.name=moving_digits", "--config.data.path=", "--config.data.short_side=64"]
    words += [f"--config.model.{key}" for key in ("num_frames=16", "image_size=64", "patch_size=(2,8,8)")]
    assert run("finetune", config, tmp_path, *words) == exit_codes.SUCCESS
    job = Job(pathlib.Path(config), storage.folder, devices=jax.device_count())
    (process,) = job.start(1, "finetune", *words).processes
    # In the middle of writing its second state.
    while not any(command == "POST" and "states%2F6%2F" in path for command, path in storage.requests):
        assert process.is_alive(), job.said(0)
        time.sleep(0.005)
    job.kill(0)
    assert job.wait() == [-signal.SIGKILL]
    assert not (storage.folder / "checkpoint").exists()
    capsys.readouterr()
    assert run("finetune", config, storage.folder, *words) == exit_codes.SUCCESS
    assert re.search("continuing after step (3|6) of 12", capsys.readouterr().err)
    assert (storage.folder / "checkpoint").read_bytes() == (tmp_path / "checkpoint").read_bytes()
    assert "Training is finished: step 12 of 12" in (storage.folder / "report.html").read_text()
    assert (storage.folder / "train.csv").read_text().splitlines()[-1].startswith("12,")
