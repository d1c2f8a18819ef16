"""Which part of a frame a training clip shows, and how it is scaled to the model's size.

Each function takes the size of a video's frames, (height, width), and makes the resizers that are applied to every
frame one after the other; the last of them computes nothing but the crop.
"""

import math
from collections.abc import Sequence

import numpy as np

from jax_vtm.data.resizing import Resizer, Shape, Window, float_resizer, truncating_resizer
from jax_vtm.data.spatial import short_side_shape, slowfast_short_side_shape

Range = tuple[float, float]

_TRIES = 10


def scale_jitter(
    shape: Shape, short_side: int, size: int, scales: Sequence[float], draws: Sequence[int]
) -> list[Resizer]:
    """Scales to a short side, then height and width each by its own factor, and crops `size` x `size` pixels.

    Args:
        shape: Of the frames.
        short_side: Pixels before the jitter.
        size: Pixels per side of the crop.
        scales: Of height and width.
        draws: Whole numbers whose remainders are the crop's upper left corner.

    Source: DMVR, `resize_smallest`, `scale_jitter_augm` and `random_crop_image`; uint8 after each.
    """
    scaled = short_side_shape(*shape, short_side)
    height, width = map(jittered, scaled, scales)
    corner = [draw % (side - size + 1) for draw, side in zip(draws, (height, width), strict=True)]
    window = _square(corner[0], corner[1], size)
    return [truncating_resizer(shape, scaled), truncating_resizer(scaled, (height, width), window)]


def jittered(side: int, scale: float) -> int:
    """Returns the pixels of a side that is scaled, in DMVR's float32."""
    return int(np.float32(scale) * np.float32(side))


def short_side_jitter(shape: Shape, short_side: int, size: int, rng: np.random.Generator) -> list[Resizer]:
    """Scales to a short side and crops `size` x `size` pixels somewhere.

    Source: PySlowFast, `random_short_side_scale_jitter` and `random_crop`, where the last place is never drawn.
    """
    scaled = slowfast_short_side_shape(*shape, short_side)
    y, x = (int(rng.integers(max(side - size, 1))) for side in scaled)
    return [float_resizer(shape, scaled, _square(y, x, size))]


def jittered_side(sides: Range, inverse: bool, rng: np.random.Generator) -> int:
    """Draws a short side in pixels, evenly, or so that its inverse is even."""
    low, high = sides
    return round(1 / rng.uniform(1 / high, 1 / low)) if inverse else round(rng.uniform(low, high))


def resized_crop(shape: Shape, box: tuple[int, int, int, int], size: int) -> list[Resizer]:
    """Scales a box (y, x, height, width) of the frames to `size` x `size` pixels."""
    y, x, height, width = box
    resize = float_resizer((height, width), (size, size))
    return [lambda frame: frame[y : y + height, x : x + width], resize]


def random_box(shape: Shape, area: Range, aspect: Range, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draws a box (y, x, height, width) whose share of the frame is in `area` and width / height in `aspect`.

    After ten draws that do not fit, it is the largest in the centre whose aspect is in the range.

    Source: PySlowFast and VideoMAE, `_get_param_spatial_crop`.
    """
    height, width = shape
    for _ in range(_TRIES):
        pixels = rng.uniform(*area) * (height * width)
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    w = min(width, round(height * aspect[1]))
    h = min(height, round(width / aspect[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def _square(y: int, x: int, size: int) -> Window:
    return slice(y, y + size), slice(x, x + size)
