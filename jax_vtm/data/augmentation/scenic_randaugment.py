"""RandAugment of Scenic: operations on a clip as one tall picture, with the faults that its models were trained with.

Statistics are those of the whole clip, and Sharpness blurs across the border of two frames. Contrast blends with pixels
/ 256 in place of the mean, so with white. Solarize's threshold is taken modulo 256. Cutout fills with black.

Source: tf-models-official, `augment.py`, as Scenic's `video_ops.random_augment` calls it.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

Clip = UInt8[np.ndarray, "T H W 3"]

_LUMA = np.array([0.2989, 0.5870, 0.1140], np.float32)


def _auto_contrast(clip: Clip) -> Clip:
    low, high = (bound.astype(np.float32) for bound in (clip.min((0, 1, 2)), clip.max((0, 1, 2))))
    varied = high > low
    scale = np.where(varied, np.float32(255) / np.where(varied, high - low, 1), 1)
    return _whole(clip.astype(np.float32) * scale - np.where(varied, low * scale, 0))


def _equalize(clip: Clip) -> Clip:
    return np.stack([_equalized(clip[..., colour]) for colour in range(3)], -1)


def _equalized(values: UInt8[np.ndarray, "T H W"]) -> UInt8[np.ndarray, "T H W"]:
    counts = np.bincount(values.ravel(), minlength=256)
    step = (values.size - counts[counts > 0][-1]) // 255
    if step == 0:
        return values
    table = (np.cumsum(counts) + step // 2) // step
    return np.clip(np.concatenate([[0], table[:-1]]), 0, 255).astype(np.uint8)[values]


def _posterize(clip: Clip, bits: int) -> Clip:
    return clip >> (8 - bits) << (8 - bits)


def _solarize_add(clip: Clip, added: int) -> Clip:
    return np.where(clip < 128, np.minimum(clip.astype(np.int32) + added, 255), clip).astype(np.uint8)


def _blurred(clip: Clip) -> Float32[np.ndarray, "T H W 3"]:
    tall = clip.reshape(-1, *clip.shape[2:]).astype(np.float32)
    height, width = tall.shape[:2]
    total = np.zeros_like(tall[1:-1, 1:-1])
    # TensorFlow rounds once after each product and sum, which float64 holds exactly.
    for y, x in np.ndindex(3, 3):
        weight = np.float64(np.float32(5 if (y, x) == (1, 1) else 1) / np.float32(13))
        total = (tall[y : height - 2 + y, x : width - 2 + x] * weight + total).astype(np.float32)
    tall[1:-1, 1:-1] = np.floor(np.clip(total, 0, 255))
    return tall.reshape(clip.shape)


def _cutout(clip: Clip, half: int, centre: tuple[int, int]) -> Clip:
    y, x = centre
    clip = clip.copy()
    clip[:, max(y - half, 0) : y + half, max(x - half, 0) : x + half] = 0
    return clip


def _grey(clip: Clip) -> UInt8[np.ndarray, "T H W 1"]:
    return _whole(clip.astype(np.float32) / np.float32(255) @ _LUMA * np.float32(255.5))[..., None]


def _blend(start: Shaped[np.ndarray, "*any"] | int, clip: Clip, magnitude: int) -> Clip:
    """Goes from something else to the clip and beyond it: by 0.1 to 1.9 of their difference, or more."""
    begin, factor = np.float32(start), np.float32(magnitude / 10 * 1.8 + 0.1)
    return _whole(begin + factor * (clip.astype(np.float32) - begin))


def _whole(values: Float32[np.ndarray, "*any"]) -> UInt8[np.ndarray, "*any"]:
    return np.clip(values, 0, 255).astype(np.uint8)


OPERATIONS: dict[str, Callable[[Clip, int, tuple[int, int]], Clip]] = {
    "AutoContrast": lambda clip, magnitude, centre: _auto_contrast(clip),
    "Equalize": lambda clip, magnitude, centre: _equalize(clip),
    "Invert": lambda clip, magnitude, centre: 255 - clip,
    "Posterize": lambda clip, magnitude, centre: _posterize(clip, int(magnitude / 10 * 4)),
    "Solarize": lambda clip, magnitude, centre: np.where(clip < int(magnitude / 10 * 256) % 256, clip, 255 - clip),
    "Color": lambda clip, magnitude, centre: _blend(_grey(clip), clip, magnitude),
    "Contrast": lambda clip, magnitude, centre: _blend(min(clip[..., 0].size // 256, 255), clip, magnitude),
    "Brightness": lambda clip, magnitude, centre: _blend(0, clip, magnitude),
    "Sharpness": lambda clip, magnitude, centre: _blend(_blurred(clip), clip, magnitude),
    "Cutout": lambda clip, magnitude, centre: _cutout(clip, int(magnitude / 10 * 40), centre),
    "SolarizeAdd": lambda clip, magnitude, centre: _solarize_add(clip, int(magnitude / 10 * 110)),
    "identity": lambda clip, magnitude, centre: clip,
}
"""By name, in the order in which they are drawn: (clip, magnitude, centre of Cutout) -> clip."""


def random_augment(clip: Clip, magnitude: int, layers: int, rng: np.random.Generator) -> Clip:
    """Applies `layers` operations drawn with replacement, all at the same magnitude."""
    for name in rng.choice(list(OPERATIONS), layers):
        centre = int(rng.integers(clip.shape[1])), int(rng.integers(clip.shape[2]))
        clip = OPERATIONS[name](clip, magnitude, centre)
    return clip
