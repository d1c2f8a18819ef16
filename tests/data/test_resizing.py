from pathlib import Path

import numpy as np
import pytest

from jax_vtm.data.resizing import float_resizer, opencv_resizer, truncating_resizer

GOLDEN = Path(__file__).parents[1] / "golden"
RESIZERS = [truncating_resizer, float_resizer, opencv_resizer]


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("video", range(4))
def test_truncating_is_tensorflows_in_every_grey_level(video):
    with np.load(GOLDEN / "scenic" / "tfrecord" / "expected.npz") as golden:
        clip = golden[f"{video}/decoded"][golden[f"{video}/middle_indices"]]
        expected = golden[f"{video}/resized_middle_clip"]
    resize = truncating_resizer(clip.shape[1:3], expected.shape[1:3])
    np.testing.assert_array_equal(np.stack([resize(frame) for frame in clip]), expected)


def test_opencv_is_opencvs_in_every_grey_level():
    """Recorded with cv2.resize(..., interpolation=cv2.INTER_LINEAR), opencv-python-headless 5.0.0."""
    with np.load(GOLDEN / "opencv" / "resize.npz") as golden:
        names = sorted(golden)
        assert len(names) == 8
        for name in names:
            old, new = (tuple(int(number) for number in size.split("x")) for size in name.split("_to_"))
            np.testing.assert_array_equal(opencv_resizer(old, new)(noise(*old)), golden[name], err_msg=name)


def test_larger_and_constant():
    row = np.array([[[0], [100]]], np.uint8).repeat(3, -1)
    for resizer in RESIZERS:
        np.testing.assert_array_equal(resizer((1, 2), (1, 4))(row)[0, :, 0], [0, 25, 75, 100])
        assert np.all(resizer((5, 9), (7, 4))(np.full((5, 9, 3), 255, np.uint8)) == 255)


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("size", [(37, 50), (12, 17), (23, 31)])
def test_a_window_is_a_part_of_the_whole(resizer, size):
    frame = noise(23, 31)
    window = (slice(2, 10), slice(5, 14))
    np.testing.assert_array_equal(resizer((23, 31), size, window)(frame), resizer((23, 31), size)(frame)[window])


@pytest.mark.parametrize("resizer", RESIZERS)
def test_results_are_not_overwritten_by_the_next_frame(resizer):
    resize = resizer((20, 30), (11, 13))
    first = resize(noise(20, 30))
    kept = first.copy()
    resize(noise(20, 30, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_the_three_differ_by_rounding_only():
    old, new = (60, 80), (37, 49)
    exact, whole, fixed = (
        resizer(old, new)(noise(*old)) for resizer in (float_resizer, truncating_resizer, opencv_resizer)
    )
    assert exact.dtype == np.float32
    assert whole.dtype == fixed.dtype == np.uint8
    assert np.abs(np.floor(exact) - whole).max() <= 1
    assert (np.floor(exact) == whole).mean() > 0.999
    assert np.abs(exact - fixed).max() < 1
