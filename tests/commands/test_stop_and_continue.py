import errno
import json
import os
import pathlib
import random
import shutil
import tempfile
import time

import numpy as np
import pytest
from jobs import Job
from tiny_evaluation import assert_same_predictions, draw_nothing, not_measured, write_config, write_videos

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.evaluation import ResumeState

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ("report.html", "predictions.npz", "results.json")
# A kill comes up to so many seconds after its moment.
SECONDS_AFTER = {"start": 1.0, "evaluation": 0.01, "writing": 0.01}


class Place:
    """A workdir whose files are counted while a job writes them, on a disk or in a bucket."""

    def __init__(self, workdir, storage=None):
        self.workdir, self._storage = workdir, storage

    def batches(self) -> int:
        if self._storage is None:
            return len(list(self.workdir.glob("resume/*.npz")))
        return len({name for name in self._storage.written if name.endswith(".npz") and "/resume/" in name})

    def written(self) -> list[object]:
        """When each of the results was written, and whether one is being written."""
        if self._storage is not None:
            return [name for name in self._storage.written if name.endswith(RESULTS)]
        paths = [self.workdir / name for result in RESULTS for name in (result, f".{result}.partial")]
        return [(path.name, path.stat().st_mtime_ns) for path in paths if path.exists()]


def kill_at(moment: str, count: int, job: Job, place: Place, rng: random.Random) -> bool:
    """Starts the command and kills all of its processes; False if it came to its end before."""
    before, results = place.batches(), place.written()
    processes = job.start(count, slow_s=0.02 * count).processes
    reached = time.monotonic() if moment == "start" else None
    delay = rng.uniform(0, SECONDS_AFTER[moment])
    while all(process.is_alive() for process in processes):
        begun = place.batches() > before
        if (moment == "evaluation" and begun) or (moment == "writing" and place.written() != results):
            reached = reached or time.monotonic()
        # A start is over when the evaluation begins, however fast or slow the machine is.
        if (moment == "start" and begun) or (reached and time.monotonic() >= reached + delay):
            job.end()
            return True
        time.sleep(0.001)
    job.end()
    return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A config file, and the workdir of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    videos = write_videos(folder / "videos", 40)
    videos[7].write_bytes(b"")
    videos[30].write_text("no video")
    config = write_config(folder, folder / "videos", max_failures=2)
    job = Job(config, folder / "whole")
    assert job.start(1).wait() == [exit_codes.SUCCESS]
    return config, job.workdir


# At what, and how many processes there are then.
KILLS = [("start", 1), ("evaluation", 1), ("evaluation", 2), ("start", 3), ("evaluation", 1)]
KILLS += [("evaluation", 3), ("evaluation", 1), ("writing", 1), ("writing", 2), ("writing", 1)]


@pytest.mark.parametrize("where", ["a disk", "a bucket"])
def test_twenty_kills_at_random_moments_change_nothing(undisturbed, storage, tmp_path, where):
    config, whole = undisturbed
    workdir = tmp_path / "out" if where == "a disk" else storage.folder
    place, job, rng = Place(workdir, storage if where == "a bucket" else None), Job(config, workdir), random.Random(0)
    there, finished, said = {*pathlib.Path(tempfile.gettempdir()).iterdir()}, [], ""
    for moment, count in KILLS:
        assert any(kill_at(moment, count, job, place, rng) for _ in range(5)), (moment, job.said(0))
        finished.append(place.batches())
        said += job.said(0)
    # The kills hit what they were meant for.
    assert len(set(finished[:7])) >= 5
    assert finished == sorted(finished)
    assert said.count("continuing:") >= 4
    assert not any(word in said for word in ("warning", "Traceback", "error"))
    assert job.start(1, "--config.data.num_threads=1", "--config.data.num_workers=1").wait() == [exit_codes.SUCCESS]
    assert not_measured(workdir) == not_measured(whole)
    assert_same_predictions(workdir, whole)
    assert (workdir / "failures.csv").read_bytes() == (whole / "failures.csv").read_bytes()
    assert not [*workdir.glob(".*"), *workdir.glob("resume/.*")], "something unfinished was left behind"
    left = {*pathlib.Path(tempfile.gettempdir()).iterdir()} - there
    assert not [path for path in left if path.name.startswith("jax_vtm")]


def run(config, workdir, *words: str) -> int:
    # Eight devices take eight videos at a time.
    words = ("--config.data.batch_size=1", *words)
    return cli.run(["main.py", f"--config={config}", f"--workdir={workdir}", *words], ROOT)


@pytest.fixture(autouse=True, scope="module")
def _plain_pages():
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch.setattr)
        yield


def evaluated(folder) -> tuple[pathlib.Path, pathlib.Path]:
    """Returns a config file for nine videos of which the eighth is broken, and the workdir of a run."""
    write_videos(folder / "videos", 9)[7].write_bytes(b"")
    config = write_config(folder, folder / "videos", max_failures=1)
    left = [folder / "out" / ".failures.csv.partial", folder / "out" / "resume" / ".0.npz.partial"]
    left[1].parent.mkdir(parents=True)
    for path in left:
        path.write_bytes(b"half of it")
    assert run(config, folder / "out") == exit_codes.SUCCESS
    assert not any(path.exists() for path in left), "what a kill leaves goes with the next run"
    return config, folder / "out"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return evaluated(tmp_path_factory.mktemp("small"))


def test_what_is_complete_is_shown_again_and_mended_where_it_is_not_whole(tmp_path, capsys):
    config, workdir = evaluated(tmp_path)
    first, before = capsys.readouterr(), not_measured(workdir)
    assert "devices waited for data " in first.out
    assert "continuing" not in first.err
    assert run(config, workdir) == exit_codes.SUCCESS
    assert "continuing: 8 videos are evaluated already, 0 are to do, 1 that could not be read is tried again" in (
        capsys.readouterr().err
    )
    assert not_measured(workdir) == before

    damaged = sorted(workdir.glob("resume/*.npz"))[0]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    (tmp_path / "videos" / "007.mp4").write_bytes((tmp_path / "videos" / "000.mp4").read_bytes())
    assert run(config, workdir) == exit_codes.SUCCESS
    assert f"warning: {damaged}: damaged (" in capsys.readouterr().err
    assert not (workdir / "failures.csv").exists()
    # A video that is repaired later comes to the same as one that was whole from the start.
    assert run(config, tmp_path / "whole") == exit_codes.SUCCESS
    assert_same_predictions(workdir, tmp_path / "whole")
    assert np.load(workdir / "predictions.npz")["labels/noun"].tolist() == list(range(9))


def test_other_settings_are_refused_by_name_or_begin_anew(small, tmp_path, capsys):
    config, out = small
    workdir = tmp_path / "out"
    shutil.copytree(out, workdir)
    results = (workdir / "results.json").read_bytes()
    words = ("--config.reduction.r=5", "--config.data.num_crops=3", "--config.data.batch_size=2")
    assert run(config, workdir, *words) == exit_codes.MISTAKE
    message = capsys.readouterr().err
    assert "  data.num_crops was 1, is 3\n  reduction.r was 6, is 5\nGive another --workdir, or " in message
    assert "batch_size" not in message
    assert (workdir / "results.json").read_bytes() == results
    assert json.loads((workdir / "config.json").read_text())["reduction"]["r"] == 6
    assert run(config, workdir, "--config.data.num_videos=3") == exit_codes.MISTAKE
    assert "list of videos and labels (sha256) was" in capsys.readouterr().err

    assert run(config, workdir, "--config.reduction.r=5", "--config.restart=True") == exit_codes.SUCCESS
    assert json.loads((workdir / "results.json").read_text())["runs"][1]["name"] == "random_merge r=5"
    assert len(list((workdir / "resume.old").glob("*.npz"))) >= 2


def test_a_full_disk_loses_nothing(small, tmp_path, capsys, monkeypatch):
    config, out = small
    sync, synced = os.fsync, []

    def full_after_one_batch(file):
        synced.append(os.readlink(f"/proc/self/fd/{file}"))
        if len([name for name in synced if ".npz" in name]) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    monkeypatch.setattr(os, "fsync", full_after_one_batch)
    assert run(config, tmp_path) == exit_codes.MISTAKE
    assert "cannot be written: No space left on device. Make room, or give another --workdir, and run the same" in (
        capsys.readouterr().err
    )
    monkeypatch.undo()
    assert run(config, tmp_path) == exit_codes.SUCCESS
    assert "continuing: 7 videos are evaluated already, 1 are to do, 1 that" in capsys.readouterr().err
    assert_same_predictions(tmp_path, out)


@pytest.mark.parametrize(("how", "batches_before"), [("removed", 1), ("renamed", 2)])
def test_a_workdir_that_goes_while_a_run_writes_is_noticed(small, tmp_path, capsys, monkeypatch, how, batches_before):
    config, out = small
    workdir, added, add = tmp_path / "out", [], ResumeState.add

    def then_remove(state, result):
        add(state, result)
        added.append(result.ids)
        if len(added) == batches_before:
            state.flush()
            shutil.rmtree(workdir) if how == "removed" else workdir.rename(tmp_path / "elsewhere")
            # Another run has the folder at once: it is not this one's any more.
            assert run(config, workdir) == exit_codes.SUCCESS

    monkeypatch.setattr(ResumeState, "add", then_remove)
    assert run(config, workdir) == exit_codes.MISTAKE
    assert "resume: was removed or renamed while this run was at work" in capsys.readouterr().err
    assert_same_predictions(workdir, out)
