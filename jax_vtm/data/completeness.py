"""Whether a video file is all there, by its own account.

libav reads damaged files without complaint as far as they go, and goes on behind a hole: later frames would get wrong
numbers. A file that was cut short is not as long as it says; one with a hole (a download into reserved space that
was stopped, wrongly joined parts) has bytes in it that belong to nothing.
"""

import io
from collections.abc import Iterator

import numpy as np

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT, _CLUSTER, _GROUP = 0x18538067, 0x1F43B675, 0xA0
# Elements that are looked into, and all that can stand in them, old ones included (RFC 8794, RFC 9559).
_MASTERS = (_SEGMENT, _CLUSTER, _GROUP)
_ELEMENTS = {
    *(0x1A45DFA3, *_MASTERS, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367),
    *(0xEC, 0xBF, 0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xAF),
    *(0xA1, 0xA2, 0x75A1, 0x9B, 0xFA, 0xFB, 0xFD, 0xA4, 0x75A2, 0x8E, 0xC8),
}

_MP4_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")
_MP4_NEEDED_BOXES = (b"moov", b"mdat", b"moof")
_MP4_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf")
# Where the number of frames stands in the boxes that have one.
_MP4_COUNTS = {b"stsz": 8, b"stz2": 8, b"trun": 4}

# No healthy MPEG-PS or Ogg file has so many zeros in a row; a packet of PS usually has 2048 bytes.
_HOLE = bytes(4096)
# MPEG-TS begins each of its packets with one byte; some cameras and recorders add bytes between packets.
_TS_SYNC, _TS_SIZES = 0x47, (188, 192, 204)
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_CHUNK = 1 << 24

File = io.BufferedIOBase


def stated_size(file: File) -> int | None:
    """The least number of bytes that a complete file would have; None if its kind does not say."""
    head = _read(file, 0, 4096)
    if head.startswith(_EBML):
        return _matroska_size(head)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        # The first RIFF chunk; 0 while recording. Some writers count the 8 bytes before this number, others do not.
        return int.from_bytes(head[4:8], "little") or None
    if head[4:8] in _MP4_FIRST_BOXES:
        # The end of the last box that playing needs; padding and what other programs appended may be anything.
        return max((end for kind, _, end in _boxes(file, 0, _size(file)) if kind in _MP4_NEEDED_BOXES), default=0)
    return None


def states_too_much(file: File) -> bool:
    """Whether an MP4 or QuickTime file counts more frames than it has bytes: libav would make room for all of them."""
    length = _size(file)
    parts = [(0, length)] if _read(file, 4, 4) in _MP4_FIRST_BOXES else []
    while parts:
        for kind, inside, end in _boxes(file, *parts.pop()):
            if kind in _MP4_PARENTS:
                parts.append((inside, min(end, length)))
            elif kind in _MP4_COUNTS and end <= length:
                count = int.from_bytes(_read(file, inside + _MP4_COUNTS[kind], 4), "big")
                if count > length:
                    return True
    return False


def find_hole(file: File, kind: str, begin: int = 0, end: int | None = None) -> int | None:
    """The byte at which a file of a kind (libav's name) is damaged; None if no damage is seen from `begin` to `end`."""
    finder = _FINDERS.get(kind)
    return finder(file, begin, end) if finder else None


def _read(file: File, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def _size(file: File) -> int:
    return file.seek(0, io.SEEK_END)


def _boxes(file: File, position: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes in a part of an MP4 file: kind, and the bytes at which the content begins and ends (ISO 14496-12)."""
    while position < stop:
        header = _read(file, position, 16)
        if len(header) < 8:
            return
        size, kind, inside = int.from_bytes(header[:4], "big"), header[4:8], position + 8
        if size == 1 and len(header) == 16:
            size, inside = int.from_bytes(header[8:], "big"), position + 16
        if size < 8:  # 0: the box reaches to the end of the file, wherever that is
            return
        position += size
        yield kind, inside, position


def _matroska_size(head: bytes) -> int | None:
    """Matroska and WebM: a header element, then one segment with everything else (RFC 8794, RFC 9559)."""
    header_size, start = _ebml_size(head, 4)
    segment = start + (header_size or 0)
    if header_size is None or int.from_bytes(head[segment : segment + 4], "big") != _SEGMENT:
        return None
    size, start = _ebml_size(head, segment + 4)
    return None if size is None else start + size


def _ebml_size(data: bytes, position: int) -> tuple[int | None, int]:
    """Reads a size of 1 to 8 bytes, whose first set bit says how many; all further bits set means unknown."""
    length = 9 - int.from_bytes(data[position : position + 1], "big").bit_length()
    field = data[position : position + length]
    if length > 8 or len(field) < length:
        return None, position
    unknown = (1 << 7 * length) - 1
    size = int.from_bytes(field, "big") & unknown
    return (None if size == unknown else size), position + length


def _end_of_chain(file: File, begin: int, end: int | None) -> int | None:
    """Goes from element to element of a Matroska or WebM file: each begins where the one before it ends."""
    stop = _size(file)
    position, is_live = 0, True
    while position < stop:
        head = _read(file, position, 12)
        id_length = 9 - head[0].bit_length()
        size, body = _ebml_size(head, id_length)
        element = int.from_bytes(head[:id_length], "big")
        inside = position + body
        # A live recording says neither its clusters' sizes nor its own, and may end anywhere.
        outside = stop if size is None else inside + size
        if element == _SEGMENT and size is not None:
            stop, is_live = min(outside, stop), False  # anything may be appended
        elif not (is_live and position + 12 > stop) and (element not in _ELEMENTS or (outside > stop and not is_live)):
            return position
        is_wanted = size is None or (outside > begin and (end is None or position < end))
        position = inside if element in _MASTERS and is_wanted else outside
    return None


def _end_of_tags(file: File, begin: int, end: int | None) -> int | None:
    """FLV: tags, each with its size before it and after it (Adobe's FLV 10.1, E.3)."""
    length = _size(file)
    position = int.from_bytes(_read(file, 5, 4), "big") + 4
    while position + 15 <= length:
        size = 11 + int.from_bytes(_read(file, position, 4)[1:], "big")
        behind = _read(file, position + size, 4)
        if len(behind) == 4 and int.from_bytes(behind, "big") != size:
            return position
        position += size + 4
    return None


def _lost_sync(file: File, begin: int, end: int | None) -> int | None:
    data = np.frombuffer(_read(file, 0, -1), np.uint8)
    for size in _TS_SIZES:
        for start in range(min(size, len(data))):
            marks = data[start::size] == _TS_SYNC
            if marks[:5].all():
                return None if marks.all() else start + size * int(np.argmin(marks))
    return None


def _zeros(file: File, begin: int, end: int | None) -> int | None:
    file.seek(begin)
    position, before = begin, b""
    while (end is None or position < end) and (chunk := file.read(_CHUNK)):
        place = (before + chunk).find(_HOLE)
        if place >= 0:
            return position - len(before) + place
        position += len(chunk)
        before = chunk[-len(_HOLE) + 1 :]
    return None


def _empty_asf_packet(file: File, begin: int, end: int | None) -> int | None:
    """ASF (WMV) has packets of one size, stated in its header, none of which begins with zeros (ASF 01.20.05, 3.2)."""
    head = _read(file, 0, 1 << 16)
    properties, data = head.find(_ASF_PROPERTIES), head.find(_ASF_DATA)
    if min(properties, data) < 0 or len(head) < properties + 96:
        return None
    size = int.from_bytes(head[properties + 92 : properties + 96], "little")
    stop = min(data + int.from_bytes(head[data + 16 : data + 24], "little"), _size(file))
    places = range(data + 50, stop, max(size, 50)) if size else ()
    return next((place for place in places if _read(file, place, 8) == bytes(8)), None)


_FINDERS = {
    "matroska,webm": _end_of_chain,
    "mpegts": _lost_sync,
    "flv": _end_of_tags,
    "asf": _empty_asf_packet,
    "mpeg": _zeros,
    "ogg": _zeros,
}
