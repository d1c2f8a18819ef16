"""From frames in 0..255 to the pixels that a model takes, and back."""

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

RGB = tuple[float, float, float]

HALF: RGB = (0.5, 0.5, 0.5)


def normalise(
    frames: Shaped[np.ndarray, "*any W 3"], mean: RGB = HALF, std: RGB = HALF
) -> Float32[np.ndarray, "*any W 3"]:
    """Returns (pixel value / 255 - mean) / std per colour.

    With mean and std 0.5 these are numbers in -1..1, to the bit those of Scenic's zero centring.
    """
    if mean == std == HALF:
        pixels = np.multiply(frames, np.float32(2 / 255), dtype=np.float32)
        pixels -= 1
        return pixels
    scale, shift = scale_and_shift(mean, std)
    # numpy is slow on short axes: colours become part of the axis before.
    width = frames.shape[-2]
    lines = frames.reshape(*frames.shape[:-2], 3 * width)
    pixels = np.multiply(lines, np.tile(scale, width), dtype=np.float32)
    pixels -= np.tile(shift, width)
    return pixels.reshape(frames.shape)


def scale_and_shift(mean: RGB, std: RGB) -> tuple[Float32[np.ndarray, "3"], Float32[np.ndarray, "3"]]:
    """Returns the factor and the subtrahend, per colour, that normalise a pixel value in 0..255."""
    scale = 1 / (255 * np.array(std))
    shift = np.array(mean) / np.array(std)
    return scale.astype(np.float32), shift.astype(np.float32)


def to_frames(pixels: Float32[np.ndarray, "*any 3"], mean: RGB = HALF, std: RGB = HALF) -> UInt8[np.ndarray, "*any 3"]:
    """Undoes `normalise`, rounded to whole pixel values."""
    frames = (pixels * np.array(std, np.float32) + np.array(mean, np.float32)) * 255
    return np.clip(np.round(frames), 0, 255).astype(np.uint8)
