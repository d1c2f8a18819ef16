from pathlib import Path

import numpy as np
import pytest

from jax_vtm.data.sampling import clip_indices, videomae_clips, videomae_segments

GOLDEN = Path(__file__).parents[1] / "golden" / "scenic" / "tfrecord" / "expected.npz"


@pytest.mark.parametrize("video", range(4))
def test_indices_are_scenics(video):
    with np.load(GOLDEN) as golden:
        num_frames = len(golden[f"{video}/decoded"])
        several, middle = golden[f"{video}/linspace_indices"], golden[f"{video}/middle_indices"]
    np.testing.assert_array_equal(clip_indices(num_frames, 4, 2, num_clips=4).reshape(-1), several)
    np.testing.assert_array_equal(clip_indices(num_frames, 4, 2), [middle])


def test_clips_span_the_video():
    offsets = clip_indices(300, 32, 2, num_clips=4)[:, 0]
    np.testing.assert_array_equal(offsets, [0, 78, 157, 236])


def test_one_frame_more_or_less_than_a_clip():
    np.testing.assert_array_equal(clip_indices(9, 4, 2), [[0, 2, 4, 6]])
    np.testing.assert_array_equal(clip_indices(10, 4, 2), [[1, 3, 5, 7]])
    np.testing.assert_array_equal(clip_indices(7, 4, 2), [[0, 2, 4, 6]])


@pytest.mark.parametrize(("pad", "expected"), [("loop", [0, 2, 1, 0]), ("clamp", [0, 2, 2, 2])])
def test_short_videos(pad, expected):
    np.testing.assert_array_equal(clip_indices(3, 4, 2, num_clips=2, pad=pad), [expected, expected])


def test_a_video_of_one_frame():
    np.testing.assert_array_equal(clip_indices(1, 3, 5, num_clips=2), np.zeros((2, 3)))


@pytest.mark.parametrize("num_frames", [1, 7, 64, 65, 300, 1001])
@pytest.mark.parametrize("num_clips", [1, 2, 3, 7, 10])
def test_all_indices_are_inside_and_the_last_clip_fits(num_frames, num_clips):
    indices = clip_indices(num_frames, 32, 2, num_clips)
    assert indices.shape == (num_clips, 32)
    assert indices.min() >= 0
    assert indices.max() < num_frames
    if num_clips > 1:
        assert indices[0, 0] == 0
        assert indices[-1, 0] == max(0, num_frames - 64)


@pytest.mark.parametrize("arguments", [(0, 4, 2, 1), (5, 0, 2, 1), (5, 4, 0, 1), (5, 4, 2, 0)])
def test_numbers_below_one_are_refused(arguments):
    with pytest.raises(ValueError, match="positive"):
        clip_indices(*arguments)


def test_videomae_clips_are_taken_from_strided_frames():
    # 300 frames at stride 4 are 75; five clips of 16 start at 0, 14.75, 29.5, 44.25 and 59 of these.
    clips = videomae_clips(300, 16, 4, 5)
    np.testing.assert_array_equal(clips[:, 0], [0, 56, 116, 176, 236])
    np.testing.assert_array_equal(np.diff(clips), 4)
    np.testing.assert_array_equal(videomae_clips(300, 16, 4, 1)[0, 0], 4 * 29)
    # A short video repeats its last strided frame, 8, not its last frame, 9.
    np.testing.assert_array_equal(videomae_clips(10, 5, 4, 2), [[0, 4, 8, 8, 8]] * 2)
    np.testing.assert_array_equal(videomae_clips(1, 3, 4, 5), np.zeros((5, 3)))


def test_videomae_segments_start_and_halve_the_parts():
    np.testing.assert_array_equal(videomae_segments(40, 4, 2), [[0, 10, 20, 30], [5, 15, 25, 35]])
    np.testing.assert_array_equal(videomae_segments(50, 4, 2), [[0, 12, 25, 37], [6, 18, 31, 43]])
    np.testing.assert_array_equal(videomae_segments(3, 4, 2), [[0, 0, 1, 2], [0, 1, 1, 2]])


def test_videomae_segments_are_the_sorted_frames_alternately():
    """VideoMAE sorts the frames of both clips together and takes every other one."""
    for num_frames in range(1, 500):
        part = num_frames / 16.0
        together = sorted([int(part / 2 + part * x) for x in range(16)] + [int(part * x) for x in range(16)])
        np.testing.assert_array_equal(videomae_segments(num_frames, 16, 2), [together[0::2], together[1::2]])


@pytest.mark.parametrize("arguments", [(0, 4, 2, 1), (5, 0, 2, 1), (5, 4, 0, 1), (5, 4, 2, 0)])
def test_videomae_refuses_numbers_below_one(arguments):
    with pytest.raises(ValueError, match="positive"):
        videomae_clips(*arguments)
