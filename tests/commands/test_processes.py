import json
import re
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from jobs import Job
from tiny_evaluation import assert_same_predictions, not_measured, write_config, write_videos

from jax_vtm import errors as exit_codes
from jax_vtm.checkpoints import load_checkpoint, save_checkpoint
from jax_vtm.config import load_config
from jax_vtm.evaluation import build

KILLED, ABORTED = -signal.SIGKILL, -signal.SIGABRT


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A config file for 25 videos, two of them broken; each device evaluates two at a time."""
    folder = tmp_path_factory.mktemp("tiny")
    videos = write_videos(folder / "videos", 25)
    videos[7].write_bytes(b"")
    videos[10].write_text("no video")
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

    def create(name: str = "out", devices: int = 1, of=config, suffix: str = "") -> Job:
        jobs.append(Job(of, tmp_path / name, devices, suffix))
        return jobs[-1]

    yield create
    for each in jobs:
        each.end()


def assert_same_results(workdir, expected):
    assert not_measured(workdir) == not_measured(expected)
    assert_same_predictions(workdir, expected)
    if (expected / "failures.csv").exists():
        assert (workdir / "failures.csv").read_bytes() == (expected / "failures.csv").read_bytes()


@pytest.mark.parametrize(("processes", "devices"), [(2, 4), (3, 1)])
def test_processes_and_devices_change_nothing(alone, job, processes, devices):
    several = job(devices=devices)
    assert several.start(processes).wait() == [exit_codes.SUCCESS] * processes
    assert_same_results(several.workdir, alone)
    environment = json.loads((several.workdir / "results.json").read_text())["environment"]
    assert (environment["num_processes"], environment["num_devices"]) == (processes, processes * devices)
    assert re.search(r"50/50 clips, .*, 2 failed\n", several.said(0)), "progress is that of all processes"
    assert [several.said(index) for index in range(1, processes)] == [""] * (processes - 1)


def test_all_processes_take_the_backends_that_process_0_measured(alone, job, tmp_path):
    both = job().start(2, measuring=str(tmp_path / "measured"))
    assert both.wait() == [exit_codes.SUCCESS] * 2
    taken = [re.findall("attention is .*", both.said(index)) for index in range(2)]
    assert taken[0] == taken[1] != []
    assert "'xla'" in taken[0][0]
    assert "chunked" not in taken[0][0]
    said = json.loads((both.workdir / "results.json").read_text())["measured"]["auto"]
    left_out = "chunked left out: differs by 1 from the plain form, more than 0.0001"
    assert sum(left_out in line for line in said) == 2, "unmerged and after the first layer"
    assert f"auto: {'; '.join(said)}" in both.said(0)
    assert len(list((tmp_path / "measured" / "backends").iterdir())) == 1


def test_a_folder_for_each_machine_and_more_processes_than_some_batches(alone, job, tmp_path):
    folders = [tmp_path / "first", tmp_path / "second", tmp_path / "third"]
    apart = job("apart")
    own = {index: [f"--workdir={folder}"] for index, folder in enumerate(folders)}
    assert apart.start(3, "--config.data.batch_size=5", own=own).wait() == [exit_codes.SUCCESS] * 3
    finished = [{path.name for path in (folder / "resume").glob("*.npz")} for folder in folders]
    assert finished[1]
    assert finished[0] > finished[1] | finished[2]
    # What the first has is enough for one that goes on alone, in whatever batches.
    assert job("first").start(1).wait() == [exit_codes.SUCCESS]
    assert "continuing: 23 videos are evaluated already" in job("first").said(0)
    assert np.load(folders[0] / "predictions.npz")["ids"].tolist() == (
        np.load(alone / "predictions.npz")["ids"].tolist()
    )
    # What each has is known to all before they begin.
    for name in finished[0]:
        (folders[0] / "resume" / name).unlink()
    again = job("apart").start(3, own=own)
    assert again.wait() == [exit_codes.SUCCESS] * 3
    assert "continuing: " in again.said(0)


def test_fewer_videos_than_processes(job, tmp_path):
    write_videos(tmp_path / "videos", 2)
    config = write_config(tmp_path, tmp_path / "videos")
    one, three = job("one", of=config).start(1), job("three", of=config).start(3)
    assert one.wait() == [exit_codes.SUCCESS]
    assert three.wait() == [exit_codes.SUCCESS] * 3
    assert_same_results(three.workdir, one.workdir)


def test_a_process_that_dies_or_hangs_ends_all_and_another_number_goes_on(alone, job):
    timeout = "--config.host_timeout_s=8"
    killed = job("killed").start(3, timeout, slow_s=0.4)
    frozen = job("frozen").start(2, timeout, slow_s=0.4)
    for each, index, number in ((killed, 1, signal.SIGKILL), (frozen, 0, signal.SIGSTOP)):
        each.wait_for_predictions()
        each.kill(index, number)
    unanswered = job("unanswered").start(2, timeout, hanging_at=10)

    # JAX names the process, in words of its own.
    assert killed.wait() == [ABORTED, KILLED, ABORTED]
    for index in (0, 2):
        assert "tasks are unhealthy (stopped sending heartbeats):\n1\n" in killed.said(index)
    frozen.processes[1].join(60)
    assert frozen.processes[1].exitcode == ABORTED
    assert "/Heartbeat" in frozen.said(1)
    assert unanswered.wait() == [exit_codes.FAILURE] * 2
    for index in (0, 1):
        assert "error: process 0 (" in unanswered.said(index)
        assert re.search(r"has been evaluating .* for 8 s\.", unanswered.said(index))
    # It may go on at any time.
    refused = job("frozen", suffix="again").start(1)
    assert refused.wait() == [exit_codes.MISTAKE]
    assert ".resume.lock: another run is at work in this folder" in refused.said(0)
    frozen.end()

    goes_on = [(job(name, devices=2), count) for name, count in (("killed", 2), ("frozen", 3), ("unanswered", 1))]
    for after, count in goes_on:
        assert not (after.workdir / "results.json").exists()
        # Compiling may take longer than anything else.
        after.start(count, timeout, compile_s=5)
    for after, count in goes_on:
        assert after.wait() == [exit_codes.SUCCESS] * count
        assert "continuing: " in after.said(0)
        assert_same_results(after.workdir, alone)
        assert not list(after.workdir.glob(".*"))


def test_a_signal_stops_all_between_two_batches(alone, job):
    # The signal is heard before they are done, however busy the machine is.
    stopped = job("several").start(3, pause_s=60)
    stopped.wait_for_predictions()
    stopped.kill(1, signal.SIGTERM)
    assert stopped.wait() == [exit_codes.STOPPED] * 3
    for index in range(3):
        assert stopped.said(index).count("error: ") == 1
        assert "error: the evaluation was stopped by SIGTERM to one or more of its processes. What" in (
            stopped.said(index)
        )
    # The end of process 0 is told by JAX at once.
    dead = job("dead").start(2, pause_s=60)
    dead.wait_for_predictions()
    dead.kill(0)
    assert dead.wait() == [KILLED, ABORTED]
    assert "leader task was preempted/died/restarted" in dead.said(1)

    single = job("several").start(1, pause_s=60)
    single.wait_for_predictions()
    single.kill(0, signal.SIGTERM)
    assert single.wait() == [exit_codes.STOPPED]
    assert "error: the evaluation was stopped by SIGTERM. What is evaluated is kept" in single.said(0)
    assert job("several").start(2).wait() == [exit_codes.SUCCESS] * 2
    assert_same_results(single.workdir, alone)


def test_a_process_that_fails_ends_all_with_its_reason(config, job, tmp_path):
    loaded = load_config(config)
    params = load_checkpoint(loaded.checkpoint, build.model(loaded, build.reduction(loaded)))["params"]
    other = save_checkpoint(tmp_path / "other", jax.tree.map(lambda leaf: leaf + 1, params))
    jobs = {
        "does not exist": job("a").start(2, own={1: ["--config.data.path=/none"]}),
        "  checkpoint (sha256) is ": job("b").start(2, own={1: [f"--config.checkpoint={other}"]}),
        "  seed is 0 in process 0, 3 here": job("c").start(3, own={2: ["--config.seed=3"]}),
    }
    absent = job("d").start(3, "--config.host_timeout_s=4", absent=2)
    for message, each in jobs.items():
        count = len(each.processes)
        assert each.wait() == [exit_codes.MISTAKE] * count
        for index in range(count):
            assert f"error: process {count - 1} (" in each.said(index)
            assert message in each.said(index)
        assert not list(each.workdir.glob("*")), "nothing was begun"
    assert absent.wait() == [exit_codes.FAILURE] * 2
    for index in (0, 1):
        assert "the processes of this job have not all met within 4 s." in absent.said(index)


def test_a_process_that_cannot_write_ends_all_after_their_batches(alone, job, tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    own = {index: [f"--workdir={folder}"] for index, folder in enumerate(folders)}
    full = job("full").start(2, slow_s=0.4, own=own)
    deadline = time.monotonic() + 30
    while not list(folders[1].glob("resume/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    (folders[1] / "resume").rename(tmp_path / "elsewhere")
    assert full.wait() == [exit_codes.MISTAKE] * 2
    for index in (0, 1):
        assert "error: process 1 (" in full.said(index)
        assert "resume: was removed or renamed while this run was at work." in full.said(index)


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


def test_a_number_given_twice_in_a_bucket_ends_all(config, storage):
    two = ["--config.distributed.num_processes=2"]
    own = {0: two, 1: two, 2: [*two, "--config.distributed.process_id=1"]}
    twice = Job(config, storage.folder).start(3, "--config.host_timeout_s=8", own=own, pause_s=60)
    codes = twice.wait()
    assert set(codes) <= {ABORTED, exit_codes.FAILURE}
    assert any("different incarnation" in twice.said(index) for index in range(3))
    for index in range(3):
        # The one too many may find nobody to meet.
        assert codes[index] == ABORTED or "have not all met within 8 s" in twice.said(index)


def test_a_restart_begins_anew_in_all_processes(alone, job):
    shutil.copytree(alone, job().workdir)
    again = job().start(2, "--config.restart=True")
    assert again.wait() == [exit_codes.SUCCESS] * 2
    assert "continuing" not in again.said(0)
    assert (again.workdir / "resume.old" / "run.json").read_bytes() == (alone / "resume" / "run.json").read_bytes()
    assert_same_results(again.workdir, alone)
