"""RandAugment of Scenic: operations on a clip as one tall picture, with the faults that its models were trained with.

Statistics are those of the whole clip, and Sharpness blurs across the border of two frames. Contrast blends with pixels
/ 256 in place of the mean, so with white. Solarize's threshold is taken modulo 256. Cutout fills with black.

Source: tf-models-official, `augment.py`, as Scenic's `video_ops.random_augment` calls it.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

Clip = UInt8[np.ndarray, "T H W 3"]


def auto_contrast(clip: Clip) -> Clip:
    """Stretches every colour to 0..255."""
    low, high = (bound.astype(np.float32) for bound in (clip.min((0, 1, 2)), clip.max((0, 1, 2))))
    scale = np.float32(255) / np.where(high > low, high - low, 255)
    offset = np.where(high > low, -low * scale, 0)
    return _whole(clip.astype(np.float32) * np.where(high > low, scale, 1) + offset)


def equalize(clip: Clip) -> Clip:
    """Spreads the values of every colour evenly."""
    return np.stack([_equalized(clip[..., colour]) for colour in range(3)], -1)


def _equalized(values: UInt8[np.ndarray, "T H W"]) -> UInt8[np.ndarray, "T H W"]:
    counts = np.bincount(values.ravel(), minlength=256)
    step = (values.size - counts[counts > 0][-1]) // 255
    if step == 0:
        return values
    table = (np.cumsum(counts) + step // 2) // step
    return np.clip(np.concatenate([[0], table[:-1]]), 0, 255).astype(np.uint8)[values]


def posterize(clip: Clip, bits: int) -> Clip:
    """Keeps the highest bits of every value."""
    return clip >> (8 - bits) << (8 - bits)


def solarize(clip: Clip, threshold: int) -> Clip:
    """Inverts the values from a threshold on, which is taken modulo 256."""
    return np.where(clip < threshold % 256, clip, 255 - clip)


def solarize_add(clip: Clip, added: int) -> Clip:
    """Adds to values below 128."""
    return np.where(clip < 128, np.clip(clip.astype(np.int32) + added, 0, 255).astype(np.uint8), clip)


def colour(clip: Clip, factor: float) -> Clip:
    """Moves away from the grey clip."""
    return _blend(_grey(clip)[..., None], clip, factor)


def contrast(clip: Clip, factor: float) -> Clip:
    """Moves away from a constant, which is white but for tiny clips."""
    return _blend(np.uint8(min(clip[..., 0].size / 256, 255)), clip, factor)


def brightness(clip: Clip, factor: float) -> Clip:
    """Scales every value."""
    return _blend(np.uint8(0), clip, factor)


def sharpness(clip: Clip, factor: float) -> Clip:
    """Moves away from the blurred clip."""
    tall = clip.reshape(-1, *clip.shape[2:]).astype(np.float32)
    height, width = tall.shape[:2]
    total = np.zeros_like(tall[1:-1, 1:-1])
    # TensorFlow rounds once after each product and sum, which float64 holds exactly.
    for y, x in np.ndindex(3, 3):
        weight = np.float64(np.float32(5 if (y, x) == (1, 1) else 1) / np.float32(13))
        total = (tall[y : height - 2 + y, x : width - 2 + x] * weight + total).astype(np.float32)
    tall[1:-1, 1:-1] = np.floor(np.clip(total, 0, 255))
    return _blend(tall.reshape(clip.shape), clip, factor)


def cutout(clip: Clip, half: int, centre: tuple[int, int]) -> Clip:
    """Blackens a square of 2 * `half` pixels around (y, x), as far as it is in the frame."""
    y, x = centre
    clip = clip.copy()
    clip[:, max(y - half, 0) : y + half, max(x - half, 0) : x + half] = 0
    return clip


OPERATIONS: dict[str, Callable[[Clip, int, tuple[int, int]], Clip]] = {
    "AutoContrast": lambda clip, magnitude, centre: auto_contrast(clip),
    "Equalize": lambda clip, magnitude, centre: equalize(clip),
    "Invert": lambda clip, magnitude, centre: 255 - clip,
    "Posterize": lambda clip, magnitude, centre: posterize(clip, int(magnitude / 10 * 4)),
    "Solarize": lambda clip, magnitude, centre: solarize(clip, int(magnitude / 10 * 256)),
    "Color": lambda clip, magnitude, centre: colour(clip, _factor(magnitude)),
    "Contrast": lambda clip, magnitude, centre: contrast(clip, _factor(magnitude)),
    "Brightness": lambda clip, magnitude, centre: brightness(clip, _factor(magnitude)),
    "Sharpness": lambda clip, magnitude, centre: sharpness(clip, _factor(magnitude)),
    "Cutout": lambda clip, magnitude, centre: cutout(clip, int(magnitude / 10 * 40), centre),
    "SolarizeAdd": lambda clip, magnitude, centre: solarize_add(clip, int(magnitude / 10 * 110)),
    "identity": lambda clip, magnitude, centre: clip,
}
"""By name, in the order in which they are drawn: (clip, magnitude, centre of Cutout) -> clip."""


def random_augment(clip: Clip, magnitude: int, layers: int, rng: np.random.Generator) -> Clip:
    """Applies `layers` operations drawn with replacement, all at the same magnitude."""
    for name in rng.choice(list(OPERATIONS), layers):
        centre = int(rng.integers(clip.shape[1])), int(rng.integers(clip.shape[2]))
        clip = OPERATIONS[name](clip, magnitude, centre)
    return clip


def _factor(magnitude: int) -> float:
    return magnitude / 10 * 1.8 + 0.1


def _grey(clip: Clip) -> UInt8[np.ndarray, "T H W"]:
    """TensorFlow's luma of uint8."""
    luma = clip.astype(np.float32) / np.float32(255) @ np.array([0.2989, 0.5870, 0.1140], np.float32)
    return _whole(luma * np.float32(255.5))


def _blend(other: Shaped[np.ndarray, "*any"] | np.uint8, clip: Clip, factor: float) -> Clip:
    """Goes from another clip to this one and beyond: by 0, 1 or more of their difference."""
    start = np.asarray(other, np.float32)
    return _whole(start + np.float32(factor) * (clip.astype(np.float32) - start))


def _whole(values: Float32[np.ndarray, "*any"]) -> UInt8[np.ndarray, "*any"]:
    return np.clip(values, 0, 255).astype(np.uint8)
