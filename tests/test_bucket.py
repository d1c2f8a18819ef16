"""Files in a bucket whose server fails, answers late, or does not let in."""

import time

import numpy as np
import pytest

from jax_vtm import bucket, files
from jax_vtm.data import Failure
from jax_vtm.errors import UserError
from jax_vtm.evaluation import BatchResult, ResumeState, resume

FINGERPRINT = {"seed": 0}


def batch(number: int, seconds: float = 1.0) -> BatchResult:
    """A made-up batch of two videos, of which the second cannot be read."""
    return BatchResult(
        indices=np.array([2 * number], np.int32),
        ids=(f"video{number}",),
        labels={"label": np.array([number % 3], np.int32)},
        failures={2 * number + 1: Failure(f"other{number}", "broken")},
        logits={"unmerged": {"label": np.full((1, 2, 3), number, np.float32)}},
        step_s={"unmerged": seconds},
        compile_s={},
        wall_s=seconds,
        data_wait_s=0.0,
        batch_size=2,
        devices="1 x cpu",
    )


def test_files_are_written_listed_read_and_set_aside(storage):
    folder = files.usable_folder(str(storage.folder))
    files.write_files({folder / "a.txt": b"a", folder / "figures" / "b.pdf": b"b", folder / "none": None})
    assert files.found(folder, "*.txt", "*/*.pdf") == [folder / "a.txt", folder / "figures" / "b.pdf"]
    assert files.found(folder, "*.pdf") == []
    assert files.read_files([folder / "a.txt", folder / "none"]) == [b"a", None]
    assert not files.write_new(folder / "a.txt", b"other")
    assert files.write_new(folder / "c.txt", b"c")
    for _ in range(2):
        files.set_aside(folder / "figures")
    assert [path.name for path in files.found(folder, "figures.old/*")] == ["b.pdf"]
    with files.staged(folder / "many") as local:
        for name in ("x", "y/z"):
            (local / name).parent.mkdir(parents=True, exist_ok=True)
            (local / name).write_text(name)
    assert not local.exists()
    assert (folder / "many" / "y" / "z").read_bytes() == b"y/z"
    with files.atomic_write(folder / "a.txt") as file:
        file.write(b"whole")
        assert (folder / "a.txt").read_bytes() == b"a"
    assert (folder / "a.txt").read_bytes() == b"whole"


def test_more_objects_than_one_listing_holds(storage):
    storage.page = 2
    bucket.write({f"{storage.folder}/{number}": b"" for number in range(5)})
    storage.requests.clear()
    assert [name[-1] for name in bucket.find(str(storage.folder))] == list("01234")
    assert len(storage.requests) == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [(401, "there are no credentials for it"), (403, "the account of this machine may not do that"), (404, "no such")],
)
def test_what_does_not_let_in_is_said_at_once_in_one_sentence(storage, answer, said):
    storage.answer = answer
    for refused in (
        lambda: files.check_answers(storage.folder),
        lambda: files.write_text(storage.folder / "a", "a"),
        lambda: ResumeState(storage.folder / "resume", FINGERPRINT),
    ):
        before = len(storage.requests)
        with pytest.raises(UserError, match=f"^gs://bucket/[^ ]*: cannot be (read|written): .*{said}.*\\.$") as error:
            refused()
        assert "\n" not in str(error.value)
        assert len(storage.requests) < before + 4


def test_a_storage_that_goes_on_failing_is_given_up_and_loses_nothing(storage, capsys, monkeypatch):
    monkeypatch.setattr(bucket, "_SAID_AFTER_S", 0.1)
    with ResumeState(storage.folder / "resume", FINGERPRINT) as state:
        state.add(batch(0))
    # Six tries take half a minute otherwise.
    monkeypatch.setattr("random.random", lambda: -30.0)
    storage.answer, storage.delay_s = 503, 0.1
    with (
        pytest.raises(
            UserError, match=r"cannot be (read|written): the storage gave no good answer, tried several times"
        ),
        ResumeState(storage.folder / "resume", FINGERPRINT) as state,
    ):
        state.add(batch(1))
    storage.answer, storage.delay_s = 0, 0.0
    with ResumeState(storage.folder / "resume", FINGERPRINT) as state:
        assert state.done == {0}
    assert "waiting for the storage, which is asked again" in capsys.readouterr().err


def test_one_request_in_ten_may_fail(storage):
    storage.bad = 0.1
    for start in range(3):
        with ResumeState(storage.folder / "resume", FINGERPRINT) as state:
            assert state.done == {2 * number for number in range(5 * start)}
            for number in range(5 * start, 5 * start + 5):
                state.add(batch(number))
    faults = storage.faults
    storage.bad = 0.0
    with ResumeState(storage.folder / "resume", FINGERPRINT) as state:
        assert state.done == {2 * number for number in range(15)}
        assert len(state.results) == 15
    assert faults >= 3


def test_two_writers_write_the_same_bytes(storage, tmp_path):
    for number, folder in enumerate((storage.folder / "resume", tmp_path / "resume")):
        with ResumeState(folder, FINGERPRINT) as state:
            state.add(batch(3, seconds=1.0 + number))
    (ours,), (theirs,) = (files.found(folder / "resume", "*.npz") for folder in (storage.folder, tmp_path))
    assert ours.name == theirs.name
    assert ours.read_bytes() == theirs.read_bytes()


def test_of_two_runs_that_begin_at_the_same_time_one_is_refused(storage, monkeypatch):
    new = resume.write_new

    def overtaken(path, content):
        monkeypatch.setattr(resume, "write_new", new)
        with ResumeState(storage.folder / "resume", {"seed": 1}) as other:
            other.add(batch(0))
        return new(path, content)

    monkeypatch.setattr(resume, "write_new", overtaken)
    with pytest.raises(UserError, match=r"are of another evaluation:\n  seed was 1, is 0"):
        ResumeState(storage.folder / "resume", FINGERPRINT)


def test_a_run_whose_folder_another_one_set_aside_says_so(storage):
    state = ResumeState(storage.folder / "resume", FINGERPRINT)
    state.add(batch(0))
    state.flush()
    with ResumeState(storage.folder / "resume", FINGERPRINT, restart=True):
        pass
    state.add(batch(1))
    with pytest.raises(UserError, match="was removed or renamed while this run was at work"):
        state.flush()


def test_storage_that_is_slow_holds_up_no_step(storage):
    with ResumeState(storage.folder / "resume", FINGERPRINT) as state:
        storage.delay_s = 0.3
        began = time.monotonic()
        for number in range(3):
            state.add(batch(number))
        assert time.monotonic() - began < 0.3
    assert len(files.found(storage.folder, "resume/*.npz")) == 3
