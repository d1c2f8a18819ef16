import errno
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tiny_evaluation import write_config, write_videos

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.evaluation import Journal

ROOT = pathlib.Path(__file__).parents[2]
DRIVER = pathlib.Path(__file__).with_name("kill_driver.py")
MEASURED = ("created", "wall_s", "timing", "measured")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A config file for 180 videos, two of them broken, on which each process evaluates two at a time."""
    folder = tmp_path_factory.mktemp("tiny")
    videos = write_videos(folder / "videos", 180)
    videos[7].write_bytes(b"")
    videos[50].write_text("no video")
    return write_config(folder, folder / "videos", max_failures=2)


@pytest.fixture(scope="module")
def one_device():
    """The environment of a process of its own."""
    flags = [word for word in os.environ["XLA_FLAGS"].split() if "device_count" not in word]
    return {**os.environ, "XLA_FLAGS": " ".join(flags), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def uninterrupted(config, one_device, tmp_path_factory):
    """The workdir of a run that nobody disturbed."""
    workdir = tmp_path_factory.mktemp("uninterrupted")
    subprocess.run(command(config, workdir), env=one_device, check=True)
    return workdir


def command(config, workdir) -> list[str]:
    return [sys.executable, str(ROOT / "main.py"), f"--config={config}", f"--workdir={workdir}"]


def not_measured(value):
    """Leaves out of results.json what differs from run to run."""
    if isinstance(value, dict):
        return {key: not_measured(entry) for key, entry in value.items() if key not in MEASURED}
    return [not_measured(entry) for entry in value] if isinstance(value, list) else value


def assert_same_results(workdir, expected):
    results, others = (json.loads((path / "results.json").read_text()) for path in (workdir, expected))
    assert not_measured(results) == not_measured(others)
    assert results["dataset"] | {"n_videos": 180, "n_ok": 178, "n_failed": 2} == results["dataset"]
    ours, theirs = (np.load(path / "predictions.npz") for path in (workdir, expected))
    assert ours.files == theirs.files
    for name in ours.files:
        np.testing.assert_array_equal(ours[name], theirs[name])
    for name in ("failures.csv", "config.json"):
        assert (workdir / name).read_bytes() == (expected / name).read_bytes()
    assert not list(workdir.glob(".*")), "something unfinished was left behind"


def test_twenty_kills_at_random_moments_change_nothing(config, one_device, uninterrupted, tmp_path):
    moments = ["start"] * 5 + ["evaluation"] * 10
    random.Random(0).shuffle(moments)
    moments += ["writing"] * 5
    driver = [sys.executable, str(DRIVER), str(config), str(tmp_path / "out"), "1", *moments]
    done = subprocess.run(driver, env=one_device, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["exit_code"] == exit_codes.SUCCESS
    assert [kill["moment"] for kill in report["kills"]] == moments
    # The kills hit what they were meant for: the evaluation was under way at half of them, and no results were written
    # in full when the first of the last five came.
    journals = [kill["journal"] for kill in report["kills"]]
    assert len({size for size in journals if size < journals[-1]}) >= 8
    assert not any(kill["results"] for kill in report["kills"][:15])
    log = (tmp_path / "out.log").read_text()
    assert log.count("continuing:") >= 10
    assert "warning" not in log
    assert "Traceback" not in log
    assert_same_results(tmp_path / "out", uninterrupted)


def test_a_real_process_is_killed_and_continues_with_another_loader(config, one_device, uninterrupted, tmp_path):
    workdir = tmp_path / "out"
    process = subprocess.Popen(command(config, workdir), env=one_device, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while sum(path.stat().st_size for path in workdir.glob("journal/*")) < 8000:
        assert process.poll() is None, "it came to its end before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (workdir / "results.json").exists()
    others = ["--config.data.num_threads=1", "--config.data.num_workers=1"]
    done = subprocess.run(
        [*command(config, workdir), *others], env=one_device, check=True, capture_output=True, text=True
    )
    assert "continuing: " in done.stderr
    assert json.loads((workdir / "config.json").read_text())["data"]["num_workers"] == 1
    (workdir / "config.json").write_bytes((uninterrupted / "config.json").read_bytes())
    assert_same_results(workdir, uninterrupted)


def run(config, workdir, *words: str) -> int:
    return cli.run(["main.py", f"--config={config}", f"--workdir={workdir}", *words], ROOT)


@pytest.fixture
def small(tmp_path):
    """A config file for nine videos of which the eighth is broken, as far as it goes."""
    videos = write_videos(tmp_path / "videos", 9)
    videos[7].write_bytes(b"")
    return write_config(tmp_path, tmp_path / "videos", max_failures=1)


def test_what_is_complete_is_only_shown_again(small, tmp_path, capsys):
    workdir = tmp_path / "out"
    assert run(small, workdir) == exit_codes.SUCCESS
    first = capsys.readouterr()
    assert "devices waited for data " in first.out
    assert "continuing" not in first.err
    results = json.loads((workdir / "results.json").read_text())
    assert 0 <= results["measured"]["device_wait_share"] <= 1

    assert run(small, workdir) == exit_codes.SUCCESS
    assert "continuing: 8 videos are evaluated already, 0 are to do, 1 that could not be read is tried again" in (
        capsys.readouterr().err
    )
    assert not_measured(json.loads((workdir / "results.json").read_text())) == not_measured(results)

    (tmp_path / "videos" / "007.mp4").write_bytes((tmp_path / "videos" / "000.mp4").read_bytes())
    assert run(small, workdir) == exit_codes.SUCCESS
    assert not (workdir / "failures.csv").exists()
    repaired = np.load(workdir / "predictions.npz")
    assert repaired["ids"].tolist() == [f"{i:03d}.mp4" for i in range(9)]
    assert repaired["labels/noun"].tolist() == list(range(9))

    capsys.readouterr()
    before = (workdir / "journal" / "00000.bin").read_bytes()
    assert run(small, workdir) == exit_codes.SUCCESS
    again = capsys.readouterr()
    assert "all 9 videos are evaluated already; here are the results again" in again.err
    assert "random_merge r=6" in again.out
    assert (workdir / "journal" / "00000.bin").read_bytes() == before

    # A video that is repaired later comes to the same as one that was whole from the start.
    assert run(small, tmp_path / "whole") == exit_codes.SUCCESS
    whole = np.load(tmp_path / "whole" / "predictions.npz")
    for name in whole.files:
        np.testing.assert_array_equal(repaired[name], whole[name])


def test_other_settings_are_refused_by_name_or_begin_anew(small, tmp_path, capsys):
    workdir = tmp_path / "out"
    run(small, workdir)
    results = (workdir / "results.json").read_bytes()
    capsys.readouterr()
    assert run(small, workdir, "--config.reduction.r=5", "--config.data.num_crops=3", "--config.data.batch_size=1") == (
        exit_codes.MISTAKE
    )
    message = capsys.readouterr().err
    assert "  data.num_crops was 1, is 3\n  reduction.r was 6, is 5\nGive another --workdir, or " in message
    assert "batch_size" not in message
    assert (workdir / "results.json").read_bytes() == results
    assert json.loads((workdir / "config.json").read_text())["reduction"]["r"] == 6

    labels = tmp_path / "videos" / "labels.csv"
    labels.write_text(labels.read_text().replace("000.mp4,0,0", "000.mp4,1,0"))
    assert run(small, workdir) == exit_codes.MISTAKE
    assert "list of videos and labels (sha256) was" in capsys.readouterr().err

    assert run(small, workdir, "--config.reduction.r=5", "--config.restart=True") == exit_codes.SUCCESS
    assert json.loads((workdir / "results.json").read_text())["runs"][1]["name"] == "random_merge r=5"
    assert (workdir / "journal.old" / "00000.bin").exists()


def test_a_full_disk_loses_nothing(small, tmp_path, capsys, monkeypatch):
    workdir = tmp_path / "out"
    write, written = os.pwrite, []

    def full_after_two_batches(file, data, offset):
        if len(written) == 3:
            write(file, data[: len(data) // 2], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(len(data))
        return write(file, data, offset)

    few_devices = ["--config.data.batch_size=1"]  # eight of them
    monkeypatch.setattr(os, "pwrite", full_after_two_batches)
    written.append(0)
    assert run(small, workdir, *few_devices) == exit_codes.MISTAKE
    assert "No space left on device. 7 videos are safe in it. Make room and give the same command again" in (
        capsys.readouterr().err
    )
    monkeypatch.undo()
    assert run(small, workdir, *few_devices) == exit_codes.SUCCESS
    assert "continuing: 7 videos are evaluated already, 1 are to do, 1 that" in capsys.readouterr().err

    assert run(small, tmp_path / "whole", *few_devices) == exit_codes.SUCCESS
    saved, whole = (np.load(path / "predictions.npz") for path in (workdir, tmp_path / "whole"))
    for name in whole.files:
        np.testing.assert_array_equal(saved[name], whole[name])


def test_a_damaged_journal_is_repaired_and_says_what_it_costs(small, tmp_path, capsys):
    workdir = tmp_path / "out"
    one_each = "--config.data.batch_size=1"
    run(small, workdir, one_each)
    whole = np.load(workdir / "predictions.npz")
    path = workdir / "journal" / "00000.bin"
    content = bytearray(path.read_bytes())
    first_batch = content.find(b"VTMJ", 4)
    content[first_batch + 200] ^= 1
    path.write_bytes(content)
    capsys.readouterr()
    assert run(small, workdir, one_each) == exit_codes.SUCCESS
    assert "warning: the journal is damaged; 8 videos are evaluated again" in capsys.readouterr().err
    repaired = np.load(workdir / "predictions.npz")
    for name in whole.files:
        np.testing.assert_array_equal(repaired[name], whole[name])
    run(small, workdir, one_each)
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("removed_after", [1, 2], ids=["between batches", "before the results"])
@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_a_workdir_that_goes_while_a_run_writes_is_noticed(small, tmp_path, capsys, monkeypatch, how, removed_after):
    workdir, appended = tmp_path / "out", []
    append = Journal.append
    one_each = "--config.data.batch_size=1"

    def then_remove(journal, outcome):
        append(journal, outcome)
        appended.append(outcome.ids)
        if len(appended) == removed_after:
            shutil.rmtree(workdir) if how == "removed" else workdir.rename(tmp_path / "elsewhere")
            # Another run has the folder at once: it is not this one's any more.
            assert run(small, workdir, one_each) == exit_codes.SUCCESS

    monkeypatch.setattr(Journal, "append", then_remove)
    assert run(small, workdir, one_each) == exit_codes.MISTAKE
    assert "00000.bin: was removed or renamed while this run was at work" in capsys.readouterr().err
    assert run(small, workdir, one_each) == exit_codes.SUCCESS
    assert "continuing: 8 videos are evaluated already, 0 are to do" in capsys.readouterr().err


def test_leftovers_of_a_kill_go_with_the_next_run(small, tmp_path):
    workdir = tmp_path / "out"
    left = [workdir / ".failures.csv.partial", workdir / "journal" / "00000.partial"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half of it")
    (tmp_path / "videos" / "007.mp4").unlink()
    rows = (tmp_path / "videos" / "labels.csv").read_text().splitlines()
    (tmp_path / "videos" / "labels.csv").write_text("\n".join(row for row in rows if "007" not in row))
    assert run(small, workdir) == exit_codes.SUCCESS
    assert not any(path.exists() for path in left)
