import io
import struct

import pytest

from jax_vtm.data.completeness import stated_size

EBML = b"\x1a\x45\xdf\xa3\x84abcd"
SEGMENT = b"\x18\x53\x80\x67"
FTYP = struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0)


@pytest.mark.parametrize(
    ("file", "codec", "muxer", "slack"),
    [
        ("a.mkv", "libx264", {}, 0),
        ("a.webm", "libvpx-vp9", {}, 0),
        ("a.mp4", "libx264", {}, 0),
        ("front.mp4", "libx264", {"movflags": "faststart"}, 0),
        ("fragments.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}, 200),
        ("a.mov", "libx264", {}, 0),
        ("a.avi", "mpeg4", {}, 8),
    ],
)
def test_a_whole_file_is_as_long_as_it_says(tmp_path, frames, encode, file, codec, muxer, slack):
    data = encode(tmp_path / file, frames(5), codec, muxer=muxer).read_bytes()
    assert len(data) - slack <= stated_size(io.BytesIO(data)) <= len(data)


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (EBML + SEGMENT + b"\x85", 9 + 5 + 5),
        (EBML + SEGMENT + b"\x41\x00", 9 + 6 + 256),
        (EBML + SEGMENT + b"\x01" + bytes(6) + b"\x07", 9 + 12 + 7),
        (EBML + SEGMENT + b"\xff", None),  # a live recording
        (EBML + SEGMENT + b"\x01" + b"\xff" * 7, None),
        (EBML + SEGMENT, None),
        (EBML + b"abcdefgh", None),
        (EBML[:4], None),
        (EBML[:4] + b"\x00", None),
        (b"RIFF\x00\x01\x00\x00AVI ", 256),
        (b"RIFF\x00\x00\x00\x00AVI ", None),
        (b"RIFF\x00\x01\x00\x00WAVE", None),
        (FTYP + struct.pack(">I4s", 1000, b"mdat"), 1016),
        (FTYP + struct.pack(">I4sQ", 1, b"mdat", 1 << 33), 16 + (1 << 33)),
        (FTYP + struct.pack(">I4s", 0, b"mdat"), 0),
        (FTYP + struct.pack(">I4s", 8, b"moov") + b"\x77" * 100, 24),  # something appended
        (b"", None),
        (b"plain text, and a little more of it", None),
    ],
)
def test_stated_size(head, size):
    assert stated_size(io.BytesIO(head)) == size
