import av
import numpy as np
import pytest

from jax_vtm.data import decoding
from jax_vtm.data.decoding import decode_frames
from jax_vtm.data.packets import PacketTable
from jax_vtm.data.source import VideoError


def table(stamps, keys, hidden=()):
    places = range(len(stamps))
    return PacketTable(
        np.array(stamps), np.array([place in keys for place in places]), np.array([p not in hidden for p in places])
    )


def test_only_the_groups_with_wanted_frames_are_decoded():
    assert table([0, 2, 1, 3, 5, 4, 6, 8, 7], {0, 3, 6}).runs([4]) == [range(3, 6)]


def test_neighbouring_groups_are_one_run_and_others_are_not():
    two = table(range(12), {0, 3, 6, 9})
    assert two.runs([1, 4]) == [range(0, 6)]
    assert two.runs([1, 11]) == [range(0, 3), range(9, 12)]


def test_frames_displayed_before_their_keyframe_need_the_group_before():
    open_group = table([0, 1, 4, 2, 3, 5, 8, 6, 7], {0, 2, 6})
    assert open_group.runs([4]) == [range(2, 6)]
    assert open_group.runs([7]) == [range(2, 9)]


def test_hidden_frames_are_not_counted_but_decoded():
    trimmed = table([0, 1, 2, 3], {0}, hidden={0, 1})
    assert trimmed.shown_stamps.tolist() == [2, 3]
    assert trimmed.runs([3]) == [range(0, 4)]


KINDS = {
    "long_groups.mp4": ("libx264", {}),
    "short_groups.mp4": ("libx264", {"g": "7"}),
    "open_groups.mp4": ("libx264", {"g": "7", "x264-params": "open-gop=1:bframes=3:b-adapt=0"}),
    "refreshed_in_columns.mp4": ("libx264", {"g": "10", "x264-params": "intra-refresh=1"}),
    "short_groups.mkv": ("libx264", {"g": "7"}),
    "vp9.webm": ("libvpx-vp9", {"g": "9", "lag-in-frames": "16", "auto-alt-ref": "1", "cpu-used": "8"}),
    "mpeg4.mp4": ("mpeg4", {"g": "9", "bf": "2"}),
    "mpeg4.avi": ("mpeg4", {"g": "9"}),
    "mpeg2.mpg": ("mpeg2video", {"g": "9", "bf": "2"}),
}


@pytest.fixture(scope="module", params=KINDS)
def film(request, tmp_path_factory, encode, frames):
    codec, options = KINDS[request.param]
    noise = np.random.default_rng(0).integers(-40, 40, (60, 48, 96, 3))
    pixels = frames(60)
    pixels[:, 8:] = np.clip(pixels[:, 8:] + noise[:, 8:], 0, 255)
    return encode(tmp_path_factory.mktemp("film") / request.param, pixels, codec, options=options)


@pytest.mark.parametrize("selected", [[59], [31], [6, 7, 8], [14, 13], [0, 20, 21, 58], list(range(0, 60, 11))])
def test_a_part_decodes_to_the_same_pixels_as_the_whole(film, selected):
    everything = decode_frames(film, lambda info: np.arange(info.num_frames))
    np.testing.assert_array_equal(decode_frames(film, lambda info: np.array(selected)), everything[selected])


@pytest.mark.parametrize(
    ("start", "stop"), [(0.0, 0.4), (0.36, 0.6), (1.0, 1.04), (0.71, 2.0), (2.2, 99.0), (0.0, 99.0)]
)
def test_a_span_is_the_frames_shown_in_it(film, read_numbers, start, stop):
    decoded = decode_frames(film, lambda info: np.arange(info.num_frames), span=(start, stop))
    expected = [number for number in range(60) if start <= number / 25 < stop]
    assert read_numbers(decoded) == expected


def test_an_empty_span_is_an_error(film):
    with pytest.raises(VideoError, match=r"no frame of it is shown from 7 to 8 s"):
        decode_frames(film, lambda info: np.arange(info.num_frames), span=(7, 8), name="a")


def test_the_rate_is_told(film):
    told = []
    decode_frames(film, lambda info: told.append(info.fps) or np.array([0]))
    assert told[0] == pytest.approx(25)


@pytest.mark.parametrize("file", ["short_groups.mp4", "vp9.webm"])
def test_late_frames_are_reached_without_decoding_the_early_ones(tmp_path, encode, frames, monkeypatch, file):
    codec, options = KINDS[file]
    path = encode(tmp_path / file, frames(60), codec, options=options)
    decoded = []

    def spy(stream, packets):
        decoded.extend(packets)
        yield from original(stream, packets)

    original = decoding._frames_of
    monkeypatch.setattr(decoding, "_frames_of", spy)
    decode_frames(path, lambda info: np.array([59]))
    assert 0 < len(decoded) <= 9


def test_a_span_is_read_without_the_rest_of_the_file(tmp_path, encode, frames, monkeypatch):
    path = encode(tmp_path / "a.mp4", frames(200), options={"g": "10"})
    sizes = []
    original = decoding.read_packets
    monkeypatch.setattr(decoding, "read_packets", lambda *args: sizes.append(original(*args)) or sizes[-1])
    decode_frames(path, lambda info: np.arange(info.num_frames), span=(4.0, 4.4))
    assert len(sizes[0]) <= 25


def test_a_clock_that_does_not_begin_at_zero(tmp_path, encode, frames, read_numbers):
    path = encode(tmp_path / "a.mkv", frames(20), "mpeg4", options={"g": "4"}, pts=list(range(50, 70)))
    with av.open(str(path)) as container:
        assert container.streams.video[0].start_time == 2000
    decoded = decode_frames(path, lambda info: np.arange(info.num_frames), span=(0.2, 0.4))
    assert read_numbers(decoded) == [5, 6, 7, 8, 9]
