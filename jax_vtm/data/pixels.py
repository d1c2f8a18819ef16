"""From grey levels to what a model takes, and back."""

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

Colours = tuple[float, float, float]

HALF: Colours = (0.5, 0.5, 0.5)


def normalise(
    grey_levels: Shaped[np.ndarray, "*any W 3"], mean: Colours = HALF, std: Colours = HALF
) -> Float32[np.ndarray, "*any W 3"]:
    """Returns (grey level / 255 - mean) / std per colour.

    With mean and std 0.5 these are numbers in -1..1, to the bit those of Scenic's zero centring.
    """
    if mean == std == HALF:
        pixels = np.multiply(grey_levels, np.float32(2 / 255), dtype=np.float32)
        pixels -= 1
        return pixels
    scale, shift = scale_and_shift(mean, std)
    # numpy is slow on short axes: colours become part of the axis before.
    width = grey_levels.shape[-2]
    lines = grey_levels.reshape(*grey_levels.shape[:-2], 3 * width)
    pixels = np.multiply(lines, np.tile(scale, width), dtype=np.float32)
    pixels -= np.tile(shift, width)
    return pixels.reshape(grey_levels.shape)


def scale_and_shift(mean: Colours, std: Colours) -> tuple[Float32[np.ndarray, "3"], Float32[np.ndarray, "3"]]:
    """Returns the factor and the subtrahend, per colour, that normalise a grey level in 0..255."""
    scale = 1 / (255 * np.array(std))
    shift = np.array(mean) / np.array(std)
    return scale.astype(np.float32), shift.astype(np.float32)


def to_grey_levels(
    pixels: Float32[np.ndarray, "*any 3"], mean: Colours = HALF, std: Colours = HALF
) -> UInt8[np.ndarray, "*any 3"]:
    """Undoes `normalise`, rounded to whole grey levels."""
    grey_levels = (pixels * np.array(std, np.float32) + np.array(mean, np.float32)) * 255
    return np.clip(np.round(grey_levels), 0, 255).astype(np.uint8)
