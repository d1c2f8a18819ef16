import dataclasses
import fcntl
import os

import numpy as np
import pytest

from jax_vtm.data import Failure
from jax_vtm.errors import UserError
from jax_vtm.evaluation import BatchResult, Journal
from jax_vtm.evaluation.batch_result import concatenate
from jax_vtm.lock import held

FINGERPRINT = {"reduction.r": 6, "model.patch_size": (2, 4, 4), "seed": 0}


def outcome(indices, failed=(), *, batch_size=4, seconds=1.0, compiled=False) -> BatchResult:
    """Made-up predictions, which follow from the videos' numbers."""
    indices = np.array(indices, np.int32)
    logits = (indices[:, None, None] + np.arange(6).reshape(1, 2, 3)).astype(np.float32)
    return BatchResult(
        indices=indices,
        ids=tuple(f"video{i}" for i in indices),
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


def assert_same(ours: BatchResult, theirs: BatchResult) -> None:
    for field in dataclasses.fields(BatchResult):
        np.testing.assert_equal(getattr(ours, field.name), getattr(theirs, field.name))


def test_what_is_appended_is_there_at_the_next_start(tmp_path):
    written = [outcome([0, 1, 2], [3], compiled=True), outcome([4, 6], [5, 7]), outcome([], [8])]
    with Journal(tmp_path / "journal", FINGERPRINT) as journal:
        assert journal.outcomes == []
        for each in written:
            journal.append(each)
        assert journal.done == {0, 1, 2, 4, 6}
    with Journal(tmp_path / "journal", FINGERPRINT) as journal:
        for ours, theirs in zip(journal.outcomes, written, strict=True):
            assert_same(ours, theirs)
        assert journal.outcomes[0].logits["unmerged"]["label"].dtype == np.float32
        assert journal.done == {0, 1, 2, 4, 6}
        assert journal.failed == {3, 5, 7, 8}
        journal.append(outcome([5]))
        assert journal.failed == {3, 7, 8}
        assert journal.lost == 0


def test_every_changed_setting_is_named(tmp_path):
    Journal(tmp_path / "journal", FINGERPRINT).close()
    other = {"reduction.r": 5, "model.patch_size": (2, 4, 4), "data.stride": 2}
    with pytest.raises(UserError) as error:
        Journal(tmp_path / "journal", other)
    assert "  data.stride was absent, is 2\n  reduction.r was 6, is 5\n  seed was 0, is absent\n" in str(error.value)
    assert "Give another --workdir, or --config.restart=True" in str(error.value)
    Journal(tmp_path / "journal", FINGERPRINT).close()


def test_a_restart_keeps_what_there_was(tmp_path):
    with Journal(tmp_path / "journal", FINGERPRINT) as journal:
        journal.append(outcome([0, 1]))
    other = FINGERPRINT | {"seed": 1}
    for _ in range(2):  # the second finds nothing that is worth keeping in place of the first
        with Journal(tmp_path / "journal", other, restart=True) as journal:
            assert journal.outcomes == []
    with Journal(tmp_path / "journal.old", FINGERPRINT) as journal:
        assert journal.done == {0, 1}
    with Journal(tmp_path / "journal", other) as journal:
        journal.append(outcome([2]))
        with pytest.raises(UserError, match="another process is evaluating into this folder"):
            Journal(tmp_path / "journal", other)


def test_the_files_of_all_processes_are_read_whatever_their_number(tmp_path):
    folder = tmp_path / "journal"
    with (
        Journal(folder, FINGERPRINT, process_index=0) as first,
        Journal(folder, FINGERPRINT, process_index=1) as second,
    ):
        first.append(outcome([0, 2]))
        second.append(outcome([1, 3]))
        second.append(outcome([5]))
    torn = folder / "00001.bin"
    torn.write_bytes(torn.read_bytes()[:-5])
    for process_index in (0, 2):
        with Journal(folder, FINGERPRINT, process_index=process_index) as journal:
            assert journal.done == {0, 1, 2, 3}
    with Journal(folder, FINGERPRINT, process_index=2) as journal:
        journal.append(outcome([4]))
    with Journal(folder, FINGERPRINT) as journal:
        assert journal.done == {0, 1, 2, 3, 4}
        journal.append(outcome([4]))
    with pytest.raises(UserError, match=r"there are videos in the journal twice \(1\)"):
        Journal(folder, FINGERPRINT)


@pytest.mark.parametrize(("hit", "lost"), [([1], 3), ([2], 2), ([1, 2], 5), ([1, 3], 3), ([2, 3], 0), ([3], 0)])
def test_a_damaged_record_costs_its_videos_alone(tmp_path, hit, lost):
    # What is damaged at the end looks like a record that was never completed: nobody can say what it held.
    with Journal(tmp_path / "journal", FINGERPRINT) as journal:
        for indices in ([0, 1, 2], [3, 4], [5, 6, 7, 8]):
            journal.append(outcome(indices))
    path = tmp_path / "journal" / "00000.bin"
    content = bytearray(path.read_bytes())
    starts = [place for place in range(len(content)) if content[place : place + 4] == b"VTMJ"]
    assert len(starts) == 4
    for record in hit:
        content[starts[record] + 100] ^= 1
    path.write_bytes(content)
    left = {1: {0, 1, 2}, 2: {3, 4}, 3: {5, 6, 7, 8}}
    expected = set().union(*(videos for record, videos in left.items() if record not in hit))
    with Journal(tmp_path / "journal", FINGERPRINT) as journal:
        assert journal.done == expected
        assert journal.lost == lost
        journal.append(outcome([9]))
    with Journal(tmp_path / "journal", FINGERPRINT) as journal:
        assert journal.done == expected | {9}
        assert journal.lost == 0


def test_without_its_first_record_a_journal_belongs_to_nothing(tmp_path):
    with Journal(tmp_path / "journal", FINGERPRINT) as journal:
        journal.append(outcome([0]))
    path = tmp_path / "journal" / "00000.bin"
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="its first record is damaged"):
        Journal(tmp_path / "journal", FINGERPRINT)
    # A hole that begins after the mark: zeros are the checksum of nothing.
    path.write_bytes(content[:4] + bytes(40) + content[44:])
    with pytest.raises(UserError, match="its first record is damaged"):
        Journal(tmp_path / "journal", FINGERPRINT)
    # Killed while it wrote the first record: there is nothing to lose.
    path.write_bytes(bytes(content[:30]))
    with Journal(tmp_path / "journal", FINGERPRINT) as journal:
        assert journal.outcomes == []


def test_a_journal_that_cannot_be_made(tmp_path):
    (tmp_path / "journal").write_text("in the way")
    with pytest.raises(UserError, match=r"the journal cannot be opened: (File exists|Not a directory)"):
        Journal(tmp_path / "journal", FINGERPRINT)


@pytest.mark.parametrize("name", ["00000.bin", "00001.bin"])
def test_a_pipe_in_a_journal_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="the journal cannot be opened: expected a regular file"):
        Journal(tmp_path, FINGERPRINT)


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


def test_parts_come_together_in_the_sources_order_and_a_repaired_video_is_no_failure():
    parts = [outcome([4, 5], [6, 7]), outcome([0, 1], [2]), outcome([], [7, 2]), outcome([6])]
    whole = concatenate(["unmerged"], parts)
    assert whole.ids == ["video0", "video1", "video4", "video5", "video6"]
    assert whole.indices.tolist() == [0, 1, 4, 5, 6]
    assert whole.labels["label"].tolist() == [0, 1, 1, 2, 0]
    prediction = whole.predictions["unmerged"]
    assert prediction.logits["label"][:, 0, 0].tolist() == [0, 1, 4, 5, 6]
    assert [failure.id for failure in whole.failures] == ["video2", "video7"]
    assert (whole.wall_s, whole.data_wait_s, whole.device_wait_share) == (8.0, 2.0, 0.25)
    assert (whole.views, whole.batch_size) == (2, 4)


def test_only_steps_that_compare_are_compared():
    parts = [
        outcome([0], seconds=1.0, compiled=True),
        outcome([1], seconds=5.0, batch_size=8, compiled=True),
        outcome([2], seconds=2.0, compiled=True),
        outcome([3], seconds=3.0),
        outcome([], [4], batch_size=16),
    ]
    whole = concatenate(["unmerged"], parts)
    assert whole.predictions["unmerged"].step_s == [1.0, 2.0, 3.0]
    assert whole.predictions["unmerged"].compile_s == 20.0
    assert whole.batch_size == 4
