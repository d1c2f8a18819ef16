import io
import struct

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from jax_vtm.data import VideoError, VideoInfo, decode_frames, decoding, packets
from jax_vtm.errors import UserError


def everything(info):
    return np.arange(info.num_frames)


def reason_of(video, **kwargs):
    with pytest.raises(VideoError) as caught:
        decode_frames(video, everything, **kwargs)
    return caught.value.reason


KINDS = {
    "long_groups.mp4": ("libx264", {}),
    "short_groups.mp4": ("libx264", {"g": "7"}),
    "open_groups.mp4": ("libx264", {"g": "7", "x264-params": "open-gop=1:bframes=3:b-adapt=0"}),
    "pyramid.mp4": ("libx264", {"x264-params": "keyint=60:bframes=7:b-pyramid=normal:b-adapt=0"}),
    "refreshed_in_columns.mp4": ("libx264", {"g": "10", "x264-params": "intra-refresh=1"}),
    "short_groups.mkv": ("libx264", {"g": "7"}),
    "vp9.webm": ("libvpx-vp9", {"g": "9", "lag-in-frames": "16", "auto-alt-ref": "1", "cpu-used": "8"}),
    "mpeg4.mp4": ("mpeg4", {"g": "9", "bf": "2"}),
    "mpeg4.avi": ("mpeg4", {"g": "9"}),
    "h264.mov": ("libx264", {}),
    "mpeg2.mpg": ("mpeg2video", {"g": "9", "bf": "2"}),
}


@pytest.fixture(scope="module", params=KINDS)
def video(request, tmp_path_factory, encode, frames):
    codec, options = KINDS[request.param]
    noise = np.random.default_rng(0).integers(-40, 40, (60, 48, 96, 3))
    pixels = frames(60)
    pixels[:, 8:] = np.clip(pixels[:, 8:] + noise[:, 8:], 0, 255)
    return encode(tmp_path_factory.mktemp("video") / request.param, pixels, codec, options=options)


@pytest.mark.parametrize("as_bytes", [False, True])
def test_each_frame_is_the_one_asked_for(video, read_numbers, as_bytes):
    told = []

    def select(info):
        told.append(info)
        return np.array([40, 0, 17, 17, 3])

    decoded = decode_frames(video.read_bytes() if as_bytes else video, select)
    assert told[0] == VideoInfo(60, pytest.approx(25))
    assert decoded.shape == (5, 48, 96, 3)
    assert decoded.dtype == np.uint8
    assert read_numbers(decoded) == [40, 0, 17, 17, 3]


def test_a_part_decodes_to_the_same_pixels_as_the_whole(video):
    whole = decode_frames(video, everything)
    for selected in ([59], [31], [6, 7, 8], [14, 13], [0, 20, 21, 58], list(range(0, 60, 11))):
        np.testing.assert_array_equal(decode_frames(video, lambda info, some=selected: np.array(some)), whole[selected])


def test_a_span_is_the_frames_shown_in_it(video, read_numbers):
    for start, stop in ((0.0, 0.4), (0.0, 0.04), (0.36, 0.6), (1.0, 1.04), (0.71, 2.0), (2.2, 99.0), (0.0, 99.0)):
        told = []
        decoded = decode_frames(video, lambda info, t=told: t.append(info.fps) or everything(info), span=(start, stop))
        assert read_numbers(decoded) == [number for number in range(60) if start <= number / 25 < stop]
        assert told[0] == pytest.approx(25)
    with pytest.raises(VideoError, match=r"no frame of it is shown from 7 to 8 s"):
        decode_frames(video, everything, span=(7, 8), name="a")


@pytest.mark.parametrize("file", ["short_groups.mp4", "vp9.webm"])
def test_late_frames_are_reached_without_decoding_the_early_ones(tmp_path, encode, frames, monkeypatch, file):
    codec, options = KINDS[file]
    path = encode(tmp_path / file, frames(60), codec, options=options)
    decoded = []

    def spy(video, packets):
        decoded.extend(packet for packet in packets if packet)
        yield from original(video, packets)

    original = decoding._frames
    monkeypatch.setattr(decoding, "_frames", spy)
    decode_frames(path, lambda info: np.array([59]))
    assert 0 < len(decoded) <= 9


def test_a_span_is_read_without_the_rest_of_the_file(tmp_path, encode, frames, monkeypatch):
    path = encode(tmp_path / "a.mp4", frames(200), options={"g": "10"})
    sizes = []
    original = packets.read_packets
    monkeypatch.setattr(packets, "read_packets", lambda *args: sizes.append(original(*args)) or sizes[-1])
    decode_frames(path, everything, span=(4.0, 4.4))
    assert len(sizes[0]) <= 25


def test_a_clock_that_does_not_begin_at_zero(tmp_path, encode, frames, read_numbers):
    path = encode(tmp_path / "a.mkv", frames(20), "mpeg4", options={"g": "4"}, pts=list(range(50, 70)))
    with av.open(str(path)) as container:
        assert container.streams.video[0].start_time == 2000
    decoded = decode_frames(path, everything, span=(0.2, 0.4))
    assert read_numbers(decoded) == [5, 6, 7, 8, 9]


def test_trimmed_by_an_edit_list(tmp_path, frames, encode, read_numbers):
    """Phones trim a recording by saying which part to show; the file still states all of its frames."""
    path = encode(tmp_path / "a.mp4", frames(100), options={"g": "20"})
    data = bytearray(path.read_bytes())
    entry = data.index(b"elst") + 12  # after the kind, version and flags, number of entries
    duration, start = struct.unpack_from(">Ii", data, entry)
    assert duration == 4000  # ms: 100 frames
    struct.pack_into(">Ii", data, entry, duration // 2, start + 30 * 512)  # 512 ticks per frame
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.video[0].frames == 100
    assert read_numbers(decode_frames(bytes(data), everything)) == list(range(30, 80))


def test_gaps_in_an_avi_file_are_no_frames(tmp_path, frames, encode, read_numbers):
    path = encode(tmp_path / "a.avi", frames(10), "mpeg4", pts=list(range(0, 20, 2)))
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 19
    assert read_numbers(decode_frames(path, everything)) == list(range(10))


def test_variable_frame_rate_is_numbered_by_frames_not_by_time(tmp_path, frames, encode, read_numbers):
    pts = [0, 1, 2, 10, 11, 40, 41, 42, 90, 200]
    path = encode(tmp_path / "a.mp4", frames(10), pts=pts)
    assert read_numbers(decode_frames(path, everything)) == list(range(10))


def test_lossless_colours_survive(tmp_path, encode):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 33, 47, 3), np.uint8)
    path = encode(tmp_path / "a.mkv", pixels, "ffv1", "bgr0")
    np.testing.assert_array_equal(decode_frames(path, everything), pixels)


@pytest.mark.parametrize("colorspace", [1, 5])  # BT.709, BT.601
def test_the_stated_colour_matrix_is_used(tmp_path, encode, colorspace):
    colour = np.array([200, 40, 90])
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv444p"
        stream.codec_context.colorspace = colorspace
        pixels = np.tile(colour.astype(np.uint8), (16, 16, 1))
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format="yuv444p", dst_colorspace=Colorspace(colorspace)
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert np.abs(decode_frames(path, everything).astype(int) - colour).max() <= 3


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize(("hflip", "vflip"), [(False, False), (True, False), (False, True)])
def test_rotation_and_mirroring_are_applied(tmp_path, encode, degrees, hflip, vflip):
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16, :32] = 255
    picture[:16, 32:] = 160
    picture[16:, :32] = 80
    path = encode(
        tmp_path / "a.mp4",
        picture[None],
        options={"crf": "1"},
        prepare=lambda stream: stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip),
    )
    shown = np.rot90(picture, degrees // 90)  # counter-clockwise, then mirrored
    shown = shown[:, ::-1] if hflip else shown
    shown = shown[::-1] if vflip else shown
    decoded = decode_frames(path, everything)[0]
    assert decoded.shape == shown.shape
    assert np.abs(decoded.astype(int) - shown).mean() < 3


def test_an_odd_angle_is_refused(tmp_path, frames, encode):
    path = encode(tmp_path / "a.mp4", frames(1), prepare=lambda stream: stream.set_display_rotation(30))
    assert "multiple of 90 degrees" in reason_of(path)


def test_a_file_cut_out_of_another_counts_what_can_be_shown(tmp_path, frames, encode, read_numbers):
    """Without the keyframe that they build on, a decoder drops frames: the number of packets is too high."""
    whole = encode(tmp_path / "whole.mp4", frames(60), options={"g": "20"})
    part = tmp_path / "part.mp4"
    with av.open(str(whole)) as source, av.open(str(part), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size and number >= 8:
                packet.stream = stream
                target.mux(packet)
    counts = []

    def select(info):
        counts.append(info.num_frames)
        return np.arange(info.num_frames)

    numbers = read_numbers(decode_frames(part, select))
    assert counts == [52, 40]
    assert numbers == list(range(20, 60))


def test_only_selected_frames_are_transformed_and_each_once(tmp_path, frames, encode):
    seen = []

    def halve(frame):
        seen.append(frame.shape)
        return frame[::2, ::2]

    path = encode(tmp_path / "a.mp4", frames(12))
    decoded = decode_frames(path, lambda info: np.array([3, 3, 11]), transform=halve)
    assert decoded.shape == (3, 24, 48, 3)
    assert seen == [(48, 96, 3)] * 2


def test_a_colon_in_the_name_is_no_protocol(tmp_path, frames, encode, read_numbers, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "a.mp4", frames(2)).rename("http:a.mp4")
    assert read_numbers(decode_frames("http:a.mp4", everything)) == [0, 1]


def test_a_selection_outside_the_video_is_a_programming_error(tmp_path, frames, encode):
    path = encode(tmp_path / "a.mp4", frames(2))
    for selected in ([], [-1], [2]):
        with pytest.raises(ValueError, match=r"0\.\.1") as caught:
            decode_frames(path, lambda info, some=selected: np.array(some, int))
        assert not isinstance(caught.value, UserError)


def test_what_is_no_video(tmp_path, write_sound):
    (tmp_path / "a.mp4").touch()
    assert reason_of(tmp_path) == "is a folder, expected a file"
    assert reason_of(b"") == reason_of(tmp_path / "a.mp4") == "the file is empty (0 bytes)"
    for suffix in ("mkv", "mov", "avi"):
        assert reason_of(write_sound(tmp_path / f"a.{suffix}")) == "there is no video in it, only audio"
    with pytest.raises(UserError, match=r"video .*nothing\.mp4: there is no such file"):
        decode_frames(tmp_path / "nothing.mp4", everything)
    with pytest.raises(VideoError, match="video cats/1: ") as caught:
        decode_frames(b"", everything, name="cats/1")
    assert caught.value.name == "cats/1"


@pytest.mark.parametrize(
    ("file", "codec", "muxer"),
    [
        ("a.mp4", "libx264", {}),
        ("front.mp4", "libx264", {"movflags": "faststart"}),
        ("a.webm", "libvpx-vp9", {}),
        ("a.mkv", "libx264", {}),
        ("a.avi", "mpeg4", {}),
    ],
)
def test_a_file_cut_short_is_an_error(tmp_path, encode, file, codec, muxer):
    noise = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), np.uint8)
    whole = encode(tmp_path / file, noise, codec, muxer=muxer).read_bytes()
    assert len(decode_frames(whole, everything)) == 30
    for kept in (0.1, 0.4, 0.6, 0.9, 0.97):
        reason = reason_of(whole[: int(kept * len(whole))])
        assert "cut short" in reason or "damaged" in reason
