"""How long a video file should be by its own account, which is how a file that was cut short shows.

libav reads such files without complaint as far as they go. Their stated number of frames is no help: it also
counts frames that an edit list hides, and the gaps of an AVI file.
"""

import io
import struct

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_MP4_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")
_MP4_NEEDED_BOXES = (b"moov", b"mdat", b"moof")


def stated_size(file: io.BufferedIOBase) -> int | None:
    """The least number of bytes that a complete file would have.

    Args:
        file: A seekable file of any kind, at its beginning.

    Returns:
        None if the file is of a kind that does not say (MPEG streams, live recordings, anything unknown).
    """
    head = file.read(4096)
    if head.startswith(_EBML):
        return _matroska_size(head)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _avi_size(head)
    if head[4:8] in _MP4_FIRST_BOXES:
        return _mp4_size(file)
    return None


def _matroska_size(head: bytes) -> int | None:
    """Matroska and WebM: a header element, then one segment with everything else (RFC 8794, RFC 9559)."""
    header_size, start = _ebml_size(head, len(_EBML))
    if header_size is None:
        return None
    segment = start + header_size
    if head[segment : segment + len(_SEGMENT)] != _SEGMENT:
        return None
    segment_size, start = _ebml_size(head, segment + len(_SEGMENT))
    return None if segment_size is None else start + segment_size


def _ebml_size(data: bytes, position: int) -> tuple[int | None, int]:
    """Reads a size of 1 to 8 bytes, whose first set bit says how many; all further bits set means unknown."""
    first = data[position : position + 1]
    length = 9 - int.from_bytes(first, "big").bit_length()
    field = data[position : position + length]
    if length > 8 or len(field) < length:
        return None, position
    unknown = (1 << 7 * length) - 1
    size = int.from_bytes(field, "big") & unknown
    return (None if size == unknown else size), position + length


def _avi_size(head: bytes) -> int | None:
    """AVI: the first RIFF chunk; 0 while recording.

    The size does not count the chunk's own 8 bytes of header. Some writers count them all the same, so they
    are not added here.
    """
    return struct.unpack("<I", head[4:8])[0] or None


def _mp4_size(file: io.BufferedIOBase) -> int:
    """MP4 and QuickTime: the end of the last box that playing needs (ISO/IEC 14496-12, section 4.2)."""
    position = end = 0
    while True:
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return end
        size, kind = struct.unpack(">I4s", header[:8])
        if size == 1 and len(header) == 16:
            size = struct.unpack(">Q", header[8:])[0]
        if size < 8:  # 0: the box reaches to the end of the file, wherever that is
            return end
        position += size
        # Padding and what other programs appended may be anything.
        if kind in _MP4_NEEDED_BOXES:
            end = position
