"""RandAugment of timm and PySlowFast: operations of Pillow on whole frames, the same in all frames of a clip.

Source: timm's `rand-mM-nN-mstdS-inc1` as VideoMAE and the paper's code take it (bicubic, grey borders). Every operation
is applied with probability 0.5, at a normally distributed magnitude within 0..10: m15 and m20 both mean 10.
Motionformer draws the first frame's operations apart from the others'; here all frames have the same.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageOps

Operation = tuple[str, tuple[float, ...]]

_BORDER: dict[str, Any] = {"resample": Image.Resampling.BICUBIC, "fillcolor": (128, 128, 128)}
_PROBABILITY = 0.5
_MOST = 10.0


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, **_BORDER)


def _by_table(image: Image.Image, new_value: Callable[[int], int]) -> Image.Image:
    return image.point([new_value(value) for value in range(256)] * 3)


def _enhance(kind: Callable[[Image.Image], Any], image: Image.Image, factor: float) -> Image.Image:
    return kind(image).enhance(factor)


def _signed(most: float, share: float, sign: int) -> float:
    return sign * share * most


def _around_one(share: float, sign: int) -> float:
    return 1 + sign * share * 0.9


# The function, and from the magnitude's share of the largest and the sign -1 or 1 to its argument.
_OPERATIONS: dict[str, tuple[Callable[..., Image.Image], Callable[[float, int], float] | None]] = {
    "AutoContrast": (ImageOps.autocontrast, None),
    "Equalize": (ImageOps.equalize, None),
    "Invert": (ImageOps.invert, None),
    "Rotate": (lambda image, degrees: image.rotate(degrees, **_BORDER), functools.partial(_signed, 30)),
    # ImageOps.posterize refuses to keep no bit at all, as magnitude 10 asks for.
    "PosterizeIncreasing": (
        lambda image, bits: _by_table(image, lambda value: value >> 8 - bits << 8 - bits),
        lambda share, sign: 4 - int(share * 4),
    ),
    "SolarizeIncreasing": (ImageOps.solarize, lambda share, sign: 256 - int(share * 256)),
    "SolarizeAdd": (
        lambda image, added: _by_table(image, lambda value: min(255, value + added) if value < 128 else value),
        lambda share, sign: int(share * 110),
    ),
    "ColorIncreasing": (functools.partial(_enhance, ImageEnhance.Color), _around_one),
    "ContrastIncreasing": (functools.partial(_enhance, ImageEnhance.Contrast), _around_one),
    "BrightnessIncreasing": (functools.partial(_enhance, ImageEnhance.Brightness), _around_one),
    "SharpnessIncreasing": (functools.partial(_enhance, ImageEnhance.Sharpness), _around_one),
    "ShearX": (lambda image, factor: _affine(image, 1, factor, 0, 0, 1, 0), functools.partial(_signed, 0.3)),
    "ShearY": (lambda image, factor: _affine(image, 1, 0, 0, factor, 1, 0), functools.partial(_signed, 0.3)),
    "TranslateXRel": (
        lambda image, part: _affine(image, 1, 0, part * image.width, 0, 1, 0),
        functools.partial(_signed, 0.45),
    ),
    "TranslateYRel": (
        lambda image, part: _affine(image, 1, 0, 0, 0, 1, part * image.height),
        functools.partial(_signed, 0.45),
    ),
}

OPERATIONS = tuple(_OPERATIONS)


def operation(name: str, magnitude: float, sign: int) -> Operation:
    """Returns an operation of `OPERATIONS` with its arguments at a magnitude 0..10; `sign` is -1 or 1."""
    argument = _OPERATIONS[name][1]
    return name, (argument(magnitude / _MOST, sign),) if argument else ()


def draw_operations(magnitude: float, layers: int, spread: float, rng: np.random.Generator) -> list[Operation]:
    """Draws the operations of a clip: `layers` of them with replacement, of which each is applied or not."""
    drawn = []
    for number in rng.integers(len(OPERATIONS), size=layers):
        applied, sign = rng.uniform() < _PROBABILITY, 1 if rng.uniform() < 0.5 else -1
        strength = float(np.clip(rng.normal(magnitude, spread), 0, _MOST))
        if applied:
            drawn.append(operation(OPERATIONS[number], strength, sign))
    return drawn


def apply_operations(frame: UInt8[np.ndarray, "H W 3"], operations: Sequence[Operation]) -> UInt8[np.ndarray, "H W 3"]:
    """Applies operations one after the other."""
    if not operations:
        return frame
    image: Any = Image.fromarray(frame)
    for name, arguments in operations:
        image = _OPERATIONS[name][0](image, *arguments)
    return np.asarray(image)
