import dataclasses
import fcntl
import os
import threading

import numpy as np
import pytest

from jax_vtm.data import Failure
from jax_vtm.errors import UserError
from jax_vtm.evaluation import BatchResult, ResumeState, concatenate, resume
from jax_vtm.lock import held

FINGERPRINT = {"reduction.r": 6, "model.patch_size": (2, 4, 4), "seed": 0}


def batch(indices, failed=(), *, batch_size=4, seconds=1.0, compiled=False, shift=0.0) -> BatchResult:
    """Made-up predictions, which follow from the videos' numbers."""
    indices = np.array(indices, np.int32)
    logits = (indices[:, None, None] + np.arange(6).reshape(1, 2, 3) + shift).astype(np.float32)
    return BatchResult(
        indices=indices,
        ids=tuple(f"video{i}\udcff" for i in indices),
        labels={"label": indices % 3},
        failures={i: Failure(f"video{i}", "broken") for i in failed},
        logits={"unmerged": {"label": logits}} if len(indices) else {},
        step_s={"unmerged": seconds} if len(indices) else {},
        compile_s={"unmerged": 10 * seconds} if compiled else {},
        wall_s=2.0,
        data_wait_s=0.5,
        batch_size=batch_size,
        devices="1 x cpu",
    )


def write(folder, *batches, **settings) -> None:
    with ResumeState(folder, FINGERPRINT, **settings) as state:
        for each in batches:
            state.add(each)


def files(folder):
    return sorted(folder.glob("*.npz"))


def test_what_is_added_is_there_at_the_next_start(tmp_path):
    written = [batch([4, 6], [5, 7], compiled=True), batch([0, 1, 2], [3]), batch([], [8])]
    write(tmp_path / "resume", *written)
    with ResumeState(tmp_path / "resume", FINGERPRINT) as state:
        for ours, theirs in zip(state.results, written, strict=True):
            for field in dataclasses.fields(BatchResult):
                np.testing.assert_equal(getattr(ours, field.name), getattr(theirs, field.name))
        assert state.done == {0, 1, 2, 4, 6}
        assert state.failed == {3, 5, 7, 8}
        state.add(batch([5]))
    assert ResumeState(tmp_path / "resume", FINGERPRINT, begun_by=state.id).failed == {3, 7, 8}
    # One that fails again takes no more room.
    count = len(files(tmp_path / "resume"))
    write(tmp_path / "resume", batch([], [8]), batch([5]))
    assert len(files(tmp_path / "resume")) == count


def test_every_changed_setting_is_named(tmp_path):
    write(tmp_path / "resume")
    other = {"reduction.r": 5, "model.patch_size": (2, 4, 4), "data.stride": 2}
    with pytest.raises(UserError) as error:
        ResumeState(tmp_path / "resume", other)
    assert "  data.stride was absent, is 2\n  reduction.r was 6, is 5\n  seed was 0, is absent\n" in str(error.value)
    assert "Give another --workdir, or --config.restart=True" in str(error.value)
    write(tmp_path / "resume")


@pytest.mark.parametrize("shared", [True, False])
def test_a_restart_keeps_what_there_was_once(tmp_path, shared):
    folders = [tmp_path / "resume", tmp_path / ("" if shared else "other") / "resume"]
    for folder in folders:
        write(folder, batch([0, 1]))
    other = FINGERPRINT | {"seed": 1}
    for _ in range(2):  # the second finds nothing that is worth keeping in place of the first
        with ResumeState(folders[0], other, restart=True) as state:
            assert state.results == []
    with ResumeState(folders[0], other) as first, pytest.raises(UserError, match="another run is at work"):
        ResumeState(folders[0], other)
    with ResumeState(folders[0], other, restart=True) as first:
        first.add(batch([2]))
        first.flush()
        with ResumeState(folders[1], other, restart=True, begun_by=first.id) as second:
            assert second.done == ({2} if shared else set())
    for folder in folders:
        assert len(files(folder.with_name("resume.old"))) == 1
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "another's name", "of another evaluation", "a pipe"])
def test_a_damaged_batch_is_named_and_costs_its_videos_alone(tmp_path, capsys, damage):
    write(tmp_path / "resume", batch([0, 1, 2]), batch([3, 4]), batch([5, 6]))
    path = files(tmp_path / "resume")[1]
    content = path.read_bytes()
    if damage == "a pipe":
        path.unlink()
        os.mkfifo(path)
    elif damage == "of another evaluation":
        with ResumeState(tmp_path / "other", FINGERPRINT | {"seed": 1}) as other:
            other.add(batch([3, 4]))
        path.write_bytes(files(tmp_path / "other")[0].read_bytes())
    else:
        middle = len(content) // 2
        flipped = bytes([*content[:middle], content[middle] ^ 4, *content[middle + 1 :]])
        damaged = {"cut": content[:-40], "empty": b"", "flipped": flipped}
        path.write_bytes(damaged.get(damage) or (b"" if damage == "empty" else files(path.parent)[0].read_bytes()))
    with ResumeState(tmp_path / "resume", FINGERPRINT) as state:
        assert state.done == {0, 1, 2, 5, 6}
        assert f"warning: {path}: damaged (" in capsys.readouterr().err
        state.add(batch([3, 4]))
    write(tmp_path / "resume")
    assert "warning" not in capsys.readouterr().err
    assert len(files(tmp_path / "resume")) == 3


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"id": "a", "fingerprint": 3}', b"[" * 100_000])
def test_without_its_first_file_a_folder_belongs_to_nothing(tmp_path, content):
    folder = tmp_path / "resume"
    write(folder, batch([0]))
    (folder / "run.json").unlink()
    if content is not None:
        (folder / "run.json").write_bytes(content)
    with pytest.raises(UserError, match=r"run\.json: is (missing|damaged).*nothing says what the batches there are of"):
        ResumeState(folder, FINGERPRINT)
    assert resume.read_fingerprint(folder) is None
    write(folder, restart=True)
    assert len(files(tmp_path / "resume.old")) == 1


def test_predictions_of_earlier_versions_are_refused_by_name(tmp_path):
    (tmp_path / "journal").mkdir()
    with pytest.raises(UserError, match=r"journal: an earlier version of jax_vtm left predictions there.*restart=True"):
        ResumeState(tmp_path / "resume", FINGERPRINT)
    write(tmp_path / "resume", restart=True)
    write(tmp_path / "resume")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "resume").write_text("in the way")
    with pytest.raises(UserError, match=r"resume.*: (File exists|Not a directory)"):
        ResumeState(tmp_path / "resume", FINGERPRINT)


def test_storage_that_is_slow_holds_up_no_step_until_too_much_waits(tmp_path, monkeypatch):
    goes_on, put = threading.Event(), resume.pack_result

    def slowly(*arguments):
        assert goes_on.wait(30)
        return put(*arguments)

    monkeypatch.setattr(resume, "pack_result", slowly)
    with ResumeState(tmp_path / "resume", FINGERPRINT) as state:
        for index in range(resume._WAITING):
            state.add(batch([index]))
        assert files(tmp_path / "resume") == []
        threading.Timer(0.2, goes_on.set).start()
        state.add(batch([9]))
        assert files(tmp_path / "resume") != []
    assert len(files(tmp_path / "resume")) == resume._WAITING + 1


def test_of_two_runs_that_no_lock_keeps_apart_each_video_counts_once(tmp_path):
    # Other batch sizes round otherwise, which `shift` stands for.
    with ResumeState(tmp_path / "resume", FINGERPRINT) as one:
        with ResumeState(tmp_path / "resume", FINGERPRINT, begun_by=one.id) as other:
            one.add(batch([0, 1, 2], [3]))
            one.flush()
            for each in (batch([0, 1], shift=0.25), batch([2, 3], shift=0.25)):
                other.add(each)
        whole = concatenate(["unmerged"], one.read())
    assert whole.indices.tolist() == [0, 1, 2, 3]
    assert whole.predictions["unmerged"].logits["label"][:, 0, 0].tolist() == [0, 1, 2, 3.25]
    assert whole.failures == []


def test_a_lock_on_a_file_that_has_gone_is_not_taken(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    lock, tried = fcntl.flock, []

    def overtaken(file, how):
        # Between opening and locking, the last holder removes it and a third process makes it anew.
        if not tried:
            path.unlink()
            path.touch()
        tried.append(file)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    with held(path, "taken"):
        assert len(tried) == 2
        monkeypatch.undo()
        with pytest.raises(UserError, match="lock: taken"), held(path, "taken"):
            pass
    assert not path.exists()


def test_batches_come_together_in_the_sources_order_and_a_repaired_video_is_no_failure():
    parts = [batch([4, 5], [6, 7]), batch([0, 1], [2]), batch([], [7, 2]), batch([6])]
    whole = concatenate(["unmerged"], parts)
    assert whole.ids == [f"video{index}\udcff" for index in (0, 1, 4, 5, 6)]
    assert whole.labels["label"].tolist() == [0, 1, 1, 2, 0]
    assert whole.predictions["unmerged"].logits["label"][:, 0, 0].tolist() == [0, 1, 4, 5, 6]
    assert [failure.id for failure in whole.failures] == ["video2", "video7"]
    assert (whole.wall_s, whole.data_wait_s, whole.device_wait_share) == (8.0, 2.0, 0.25)
    assert (whole.views, whole.batch_size) == (2, 4)


def test_only_steps_that_compare_are_compared():
    parts = [
        batch([0], seconds=1.0, compiled=True),
        batch([1], seconds=5.0, batch_size=8, compiled=True),
        batch([2], seconds=2.0, compiled=True),
        batch([3], seconds=3.0),
        batch([], [4], batch_size=16),
    ]
    whole = concatenate(["unmerged"], parts)
    assert whole.predictions["unmerged"].step_s == [1.0, 2.0, 3.0]
    assert whole.predictions["unmerged"].compile_s == 20.0
    assert whole.batch_size == 4
