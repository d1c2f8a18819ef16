"""A file that records are appended to, and that stays readable whatever happens to it meanwhile.

Each record is stored as the four bytes "VTMJ", its length and its CRC-32 (little-endian, four bytes each), then the
record itself, which is never empty. A process that is killed while writing leaves an incomplete record at the end, and
nothing worse.
"""

import contextlib
import mmap
import os
import pathlib
import struct
import time
import zlib
from dataclasses import dataclass

from jax_vtm.lock import is_at, open_locked
from jax_vtm.regular_file import file_problem

_MARK = b"VTMJ"
_FRAME = struct.Struct("<4sII")

# A record is safe from everything that may happen to the process as soon as it is written, since it is then the
# operating system's. Only against a failing computer does it help to wait for the disk, which takes time.
SECONDS_BETWEEN_SYNCS = 1.0


@dataclass(frozen=True)
class Records:
    """The content of a file.

    Attributes:
        records: All that are intact.
        gaps: Numbers of the records before which something unreadable was skipped.
        end: Bytes up to the end of the last intact record; what follows is unreadable.
    """

    records: list[bytes]
    gaps: list[int]
    end: int


def read_records(path: pathlib.Path) -> Records:
    """Reads all intact records of a file, those after a damaged place too.

    Raises:
        OSError: The file cannot be read.
    """
    records: list[bytes] = []
    gaps: list[int] = []
    position = end = 0
    if problem := file_problem(path):
        raise OSError(None, problem)
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return Records([], [], 0)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            while (position := data.find(_MARK, position)) >= 0:
                record = _record_at(data, position)
                if record is None:
                    position += 1
                    continue
                if position != end:
                    gaps.append(len(records))
                records.append(record)
                position = end = position + _FRAME.size + len(record)
    return Records(records, gaps, end)


def _record_at(data: mmap.mmap, position: int) -> bytes | None:
    header = data[position : position + _FRAME.size]
    if len(header) < _FRAME.size:
        return None
    _, length, checksum = _FRAME.unpack(header)
    start = position + _FRAME.size
    # Where a disk has left zeros after a mark, length and checksum are those of nothing.
    if length == 0 or start + length > len(data):
        return None
    record = data[start : start + length]
    return record if zlib.crc32(record) == checksum else None


class RecordWriter:
    """Appends records to a file, which one process at a time may do.

    Args:
        path: The file; made if it does not exist.

    Raises:
        BlockingIOError: Another process has it open for appending.
        OSError: It cannot be opened.
    """

    def __init__(self, path: pathlib.Path):
        self._file = open_locked(path)
        self._last_sync = time.monotonic()
        self._end = os.fstat(self._file).st_size

    def cut(self, end: int) -> None:
        """Removes what follows the first `end` bytes."""
        os.ftruncate(self._file, end)
        self._end = end

    def append(self, record: bytes) -> None:
        """Writes a record. If that fails, the file is left as it was before.

        Raises:
            OSError: The disk is full, the file too large, or the like.
        """
        rest = memoryview(_FRAME.pack(_MARK, len(record), zlib.crc32(record)) + record)
        end = self._end + len(rest)
        try:
            while rest:
                written = os.pwrite(self._file, rest, end - len(rest))
                rest = rest[written:]
            if time.monotonic() - self._last_sync >= SECONDS_BETWEEN_SYNCS:
                self._sync()
        except OSError:
            # Without this the next start would do it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise
        self._end = end

    def close(self) -> None:
        """Waits for the disk and lets other processes append.

        Raises:
            OSError: The disk did not take the last records.
        """
        try:
            self._sync()
        finally:
            os.close(self._file)

    def is_at(self, path: pathlib.Path) -> bool:
        """Whether the file is still the one of that name: it may have been removed, or renamed with its folder."""
        return is_at(path, self._file)

    def _sync(self) -> None:
        os.fsync(self._file)
        self._last_sync = time.monotonic()
