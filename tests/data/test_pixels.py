from pathlib import Path

import numpy as np
import pytest

from jax_vtm.data.spatial import normalise, to_frames

GOLDEN = Path(__file__).parents[1] / "golden"
COLOURS = {
    "default": ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@pytest.mark.parametrize("name", COLOURS)
def test_recorded_normalisations(name):
    with np.load(GOLDEN / "torch" / "preprocess.npz") as golden:
        frames, expected = golden["frames_thwc_uint8"], golden[f"normalised_{name}"]
    pixels = normalise(frames, *COLOURS[name])
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, expected, rtol=0, atol=5e-7)


@pytest.mark.parametrize("name", COLOURS)
def test_all_grey_levels_come_back(name):
    levels = np.arange(256, dtype=np.uint8)[:, None].repeat(3, -1)
    np.testing.assert_array_equal(to_frames(normalise(levels, *COLOURS[name]), *COLOURS[name]), levels)
    np.testing.assert_array_equal(to_frames(np.full((1, 3), -9, np.float32)), 0)


def test_fractions_of_grey_levels_are_kept():
    levels = np.array([[0.25, 100.5, 254.75]], np.float32)
    mean, std = COLOURS["imagenet"]
    np.testing.assert_allclose(normalise(levels, mean, std), (levels / 255 - mean) / std, rtol=1e-6)
