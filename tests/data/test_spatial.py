from pathlib import Path

import numpy as np
import pytest

from jax_vtm.data.spatial import (
    central_crop,
    normalise,
    resize_bilinear,
    resize_short_side,
    short_side_shape,
    three_crops,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "scenic" / "tfrecord" / "expected.npz"


@pytest.mark.parametrize("video", range(4))
def test_resize_is_tensorflows_in_every_grey_level(video):
    with np.load(GOLDEN) as golden:
        clip = golden[f"{video}/decoded"][golden[f"{video}/middle_indices"]]
        expected = golden[f"{video}/resized_middle_clip"]
    np.testing.assert_array_equal(np.stack([resize_short_side(frame, 32) for frame in clip]), expected)


def test_short_side_rule():
    assert short_side_shape(240, 427, 256) == (256, 455)
    assert short_side_shape(427, 240, 256) == (455, 256)
    assert short_side_shape(256, 340, 256) == (256, 340)
    assert short_side_shape(7, 7, 3) == (3, 3)


def test_a_frame_that_fits_is_not_touched():
    frame = np.zeros((32, 40, 3), np.uint8)
    assert resize_short_side(frame, 32) is frame


def test_resize_to_larger_and_constant():
    frame = np.array([[[0], [100]]], np.uint8).repeat(3, -1)
    np.testing.assert_array_equal(resize_bilinear(frame, 1, 4)[0, :, 0], [0, 25, 75, 100])
    assert np.all(resize_bilinear(np.full((5, 9, 3), 255, np.uint8), 7, 4) == 255)


def test_central_crop_rounds_down_and_three_crops_round_up():
    row = np.broadcast_to(np.arange(10, dtype=np.uint8)[None, :, None], (5, 10, 3))
    assert central_crop(row, 5)[0, :, 0].tolist() == [2, 3, 4, 5, 6]
    assert [crop[0, 0, 0] for crop in three_crops(row, 5)] == [0, 3, 5]
    column = row.transpose(1, 0, 2)
    assert [crop[0, 0, 0] for crop in three_crops(column, 5)] == [0, 3, 5]


def test_crops_keep_leading_axes_and_reject_small_frames():
    clips = np.zeros((2, 4, 9, 8, 3), np.uint8)
    assert central_crop(clips, 7).shape == (2, 4, 7, 7, 3)
    assert [crop.shape for crop in three_crops(clips, 7)] == [(2, 4, 7, 7, 3)] * 3
    with pytest.raises(ValueError, match="9x8"):
        central_crop(clips, 9)


def test_normalise_is_scenics_bit_for_bit():
    with np.load(GOLDEN) as golden:
        expected = golden["single_view/image"]
        clips = [golden[f"{video}/resized_middle_clip"] for video in range(4)]
    views = np.stack([normalise(central_crop(clip, 27)) for clip in clips])
    assert views.dtype == np.float32
    np.testing.assert_array_equal(views, expected)
