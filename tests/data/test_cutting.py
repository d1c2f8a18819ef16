import struct

import numpy as np
import pytest

from jax_vtm.data.cutting import cut_span
from jax_vtm.data.decoding import decode_frames
from jax_vtm.data.source import VideoError


def everything(info):
    return np.arange(info.num_frames)


SPANS = [(0, 0.5), (0, 0.02), (0.3, 1.1), (0.48, 0.52), (0.96, 1.5), (1.2345, 1.61), (1.0, 1.04), (1.4, 99), (0, 99)]
CODECS = {
    "h264": ("libx264", {"g": "12", "bf": "3"}),
    "h264 without reordering": ("libx264", {"g": "12", "bf": "0"}),
    # Frames that follow a keyframe but are shown before it.
    "h264, open groups": ("libx264", {"bf": "3", "x264-params": "open-gop=1:keyint=12:min-keyint=1:scenecut=0"}),
    "hevc, open groups": ("libx265", {"x265-params": "keyint=12:log-level=none"}),
    "mpeg4": ("mpeg4", {"g": "12", "bf": "2"}),
}


@pytest.fixture(scope="module")
def pixels(frames):
    return frames(60)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_a_cut_has_the_spans_frames_exactly(tmp_path, pixels, encode, codec, suffix):
    path = encode(tmp_path / f"a.{suffix}", pixels, CODECS[codec][0], options=CODECS[codec][1])
    for span in SPANS:
        cut, span_of_cut = cut_span(path, span, "a")
        expected = decode_frames(path, everything, span=span)
        np.testing.assert_array_equal(decode_frames(cut, everything, span=span_of_cut), expected)
    cut, _ = cut_span(path, (1.4, 1.6), "a")
    assert len(decode_frames(cut, everything)) < len(pixels) / 2


def test_a_clock_that_ticks_once_per_frame(tmp_path, pixels, encode):
    muxer = {"video_track_timescale": "25"}
    path = encode(tmp_path / "a.mp4", pixels, options={"g": "12", "bf": "0"}, muxer=muxer)
    for span in [(0.33, 0.73), (0.35, 0.75), (0.3204, 0.37), (0.48, 0.52), (0.4796, 0.5196)]:
        cut, span_of_cut = cut_span(path, span, "a")
        expected = decode_frames(path, everything, span=span)
        np.testing.assert_array_equal(decode_frames(cut, everything, span=span_of_cut), expected)


def test_frames_at_uneven_times(tmp_path, pixels, encode):
    stamps = [int(number * 1.7) for number in range(len(pixels))]
    path = encode(tmp_path / "a.mp4", pixels, options={"g": "12", "bf": "3"}, pts=stamps)
    for span in SPANS:
        cut, span_of_cut = cut_span(path.read_bytes(), span, "a")
        if len(np.flatnonzero([span[0] <= stamp / 25 < span[1] for stamp in stamps])):
            expected = decode_frames(path, everything, span=span)
            np.testing.assert_array_equal(decode_frames(cut, everything, span=span_of_cut), expected)


def test_a_rotated_and_trimmed_video(tmp_path, pixels, encode):
    path = encode(
        tmp_path / "a.mp4", pixels, options={"g": "12"}, prepare=lambda stream: stream.set_display_rotation(90)
    )
    data = bytearray(path.read_bytes())
    entry = data.index(b"elst") + 12
    duration, start = struct.unpack_from(">Ii", data, entry)
    struct.pack_into(">Ii", data, entry, duration // 2, start + 5 * 512)
    for span in [(0, 0.2), (0.2, 0.4), (0.4, 1.1)]:
        cut, span_of_cut = cut_span(bytes(data), span, "a")
        expected = decode_frames(bytes(data), everything, span=span)
        assert expected.shape[1:] == (96, 48, 3)
        np.testing.assert_array_equal(decode_frames(cut, everything, span=span_of_cut), expected)


def test_problems(tmp_path, pixels, encode, write_sound):
    path = encode(tmp_path / "a.mkv", pixels[:4])
    with pytest.raises(VideoError, match=r"video b: a part can be cut out of mp4 and mov files alone; convert it"):
        cut_span(path, (0, 1), "b")
    with pytest.raises(VideoError, match="there is no video in it, only audio"):
        cut_span(write_sound(tmp_path / "a.mov"), (0, 1), "b")
    with pytest.raises(VideoError, match="video b: cannot be read"):
        cut_span(tmp_path / "nothing.mp4", (0, 1), "b")
    with pytest.raises(VideoError, match="video b: cannot be read"):
        cut_span(b"no video", (0, 1), "b")
    with pytest.raises(VideoError, match="there are no frames from -3 to -2 s"):
        cut_span(encode(tmp_path / "a.mp4", pixels[:4]), (-3, -2), "b")
