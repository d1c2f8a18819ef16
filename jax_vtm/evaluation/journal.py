"""Predictions on disk as they come, so that an evaluation which was stopped, however, goes on where it was.

The journal is a folder with one file per process, which appends to its own and reads all of them: whoever did a video,
it is done. Each file holds a fingerprint of all that the predictions depend on, then one record per batch.
"""

import dataclasses
import pathlib
import secrets
import shutil
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from jax_vtm.data import Failure
from jax_vtm.errors import UserError
from jax_vtm.evaluation.batch_result import BatchResult
from jax_vtm.evaluation.record_file import RecordWriter, read_records
from jax_vtm.regular_file import file_problem

_FORMAT = 1


class Journal:
    """The predictions of an evaluation, those of earlier starts included. Close it, or use it as a context.

    Args:
        folder: Where the files are; made if it does not exist.
        fingerprint: Everything that the predictions depend on, by name: plain values, lists and mappings.
        process_index: Which of the evaluation's processes this is. Their number may change from start to start. Process
            0 opens the journal before the others.
        restart: Begins anew, for all processes. Predictions that there were are kept in a folder beside, with ".old"
            after its name, in place of what an earlier restart left there.
        begun_by: For other processes than 0: the `id` of process 0's journal. If that is in this folder too, what there
            was is set aside already.

    Attributes:
        id: Of this process's file, another one whenever it begins anew.
        outcomes: What is in the journal, in the order in which it came.
        lost: Videos whose predictions were there but are damaged, so that they have to be evaluated again.

    Raises:
        UserError: The journal is of another evaluation, cannot be read or written, or another process is at work.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        fingerprint: Mapping[str, Any],
        *,
        process_index: int = 0,
        restart: bool = False,
        begun_by: str | None = None,
    ):
        self._folder = folder
        self._path = folder / _file_name(process_index)
        self.outcomes: list[BatchResult] = []
        self.lost = 0
        self.id = ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if process_index == 0:
                _check_idle(folder)
                for leftover in folder.glob("*.partial"):
                    leftover.unlink()
            self._writer = _open(self._path)
            try:
                if restart and not (begun_by and _id_of(folder / _file_name(0)) == begun_by):
                    self._set_aside()
                self._begin(_plain(fingerprint))
            except BaseException:
                self._writer.close()
                raise
        except OSError as error:
            raise UserError(f"{self._path}: the journal cannot be opened: {error.strerror or error}.") from error

    @property
    def done(self) -> set[int]:
        """Numbers of the videos that have predictions."""
        return {index for outcome in self.outcomes for index in outcome.indices.tolist()}

    @property
    def failed(self) -> set[int]:
        """Numbers of the videos that could not be read; they may have been repaired since."""
        return {index for outcome in self.outcomes for index in outcome.failures} - self.done

    def append(self, outcome: BatchResult) -> None:
        """Adds a batch; when this returns, it survives the end of the process.

        Raises:
            UserError: The disk is full or the like; what was written before is safe. Or the file has gone.
        """
        if not self._writer.is_at(self._path):
            raise self._gone()
        try:
            self._writer.append(_packed(_outcome_to_record(outcome, self._position)))
        except OSError as error:
            raise self._write_error(error) from error
        self._position += outcome.num_videos
        self.outcomes.append(outcome)

    def close(self) -> None:
        """Ends the writing, and lets another process have the journal.

        Raises:
            UserError: The disk did not take the last predictions, or the file has gone.
        """
        try:
            is_present = self._writer.is_at(self._path)
            self._writer.close()
        except OSError as error:
            raise self._write_error(error) from error
        if not is_present:
            raise self._gone()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _gone(self) -> UserError:
        return UserError(
            f"{self._path}: was removed or renamed while this run was at work, and what it had evaluated with it. Give "
            "the same command again: it goes on from what is there."
        )

    def _write_error(self, error: OSError) -> UserError:
        return UserError(
            f"{self._path}: cannot be written: {error.strerror or error}. {len(self.done)} videos are safe in it. Make "
            "room and give the same command again: it goes on from there."
        )

    def _set_aside(self) -> None:
        files = list(self._folder.glob("*.bin"))
        if not any(len(read_records(path).records) > 1 for path in files):
            # There is nothing to keep, but perhaps an older folder that should not make room for nothing.
            for path in files:
                path.write_bytes(b"")
            self._writer.cut(0)
            return
        old = self._folder.with_name(self._folder.name + ".old")
        if old.exists():
            shutil.rmtree(old)
        # The lock goes with the file; a new one is needed.
        self._folder.rename(old)
        self._folder.mkdir()
        self._writer.close()
        self._writer = _open(self._path)

    def _begin(self, fingerprint: Mapping[str, Any]) -> None:
        """Reads what is there and prepares the process's own file for appending."""
        # Videos in this process's file; every record says how many are before it, which shows what a gap has taken.
        self._position = 0
        for path in sorted({*self._folder.glob("*.bin"), self._path}):
            found = read_records(path)
            records = [_unpacked(record) for record in found.records]
            if records:
                _check_fingerprint(path, records[0], fingerprint)
            position = 0
            for number, record in enumerate(records[1:], 1):
                if number in found.gaps:
                    self.lost += record["position"] - position
                outcome = _record_to_outcome(record)
                position = record["position"] + outcome.num_videos
                self.outcomes.append(outcome)
            if path != self._path:
                continue
            if found.gaps:
                self._replace(found.records)
            else:
                self._writer.cut(found.end)
            # Files of earlier versions have none, which is as good as any.
            self.id = records[0].get("id", "") if records else secrets.token_hex(8)
            if not records:
                self._writer.append(_packed({"format": _FORMAT, "fingerprint": fingerprint, "id": self.id}))
            self._position = position
        self._check_unique()

    def _replace(self, records: list[bytes]) -> None:
        """Writes a damaged file anew with what is left of it."""
        partial = self._path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        writer = RecordWriter(partial)
        for record in records:
            writer.append(record)
        partial.replace(self._path)
        self._writer.close()
        self._writer = writer

    def _check_unique(self) -> None:
        count = sum(len(outcome.indices) for outcome in self.outcomes)
        if count != len(self.done):
            raise UserError(
                f"{self._folder}: there are videos in the journal twice ({count - len(self.done)}); were two "
                "evaluations at work in this folder? Start anew with --config.restart=True."
            )


def read_fingerprint(folder: pathlib.Path) -> dict[str, Any] | None:
    """Reads what the predictions of a journal depend on; None if there is no journal, or if it does not say it."""
    path = folder / _file_name(0)
    if file_problem(path):
        return None
    records = read_records(path).records
    return _unpacked(records[0]).get("fingerprint") if records else None


def pack_result(outcome: BatchResult) -> bytes:
    """Turns an outcome into bytes, from which `unpack_result` restores it."""
    return _packed(_outcome_to_record(outcome, 0))


def unpack_result(record: bytes) -> BatchResult:
    """Restores an outcome."""
    return _record_to_outcome(_unpacked(record))


def _file_name(process_index: int) -> str:
    return f"{process_index:05d}.bin"


def _open(path: pathlib.Path) -> RecordWriter:
    try:
        return RecordWriter(path)
    except BlockingIOError as error:
        raise UserError(
            f"{path}: another process is evaluating into this folder. Wait for it, or give another --workdir."
        ) from error


def _check_idle(folder: pathlib.Path) -> None:
    """Makes sure that no process of an earlier start is still at work, say one that had been hanging."""
    for path in folder.glob("*.bin"):
        _open(path).close()


def _id_of(path: pathlib.Path) -> str | None:
    records = read_records(path).records if path.exists() else []
    return _unpacked(records[0]).get("id") if records else None


def _check_fingerprint(path: pathlib.Path, record: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
    if "fingerprint" not in record:
        raise UserError(
            f"{path}: its first record is damaged, so that nothing says what the others belong to. Give another "
            "--workdir, or --config.restart=True to start anew."
        )
    if record["format"] != _FORMAT:
        raise UserError(
            f"{path}: is of format {record['format']}, expected {_FORMAT}: another version of jax_vtm wrote it. Use "
            "that one, give another --workdir, or --config.restart=True to start anew."
        )
    before = record["fingerprint"]
    changed = [
        f"  {name} was {_shown(before, name)}, is {_shown(fingerprint, name)}"
        for name in sorted({*before, *fingerprint})
        if before.get(name) != fingerprint.get(name)
    ]
    if changed:
        raise UserError(
            f"{path.parent}: the predictions there are of another evaluation:\n"
            + "\n".join(changed)
            + "\nGive another --workdir, or --config.restart=True to start anew (the old predictions are then kept in "
            f"{path.parent.name}.old)."
        )


def _shown(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name]) if name in values else "absent"


def _packed(record: Mapping[str, Any]) -> bytes:
    # Names of videos may be any bytes.
    packed = msgpack.packb(record, default=_pack_array, unicode_errors="surrogateescape")
    assert packed is not None
    return packed


def _unpacked(record: bytes) -> dict[str, Any]:
    return msgpack.unpackb(record, object_hook=_unpack_array, strict_map_key=False, unicode_errors="surrogateescape")


def _plain(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Makes values what they will be when they are read again: tuples, for instance, become lists."""
    return _unpacked(_packed(fingerprint))


def _pack_array(value: Any) -> dict[str, Any]:
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "shape": value.shape, "bytes": value.tobytes()}
    raise TypeError(f"cannot be stored in a journal: {value!r}")


def _unpack_array(value: dict[str, Any]) -> Any:
    if value.keys() == {"dtype", "shape", "bytes"}:
        return np.frombuffer(value["bytes"], value["dtype"]).reshape(value["shape"])
    return value


def _outcome_to_record(outcome: BatchResult, position: int) -> dict[str, Any]:
    record = {field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome)}
    record["failures"] = {index: [failure.id, failure.reason] for index, failure in outcome.failures.items()}
    return {"position": position, **record}


def _record_to_outcome(record: Mapping[str, Any]) -> BatchResult:
    fields = {field.name: record[field.name] for field in dataclasses.fields(BatchResult)}
    fields["ids"] = tuple(fields["ids"])
    fields["failures"] = {index: Failure(*failure) for index, failure in fields["failures"].items()}
    return BatchResult(**fields)
