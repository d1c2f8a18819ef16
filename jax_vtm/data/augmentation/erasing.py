"""Random erasing: a box of noise, at the same place in all frames of a clip."""

import math

import numpy as np
from jaxtyping import Float32

_AREA = (0.02, 1 / 3)
_LOG_ASPECT = (math.log(0.3), math.log(1 / 0.3))
_TRIES = 100


def random_erasing(clip: Float32[np.ndarray, "T H W 3"], probability: float, rng: np.random.Generator) -> None:
    """Puts standard normal noise, other noise in every frame, into a box of a normalised clip, in place.

    Source: VideoMAE, `RandomErasing` in mode `pixel`.
    """
    if rng.uniform(0, 1) > probability:
        return
    if box := erased_box(clip.shape[1], clip.shape[2], rng):
        y, x, height, width = box
        noise = rng.standard_normal((len(clip), height, width, 3), np.float32)
        clip[:, y : y + height, x : x + width] = noise


def erased_box(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int] | None:
    """Draws a box (y, x, height, width) that is smaller than the frame; None when a hundred draws were larger."""
    for _ in range(_TRIES):
        pixels = rng.uniform(*_AREA) * (height * width)
        ratio = math.exp(rng.uniform(*_LOG_ASPECT))
        h, w = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if h < height and w < width:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    return None
