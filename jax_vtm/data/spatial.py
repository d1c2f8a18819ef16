"""To what size frames are scaled, where they are cropped and how normalised, in Scenic, PySlowFast and VideoMAE."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from jax_vtm.data.resizing import Resizer, Shape, Window, float_resizer, opencv_resizer, truncating_resizer

Resize = Literal["scenic", "slowfast", "videomae"]
SingleCrop = Literal["centre", "first"]
RGB = tuple[float, float, float]

HALF: RGB = (0.5, 0.5, 0.5)


def short_side_shape(height: int, width: int, short_side: int) -> Shape:
    """(height, width) of a frame scaled to a shorter side of `short_side`; the longer is rounded down."""
    return max(short_side, height * short_side // width), max(short_side, width * short_side // height)


def slowfast_short_side_shape(height: int, width: int, short_side: int) -> Shape:
    """`short_side_shape` as PySlowFast computes it, which is sometimes one pixel less along the longer side."""
    if min(height, width) == short_side:
        return height, width
    if width < height:
        return math.floor(height / width * short_side), short_side
    return short_side, math.floor(width / height * short_side)


@dataclass(frozen=True)
class Geometry:
    """What a library does to frames.

    Attributes:
        shape: (height, width, short side) of a frame to its (height, width) scaled.
        resizer: Makes the function that scales.
        extra_before: Of an odd margin, the pixels more left of or above a centre crop: when it is the only one, and
            when it is the middle one of three.
        words: How it rounds, for reports.
    """

    shape: Callable[[int, int, int], Shape]
    resizer: Callable[[Shape, Shape, Window], Resizer]
    extra_before: tuple[int, int]
    words: str


GEOMETRIES: Mapping[str, Geometry] = MappingProxyType(
    {
        # DMVR `resize_smallest`, `tf.image.resize_with_crop_or_pad` and Scenic's `three_spatial_crops`.
        "scenic": Geometry(short_side_shape, truncating_resizer, (0, 1), "pixel values truncated as in TensorFlow"),
        # PySlowFast `random_short_side_scale_jitter` and `uniform_crop`.
        "slowfast": Geometry(slowfast_short_side_shape, float_resizer, (1, 1), "pixel values not rounded"),
        # VideoMAE `resize_clip` and the crops in its data sets' mode `test`.
        "videomae": Geometry(short_side_shape, opencv_resizer, (0, 0), "pixel values rounded as in OpenCV"),
    }
)


def crop_corners(
    shape: Shape, size: int, num_crops: int, geometry: Geometry, single_crop: SingleCrop = "centre"
) -> list[tuple[int, int]]:
    """Places crops of `size` x `size` pixels along a frame's longer side: at its beginning, centre and end, or one.

    Returns:
        (y, x) of the upper left corner of each. Along the shorter side crops are always centred.
    """
    extra = geometry.extra_before[0 if num_crops == 1 and single_crop == "centre" else 1]
    margin_y, margin_x = shape[0] - size, shape[1] - size
    along, across = max(margin_y, margin_x), (min(margin_y, margin_x) + extra) // 2
    centre = (along + extra) // 2
    starts = [0, centre, along] if num_crops == 3 else [centre if single_crop == "centre" else 0]
    return [(start, across) if margin_y > margin_x else (across, start) for start in starts]


def normalise(frames: Any, mean: RGB = HALF, std: RGB = HALF, rounded: Callable[[Any], Any] = lambda product: product):
    """Computes (pixel value / 255 - mean) / std per colour, float32, of an array of NumPy's or JAX's.

    The last axis has the colours, or columns and colours in one: [..., W, 3] or [..., W * 3]. With mean and std 0.5
    these are numbers in -1..1, to the bit those of Scenic's zero centring. `rounded` is applied to the product, for
    compilers that would otherwise fuse it with the difference, so that the result is rounded once and not twice.
    """
    scale = np.resize(1 / (255 * np.array(std)), frames.shape[-1]).astype(np.float32)
    shift = np.resize(np.array(mean) / np.array(std), frames.shape[-1]).astype(np.float32)
    return rounded(frames.astype(np.float32) * scale) - shift


def to_frames(pixels: Float32[np.ndarray, "*any 3"], mean: RGB = HALF, std: RGB = HALF) -> UInt8[np.ndarray, "*any 3"]:
    """Undoes `normalise`, rounded to whole pixel values."""
    frames = (pixels * np.array(std, np.float32) + np.array(mean, np.float32)) * 255
    return np.clip(np.round(frames), 0, 255).astype(np.uint8)
