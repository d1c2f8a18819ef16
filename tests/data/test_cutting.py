import struct

import av
import numpy as np
import pytest

from jax_vtm.data import VideoError, decode_frames
from jax_vtm.data.cutting import cut_span


def everything(info):
    return np.arange(info.num_frames)


def assert_cuts_are_exact(video, spans):
    for span in spans:
        cut, span_of_cut = cut_span(video, span, "a")
        expected = decode_frames(video, everything, span=span)
        np.testing.assert_array_equal(decode_frames(cut, everything, span=span_of_cut), expected)


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
    assert_cuts_are_exact(path, SPANS)
    cut, _ = cut_span(path, (1.4, 1.6), "a")
    assert len(decode_frames(cut, everything)) < len(pixels) / 2


def test_a_clock_that_ticks_once_per_frame(tmp_path, pixels, encode):
    muxer = {"video_track_timescale": "25"}
    path = encode(tmp_path / "a.mp4", pixels, options={"g": "12", "bf": "0"}, muxer=muxer)
    assert_cuts_are_exact(path, [(0.33, 0.73), (0.35, 0.75), (0.3204, 0.37), (0.48, 0.52), (0.4796, 0.5196)])


def test_frames_at_uneven_times(tmp_path, pixels, encode):
    stamps = [int(number * 1.7) for number in range(len(pixels))]
    path = encode(tmp_path / "a.mp4", pixels, options={"g": "12", "bf": "3"}, pts=stamps)
    shown = [span for span in SPANS if any(span[0] <= stamp / 25 < span[1] for stamp in stamps)]
    assert len(shown) > 5
    assert_cuts_are_exact(path.read_bytes(), shown)


def test_frames_whose_times_begin_late(tmp_path, pixels, encode):
    stamps = [50 + number for number in range(len(pixels))]
    path = encode(tmp_path / "a.mp4", pixels, options={"g": "12", "bf": "3"}, pts=stamps)
    with av.open(path) as container:
        assert container.streams.video[0].start_time > 0
    assert_cuts_are_exact(path, SPANS)


def test_a_rotated_and_trimmed_video(tmp_path, pixels, encode):
    path = encode(
        tmp_path / "a.mp4", pixels, options={"g": "12"}, prepare=lambda stream: stream.set_display_rotation(90)
    )
    data = bytearray(path.read_bytes())
    entry = data.index(b"elst") + 12
    duration, start = struct.unpack_from(">Ii", data, entry)
    struct.pack_into(">Ii", data, entry, duration // 2, start + 5 * 512)
    assert decode_frames(bytes(data), everything).shape[1:] == (96, 48, 3)
    assert_cuts_are_exact(bytes(data), [(0, 0.2), (0.2, 0.4), (0.4, 1.1)])


def test_problems(tmp_path, pixels, encode, write_sound):
    for video, span, words in (
        (encode(tmp_path / "a.mkv", pixels[:4]), (0, 1), r"video b: a part can be cut out of mp4 and mov files alone"),
        (write_sound(tmp_path / "a.mov"), (0, 1), "there is no video in it, only audio"),
        (tmp_path / "nothing.mp4", (0, 1), "video b: cannot be read"),
        (b"no video", (0, 1), "video b: cannot be read"),
        (encode(tmp_path / "a.mp4", pixels[:4]), (-3, -2), "there are no frames from -3 to -2 s"),
    ):
        with pytest.raises(VideoError, match=words):
            cut_span(video, span, "b")
