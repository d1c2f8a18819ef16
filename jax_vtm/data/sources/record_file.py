"""TFRecord files: which ones a name stands for, where their records lie, and the bytes of one record.

A file is a row of records and nothing else. Each is its length (8 bytes, little-endian), a checksum of these 8 bytes,
the data, and a checksum of the data. The checksums are CRC-32C, masked as in TensorFlow's `record_writer.h`.
"""

import io
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import google_crc32c
from etils import epath

from jax_vtm import bucket
from jax_vtm.data.tables import first_of
from jax_vtm.errors import UserError
from jax_vtm.regular_file import as_path, check_regular_file, exists

_SHARDED = re.compile(r"(?P<base>.+)@(?P<count>[0-9]{1,5})(?P<suffix>\.[^/]+)?")
_SHARD = re.compile(r"(?P<base>.+)-[0-9]{5}-of-(?P<count>[0-9]{5})(?P<suffix>\.[^/]+)?")
_WILDCARDS = "*?["

FILES_AT_ONCE = 16

_HEAD = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")


@dataclass(frozen=True)
class RecordPlace:
    """Where a record's data lies: its number in its file, from 0, and the bytes from the file's start."""

    file: epath.Path
    number: int
    offset: int
    length: int

    def __str__(self) -> str:
        return f"record {self.number} (counted from 0) of {self.file}"

    def read(self) -> bytes:
        """Reads the record's data; safe to call from several threads at once.

        Raises:
            ValueError: The data is not what was written.
            OSError: The file cannot be read.
        """
        stop = self.offset + self.length + _CHECKSUM.size
        if bucket.is_bucket(self.file):
            try:
                content = bucket.read_part(os.fspath(self.file), self.offset, stop)
            except UserError as error:
                raise OSError(None, str(error)) from error
        else:
            with self.file.open("rb") as stream:
                stream.seek(self.offset)
                content = stream.read(stop - self.offset)
        data, checksum = content[: self.length], content[self.length :]
        if checksum != _CHECKSUM.pack(masked_crc(data)):
            raise ValueError("its data does not match its checksum")
        return data

    def is_damaged(self) -> bool:
        """Whether the record's data cannot be read as it was written."""
        try:
            self.read()
        except (ValueError, OSError):
            return True
        return False


def find_records(file: epath.Path, beginning: int) -> list[tuple[RecordPlace, bytes]]:
    """Goes from record to record without reading their data, but for so many bytes of each, which are not checked.

    Raises:
        UserError: The file is missing, ends within a record, or is no TFRecord file.
    """
    check_regular_file(file)
    found = []
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, io.SEEK_END)
            start = 0
            while start < size:
                stream.seek(start)
                # One request in a bucket.
                content = stream.read(_HEAD.size + beginning)
                place = _next_record(content[: _HEAD.size], file, len(found), start, size)
                found.append((place, content[_HEAD.size :][: place.length]))
                start = place.offset + place.length + _CHECKSUM.size
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from error
    return found


def _next_record(head: bytes, file: epath.Path, number: int, start: int, size: int) -> RecordPlace:
    if len(head) == _HEAD.size:
        length, checksum = _HEAD.unpack(head)
        if checksum != masked_crc(head[:8]):
            if number == 0:
                raise UserError(f"{file}: is not a TFRecord file, or a compressed one; expected plain TFRecords")
            after = f"after record {number - 1} (counted from 0)"
            raise UserError(f"{file}: is damaged at byte {start}, {after}; write or copy it again")
        place = RecordPlace(file, number, start + _HEAD.size, length)
        if place.offset + length + _CHECKSUM.size <= size:
            return place
    within = f"it ends at byte {size}, within record {number} (counted from 0)"
    raise UserError(f"{file}: is cut short: {within}; write or copy it again")


def masked_crc(data: bytes) -> int:
    """The checksum that stands behind `data` in a TFRecord file."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def is_pattern(path: str | os.PathLike[str]) -> bool:
    """Whether a name stands for all files that match it."""
    return any(character in os.fspath(path) for character in _WILDCARDS)


def shard_files(path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[epath.Path]:
    """Finds the files that a name stands for, in their order.

    Args:
        path: One file; `base@N` or `base@N.suffix`, which stands for `base-00000-of-0000N.suffix` and so on; a pattern
            with `*`, `?` or `[...]`, whose matches are sorted; or a list of files, in the order wanted.

    Raises:
        UserError: A file is missing or a folder, or the pattern matches none, or some shards of a set alone.
    """
    if not isinstance(path, str | os.PathLike):
        names = [os.fspath(file) for file in path]
    elif sharded := _SHARDED.fullmatch(os.fspath(path)):
        names = _shard_names(**sharded.groupdict())
    else:
        names = _matches(os.fspath(path)) if is_pattern(path) else [os.fspath(path)]
    if not names:
        raise UserError("the list of record files is empty, expected at least one")
    # One listing for all shards.
    listed = bucket.find(os.fspath(as_path(names[0]).parent)) if bucket.is_bucket(names[0]) else None
    if missing := [name for name in names if not (exists(name) if listed is None else name in listed)]:
        raise UserError(f"{path}: {_missing(missing, len(names), 'files')}")
    files = list(map(as_path, names))
    if folders := [file for file in files if listed is None and file.is_dir()]:
        raise UserError(f"{folders[0]}: is a folder, expected a file, NAME@SHARDS or a pattern such as folder/test-*")
    return files


def _missing(names: Sequence[str], count: int, what: str) -> str:
    return f"{len(names)} of {count} {what} {'is' if len(names) == 1 else 'are'} missing: {first_of(names)}"


def _shard_names(base: str, count: str, suffix: str | None) -> list[str]:
    return [f"{base}-{shard:05d}-of-{int(count):05d}{suffix or ''}" for shard in range(int(count))]


def _matches(pattern: str) -> list[str]:
    parts = pattern.split("/")
    literal = next(number for number, part in enumerate(parts) if is_pattern(part))
    folder = "/".join(parts[:literal]) or ("/" if pattern.startswith("/") else ".")
    names = sorted(map(os.fspath, as_path(folder).glob("/".join(parts[literal:]))))
    if not names:
        raise UserError(f"{pattern}: no file matches")
    for name in names:
        shard = _SHARD.fullmatch(name)
        # A set with a hole would pass for a smaller set.
        if shard and (absent := sorted({*_shard_names(**shard.groupdict())} - {*names})):
            missing = _missing(absent, int(shard["count"]), "shards")
            raise UserError(f"{pattern}: {missing}; to read some of them alone, list them")
    return names
