"""TFRecord files: where their records lie, and the bytes of one record.

A file is a row of records and nothing else. Each is its length (8 bytes, little-endian), a checksum of these 8 bytes,
the data, and a checksum of the data. The checksums are CRC-32C, masked as in TensorFlow's `record_writer.h`.
"""

import io
import struct
from dataclasses import dataclass

import google_crc32c
from etils import epath

from jax_vtm.errors import UserError

_HEAD = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")


class DamagedRecordError(ValueError):
    """A record's data is not what was written."""


@dataclass(frozen=True)
class RecordPlace:
    """Where a record's data lies.

    Attributes:
        file: The file.
        number: The record's number in it, from 0.
        offset: Bytes from the start of the file to the data.
        length: Bytes of data.
    """

    file: epath.Path
    number: int
    offset: int
    length: int


def find_records(file: epath.Path, beginning: int) -> list[tuple[RecordPlace, bytes]]:
    """Goes from record to record without reading their data.

    Args:
        file: A TFRecord file; anything that epath understands.
        beginning: Bytes of each record's data to return with its place. These are not checked.

    Raises:
        UserError: The file is missing, ends within a record, or is no TFRecord file.
    """
    found = []
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, io.SEEK_END)
            start = 0
            while start < size:
                stream.seek(start)
                found.append(_next_record(stream, file, len(found), start, size, beginning))
                place = found[-1][0]
                start = place.offset + place.length + _CHECKSUM.size
    except FileNotFoundError as error:
        raise UserError(f"{file}: there is no such file, expected TFRecords") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from error
    return found


def _next_record(
    stream, file: epath.Path, number: int, start: int, size: int, beginning: int
) -> tuple[RecordPlace, bytes]:
    head = stream.read(_HEAD.size)
    if len(head) == _HEAD.size:
        length, checksum = _HEAD.unpack(head)
        if checksum != masked_crc(head[:8]):
            if number == 0:
                raise UserError(f"{file}: is not a TFRecord file, or a compressed one; expected plain TFRecords")
            raise UserError(
                f"{file}: is damaged at byte {start}, after record {number - 1} (counted from 0); "
                "write or copy it again"
            )
        place = RecordPlace(file, number, start + _HEAD.size, length)
        if place.offset + length + _CHECKSUM.size <= size:
            return place, stream.read(min(length, beginning))
    raise UserError(
        f"{file}: is cut short: it ends at byte {size}, within record {number} (counted from 0); write or copy it again"
    )


def read_record(place: RecordPlace) -> bytes:
    """Reads a record's data; safe to call from several threads at once.

    Raises:
        DamagedRecordError: The data does not match its checksum.
        OSError: The file cannot be read.
    """
    with place.file.open("rb") as stream:
        stream.seek(place.offset)
        data = stream.read(place.length)
        checksum = stream.read(_CHECKSUM.size)
    if checksum != _CHECKSUM.pack(masked_crc(data)):
        raise DamagedRecordError("its data does not match its checksum")
    return data


def masked_crc(data: bytes) -> int:
    """The checksum that stands behind `data` in a TFRecord file."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
