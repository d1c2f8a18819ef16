import json

import numpy as np
import pytest

from jax_vtm.data.sampling import (
    clip_indices,
    clip_start,
    epic_clip,
    segment_middles,
    video_clip,
    videomae_clips,
    videomae_segments,
)


@pytest.fixture(scope="module")
def records(golden):
    """What PySlowFast's functions returned."""
    found = json.loads((golden / "torch" / "preprocess.json").read_text())
    counts = {"get_start_end_idx": 40, "kinetics_pyav_sampling": 150, "ssv2_get_seq_frames_test": 18}
    assert {name: len(found[name]) for name in counts} == counts
    assert len(found["epickitchens_frames"]) == 48
    return found


@pytest.mark.parametrize("video", range(4))
def test_indices_are_scenics(golden, video):
    with np.load(golden / "scenic" / "tfrecord" / "expected.npz") as recorded:
        num_frames = len(recorded[f"{video}/decoded"])
        several, middle = recorded[f"{video}/linspace_indices"], recorded[f"{video}/middle_indices"]
    np.testing.assert_array_equal(clip_indices(num_frames, 4, 2, num_clips=4).reshape(-1), several)
    np.testing.assert_array_equal(clip_indices(num_frames, 4, 2), [middle])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((9, 4, 2), [[0, 2, 4, 6]]),
        ((10, 4, 2), [[1, 3, 5, 7]]),
        ((7, 4, 2), [[0, 2, 4, 6]]),
        ((3, 4, 2, 2, "loop"), [[0, 2, 1, 0]] * 2),
        ((3, 4, 2, 2, "clamp"), [[0, 2, 2, 2]] * 2),
        ((1, 3, 5, 2), [[0, 0, 0]] * 2),
    ],
)
def test_videos_about_as_long_as_a_clip(arguments, expected):
    np.testing.assert_array_equal(clip_indices(*arguments), expected)


@pytest.mark.parametrize("num_frames", [1, 7, 64, 65, 300, 1001])
@pytest.mark.parametrize("num_clips", [1, 2, 3, 7, 10])
def test_all_indices_are_inside_and_the_last_clip_fits(num_frames, num_clips):
    indices = clip_indices(num_frames, 32, 2, num_clips)
    assert indices.shape == (num_clips, 32)
    assert 0 <= indices.min() <= indices.max() < num_frames
    if num_clips > 1:
        assert (indices[0, 0], indices[-1, 0]) == (0, max(0, num_frames - 64))
    assert clip_indices(300, 32, 2, num_clips=4)[:, 0].tolist() == [0, 78, 157, 236]


@pytest.mark.parametrize("sampling", [clip_indices, videomae_clips])
@pytest.mark.parametrize("arguments", [(0, 4, 2, 1), (5, 0, 2, 1), (5, 4, 0, 1), (5, 4, 2, 0)])
def test_numbers_below_one_are_refused(sampling, arguments):
    with pytest.raises(ValueError, match="positive"):
        sampling(*arguments)


def test_videomae_clips_are_taken_from_strided_frames():
    # 300 frames at stride 4 are 75; five clips of 16 start at 0, 14.75, 29.5, 44.25 and 59 of these.
    clips = videomae_clips(300, 16, 4, 5)
    np.testing.assert_array_equal(clips[:, 0], [0, 56, 116, 176, 236])
    np.testing.assert_array_equal(np.diff(clips), 4)
    np.testing.assert_array_equal(videomae_clips(300, 16, 4, 1)[0, 0], 4 * 29)
    # A short video repeats its last strided frame, 8, not its last frame, 9.
    np.testing.assert_array_equal(videomae_clips(10, 5, 4, 2), [[0, 4, 8, 8, 8]] * 2)
    np.testing.assert_array_equal(videomae_clips(1, 3, 4, 5), np.zeros((5, 3)))


def test_videomae_segments_are_the_sorted_frames_alternately():
    """VideoMAE sorts the frames of both clips together and takes every other one."""
    for num_frames in range(1, 500):
        part = num_frames / 16.0
        together = sorted([int(part / 2 + part * x) for x in range(16)] + [int(part * x) for x in range(16)])
        np.testing.assert_array_equal(videomae_segments(num_frames, 16, 2), [together[0::2], together[1::2]])


def test_where_clips_start(records):
    for record in records["get_start_end_idx"]:
        if record["use_offset"]:  # in no published configuration
            continue
        size, clip_size = record["video_size"], record["clip_size"]
        start = clip_start(size, clip_size, record["clip_idx"], record["num_clips"])
        room = max(size - clip_size, 0)
        assert [start, start + clip_size - 1, start / room if room else 0.0] == record["out"], record


def test_kinetics(records):
    names = ("frames_in_video", "fps", "num_frames", "sampling_rate", "clip_idx", "num_clips")
    for record in records["kinetics_pyav_sampling"]:
        if record["has_duration"]:  # as every mp4 file has
            arguments = [record[name] for name in names]
            found = video_clip(*arguments, rate_fps=record["target_fps"], ends_at_last_frame=True)
            assert found.tolist() == record["indices"], record


def test_epic_kitchens(records):
    """Recorded are numbers of files; the action's first picture is the one after `start_frame`."""
    names = ("num_frames_action", "fps", "num_frames", "sampling_rate", "temporal_sample_index", "num_views")
    for record in records["epickitchens_frames"]:
        found = epic_clip(*(record[name] for name in names), rate_fps=record["target_fps"])
        assert (record["start_frame"] + 1 + found).tolist() == record["frame_ids"], record


def test_something_something(records):
    for record in records["ssv2_get_seq_frames_test"]:
        assert segment_middles(record["video_length"], record["num_frames"]).tolist() == record["indices"], record


def test_a_window_as_long_as_the_clip_holds_all_of_its_frames():
    # TimeSformer's clip of 8 x 32 frames: the shorter window of the paper's code ends at frame 224.
    assert video_clip(300, 30.0, 8, 32).tolist() == [0, 36, 72, 109, 145, 182, 218, 255]
    assert video_clip(300, 30.0, 8, 32, ends_at_last_frame=True).tolist()[-1] == 224
    # The second of ten clips starts at 23.6, and the first frame decoded is number 24.
    assert video_clip(300, 30.0, 16, 4, 1, 10)[:3].tolist() == [24, 28, 32]
    assert video_clip(300, 30.0, 1, 4).tolist() == epic_clip(300, 60.0, 1, 4).tolist() == [0]


@pytest.mark.parametrize("fps", [1.0, 12.0, 23.976, 60.0])
@pytest.mark.parametrize("num_frames", [1, 2, 17, 299])
def test_numbers_are_inside_the_video_and_never_fall(num_frames, fps):
    for clip in range(10):
        for found in (
            video_clip(num_frames, fps, 16, 4, clip, 10),
            video_clip(num_frames, fps, 16, 4, clip, 10, ends_at_last_frame=True),
            epic_clip(num_frames, fps, 16, 4, clip, 10),
            segment_middles(num_frames, 16),
        ):
            assert found.shape == (16,)
            assert 0 <= found.min() <= found.max() < num_frames
            assert np.all(np.diff(found) >= 0)
