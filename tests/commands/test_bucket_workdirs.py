"""Commands whose workdir is in a bucket, against a server of Google's storage protocol on this machine."""

import importlib
import pathlib
import re
import signal
import threading
import time

import jax
import pytest
from jobs import Job
from tiny_evaluation import assert_same_predictions, draw_nothing, not_measured, write_config, write_videos

import jax_vtm
from jax_vtm import bucket, cli
from jax_vtm import errors as exit_codes
from jax_vtm.benchmarks import data
from jax_vtm.benchmarks.videos import EncodedVideo
from jax_vtm.data import ClipProtocol
from jax_vtm.evaluation import ResumeState

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


def test_two_runs_at_once_do_not_mix(config, local, storage, tmp_path, capsys, monkeypatch):
    each_alone = ("--config.data.batch_size=1",)
    same = [Job(config, storage.folder / "same", suffix=str(k)).start(1, *each_alone, slow_s=0.1) for k in range(2)]
    for each in same:
        assert each.wait() == [exit_codes.SUCCESS]
    for name in ("predictions.npz", "failures.csv", "confusion.npz"):
        assert (storage.folder / "same" / name).read_bytes() == (local / name).read_bytes(), name
    assert not_measured(storage.folder / "same") == not_measured(local)

    # Another evaluation is refused while one is at work, but may begin anew in its place.
    expected, other = tmp_path / "expected", "--config.seed=3"
    assert run("evaluate", config, expected, other) == exit_codes.SUCCESS
    add = ResumeState.add

    def add_and_be_overtaken(state, result):
        add(state, result)
        state.flush()
        monkeypatch.setattr(ResumeState, "add", add)
        assert run("evaluate", config, storage.folder, other) == exit_codes.MISTAKE
        assert run("evaluate", config, storage.folder, other, "--config.restart=True") == exit_codes.SUCCESS

    monkeypatch.setattr(ResumeState, "add", add_and_be_overtaken)
    capsys.readouterr()
    assert run("evaluate", config, storage.folder) == exit_codes.MISTAKE
    said = capsys.readouterr().err
    assert "seed was 0, is 3\n" in said
    assert "was removed or renamed while this run was at work" in said
    for _ in range(2):
        assert_same_predictions(storage.folder, expected)
        assert not_measured(storage.folder) == not_measured(expected)
        # What the first has written since is not taken for the second's.
        assert run("evaluate", config, storage.folder, other) == exit_codes.SUCCESS


def test_one_request_in_ten_may_fail(config, local, storage):
    storage.bad = 0.1
    # Each video by itself.
    assert Job(config, storage.folder).start(1, "--config.data.batch_size=1").wait() == [exit_codes.SUCCESS]
    faults, storage.bad = storage.faults, 0.0
    assert faults >= 3, "an error, a cut answer and a late one"
    assert not_measured(storage.folder) == not_measured(local)
    assert_same_predictions(storage.folder, local)


def test_a_slow_storage_holds_up_the_beginning_and_the_end_alone(config, storage, monkeypatch):
    # Counted, since a busy machine makes times of no use.
    waits = []

    def counted(name, request):
        def call(paths, *others, **more):
            if paths and threading.current_thread() is threading.main_thread():
                waits.append((name, paths))
            return request(paths, *others, **more)

        return call

    for name in ("find", "read", "write", "write_new", "remove"):
        monkeypatch.setattr(bucket, name, counted(name, getattr(bucket, name)))
    assert run("evaluate", config, storage.folder) == exit_codes.SUCCESS
    # For the folder to be this run's, for all results at once, and for results.json after them.
    assert [name for name, _ in waits] == ["write_new", "write", "write"], waits
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
    short = EncodedVideo("short.mp4", "libx264", {}, fps=10, seconds=1, height=32, width=64)
    monkeypatch.setattr(data, "KINDS", (data.Kind("short", short, ClipProtocol(2, 2, short_side=32, crop=32)),))
    timed = [f"--config.benchmark.{key}" for key in ("what=data", "rounds=1", "videos=1")]
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
        ("benchmark", timed),
        ("sweep", [*grid, f"--workdir={workdir / 'sweep'}"]),
    )
    for command, words in commands:
        assert run(command, config, workdir, *words) == exit_codes.SUCCESS, command
    found = {path.removeprefix("sweep/") for path in names(storage)}
    for path in (
        *("visualize/report.html", "visualize/visualize.json", "visualize/01_000/groups.mp4", "compare/flips.csv"),
        *("compare/report.html", "predict/predictions.csv", "study/layers.csv", "study/results.json", "checkpoint"),
        *("checkpoint.sha256", "sweep.csv", "config.json", "splices/study/videos.csv"),
        *("benchmark_data/report.html", "benchmark_data.json", "benchmark_data.csv"),
    ):
        assert path in found, path
    description = jax_vtm.load_exported(workdir / "exported").description
    assert description["input_shape"] == [4, 16, 16, 3]
    assert 'href="../visualize/report.html"' in (workdir / "compare" / "report.html").read_text()
    capsys.readouterr()
    assert run("sweep", config, workdir / "sweep", *grid) == exit_codes.SUCCESS
    assert "continuing: 23 videos are evaluated already, 0 are to do, 1 that" in capsys.readouterr().err
    assert not list(tmp_path.glob("runs"))


@pytest.mark.torch
def test_parity_writes_there(config, storage, monkeypatch):
    pytest.importorskip("torch").set_num_threads(1)
    pytest.importorskip("transformers")
    monkeypatch.setattr(importlib.import_module("jax_vtm.parity.command"), "SECONDS_PER_TIMING", 0.001)
    quick = [f"--config.parity.{key}=1" for key in ("clips", "rounds", "threads")]
    assert run("parity", config, storage.folder, *quick) == exit_codes.SUCCESS
    assert {"parity/parity.json", "parity/report.html"} < names(storage)


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
