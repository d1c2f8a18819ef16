import json
import os
import re
import shutil
import signal

import jax
import numpy as np
import pytest
from jobs import Job
from tiny_evaluation import write_config, write_videos

from jax_vtm import errors as exit_codes
from jax_vtm.checkpoints import load_checkpoint, save_checkpoint
from jax_vtm.config import load_config

KILLED, ABORTED = -signal.SIGKILL, -signal.SIGABRT


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A config file for 61 videos, two of them broken; each device evaluates two at a time."""
    folder = tmp_path_factory.mktemp("tiny")
    videos = write_videos(folder / "videos", 61)
    videos[7].write_bytes(b"")
    videos[30].write_text("no video")
    return write_config(folder, folder / "videos", max_failures=2)


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    """The workdir of a run of one process with one device."""
    workdir = tmp_path_factory.mktemp("alone") / "out"
    assert Job(config, workdir).start(1).wait() == [exit_codes.SUCCESS]
    return workdir


@pytest.fixture
def job(config, tmp_path):
    """Starts jobs, and makes sure that nothing is left of them."""
    jobs = []

    def create(name: str = "out", devices: int = 1, of=config) -> Job:
        jobs.append(Job(of, tmp_path / name, devices))
        return jobs[-1]

    yield create
    for each in jobs:
        each.end()


def not_measured(workdir):
    results = json.loads((workdir / "results.json").read_text())
    del results["measured"]
    # One says what ran the evaluation, nothing else may.
    assert results["environment"].pop("num_processes") >= 1
    assert results["environment"].pop("num_devices") >= 1
    return results


def assert_same_results(workdir, expected):
    assert not_measured(workdir) == not_measured(expected)
    ours, theirs = (np.load(path / "predictions.npz") for path in (workdir, expected))
    assert ours.files == theirs.files
    for name in ours.files:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert ours["ids"].tolist() == sorted(ours["ids"])
    if (expected / "failures.csv").exists():
        assert (workdir / "failures.csv").read_bytes() == (expected / "failures.csv").read_bytes()


@pytest.mark.parametrize(("processes", "devices"), [(2, 4), (3, 1)])
def test_processes_and_devices_change_nothing(alone, job, processes, devices):
    several = job(devices=devices)
    assert several.start(processes).wait() == [exit_codes.SUCCESS] * processes
    assert_same_results(several.workdir, alone)
    environment = json.loads((several.workdir / "results.json").read_text())["environment"]
    assert (environment["num_processes"], environment["num_devices"]) == (processes, processes * devices)
    assert re.search(r"122/122 clips, .*, 2 failed\n", several.said(0)), "progress is that of all processes"
    assert [several.said(index) for index in range(1, processes)] == [""] * (processes - 1)
    assert len(list((several.workdir / "journal").glob("*.bin"))) == processes


def test_fewer_videos_than_processes(job, tmp_path):
    write_videos(tmp_path / "videos", 2)
    config = write_config(tmp_path, tmp_path / "videos")
    one, three = job("one", of=config), job("three", of=config)
    assert one.start(1).wait() == [exit_codes.SUCCESS]
    assert three.start(3).wait() == [exit_codes.SUCCESS] * 3
    assert_same_results(three.workdir, one.workdir)


def test_a_process_that_dies_or_hangs_ends_all_and_another_number_goes_on(alone, job):
    timeout = "--config.host_timeout_s=12"
    killed = job("killed").start(3, timeout, slow_s=0.3)
    killed.wait_for_predictions()
    killed.kill(1)
    frozen = job("frozen").start(2, timeout, slow_s=0.3)
    frozen.wait_for_predictions()
    frozen.kill(0, signal.SIGSTOP)
    unanswered = job("unanswered").start(2, timeout, hanging_at=30)
    # Each of its two models takes longer to compile than a step may take.
    compiling = job("compiling").start(2, timeout, compile_s=13)

    assert killed.wait() == [exit_codes.FAILURE, KILLED, exit_codes.FAILURE]
    for index in (0, 2):
        assert "error: process 1 (" in killed.said(index)
        assert "no sign of life for 12 s" in killed.said(index)
    assert unanswered.wait() == [exit_codes.FAILURE] * 2
    for index in (0, 1):
        assert "error: process 0 (" in unanswered.said(index)
        assert "has been evaluating more after 14 of its videos for 12 s." in unanswered.said(index)
    frozen.join(1)
    assert frozen.processes[1].exitcode == exit_codes.FAILURE
    assert "error: process 0 (localhost:" in frozen.said(1)
    assert "no sign of life for 12 s" in frozen.said(1)
    assert compiling.wait() == [exit_codes.SUCCESS] * 2
    assert_same_results(compiling.workdir, alone)
    # It may go on at any time.
    refused = job("frozen").start(1)
    assert refused.wait() == [exit_codes.MISTAKE]
    assert "00000.bin: another process is evaluating into this folder" in refused.said(0)
    frozen.end()

    for before, count in ((killed, 2), (frozen, 3), (unanswered, 1)):
        assert not (before.workdir / "results.json").exists()
        after = job(before.workdir.name, devices=2)
        assert after.start(count).wait() == [exit_codes.SUCCESS] * count
        assert "continuing: " in after.said(0)
        assert_same_results(after.workdir, alone)


def test_a_signal_stops_all_between_two_batches(alone, job):
    stopped = job().start(3, slow_s=0.3)
    stopped.wait_for_predictions()
    stopped.kill(1, signal.SIGTERM)
    assert stopped.wait() == [exit_codes.STOPPED] * 3
    for index in range(3):
        assert stopped.said(index).count("error: ") == 1
        assert "error: process 1 (" in stopped.said(index)
        assert ") was stopped by SIGTERM. What is evaluated is in the journal; the same command goes on" in (
            stopped.said(index)
        )

    # The end of process 0 is told by JAX itself, at once.
    dead = job().start(2, slow_s=0.3)
    dead.wait_for_predictions()
    dead.kill(0)
    assert dead.wait() == [KILLED, ABORTED]
    assert "leader task was preempted/died/restarted" in dead.said(1)

    single = job().start(1, slow_s=0.3)
    single.wait_for_predictions()
    single.kill(0, signal.SIGTERM)
    assert single.wait() == [exit_codes.STOPPED]
    assert "error: the evaluation was stopped by SIGTERM. What is evaluated is in the journal" in single.said(0)

    assert job().start(2).wait() == [exit_codes.SUCCESS] * 2
    assert_same_results(single.workdir, alone)


def test_processes_that_do_not_fit_end_all(config, job, tmp_path):
    params = load_checkpoint_of(config)
    other = save_checkpoint(tmp_path / "other", jax.tree.map(lambda leaf: leaf + 1, params))
    jobs = {
        "does not exist": job("a").start(2, own={1: ["--config.data.path=/none"]}),
        "  checkpoint (sha256) is ": job("b").start(2, own={1: [f"--config.checkpoint={other}"]}),
        "  seed is 3 here, 0 in process 0": job("c").start(3, own={2: ["--config.seed=3"]}),
    }
    for message, each in jobs.items():
        count = len(each.processes)
        assert each.wait() == [exit_codes.MISTAKE] * count
        for index in range(count):
            assert f"error: process {count - 1} (" in each.said(index)
            assert message in each.said(index)
        assert not list(each.workdir.glob("*")), "nothing was begun"


def test_processes_that_do_not_come_are_not_waited_for(job):
    incomplete = job().start(3, "--config.host_timeout_s=4", absent=2)
    assert incomplete.wait() == [exit_codes.FAILURE] * 2
    for index in (0, 1):
        assert "the 3 processes of this job have not all met at localhost:" in incomplete.said(index)


def test_a_number_given_twice_is_said_by_the_second_and_the_others_go_on(alone, job):
    two = ["--config.distributed.num_processes=2"]
    twice = job()
    left = twice.workdir / ".process_7.lock"
    left.parent.mkdir()
    left.touch()
    twice.start(3, own={0: two, 1: two, 2: [*two, "--config.distributed.process_id=1"]})
    codes = twice.wait()
    assert codes[0] == exit_codes.SUCCESS
    assert sorted(codes[1:]) == [exit_codes.SUCCESS, exit_codes.MISTAKE]
    refused = twice.said(codes.index(exit_codes.MISTAKE))
    assert "config.distributed.process_id is 1, but another process has this number" in refused
    assert_same_results(twice.workdir, alone)
    assert not list(twice.workdir.glob(".*"))


def test_a_restart_begins_anew_in_all_processes(alone, job):
    shutil.copytree(alone, job().workdir)
    again = job().start(2, "--config.restart=True")
    assert again.wait() == [exit_codes.SUCCESS] * 2
    assert "continuing" not in again.said(0)
    journals = {name: os.listdir(again.workdir / name) for name in ("journal", "journal.old")}
    assert {name: len(files) for name, files in journals.items()} == {"journal": 2, "journal.old": 1}
    assert_same_results(again.workdir, alone)


def load_checkpoint_of(config):
    from jax_vtm.evaluation import build

    loaded = load_config(config)
    return load_checkpoint(loaded.checkpoint, build.model(loaded, build.reduction(loaded)))["params"]
