"""How frames are scaled, cropped and normalised, in Scenic, in PySlowFast and in VideoMAE."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from jax_vtm.data.resizing import Resizer, Shape, Window, float_resizer, opencv_resizer, truncating_resizer
from jax_vtm.data.source import VideoError

Resize = Literal["scenic", "slowfast", "videomae"]
SingleCrop = Literal["centre", "first"]
RGB = tuple[float, float, float]

HALF: RGB = (0.5, 0.5, 0.5)

# A picture of one line could otherwise be scaled until it fills the memory.
_MOST_ELONGATED = 64


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


def _extra_after(margin: int) -> int:
    return margin // 2


def _extra_before(margin: int) -> int:
    return (margin + 1) // 2


@dataclass(frozen=True)
class Geometry:
    """What a library does to frames.

    Attributes:
        shape: (height, width, short side) of a frame to its (height, width) scaled.
        resizer: Makes the function that scales.
        centre_of_one: Margin to the pixels left of, or above, a centre crop that is the only one.
        centre_of_three: The same for the middle one of three.
        words: How it rounds, for reports.
    """

    shape: Callable[[int, int, int], Shape]
    resizer: Callable[[Shape, Shape, Window], Resizer]
    centre_of_one: Callable[[int], int]
    centre_of_three: Callable[[int], int]
    words: str


GEOMETRIES: Mapping[str, Geometry] = MappingProxyType(
    {
        # DMVR `resize_smallest`, `tf.image.resize_with_crop_or_pad` and Scenic's `three_spatial_crops`.
        "scenic": Geometry(
            short_side_shape, truncating_resizer, _extra_after, _extra_before, "pixel values truncated as in TensorFlow"
        ),
        # PySlowFast `random_short_side_scale_jitter` and `uniform_crop`.
        "slowfast": Geometry(
            slowfast_short_side_shape, float_resizer, _extra_before, _extra_before, "pixel values not rounded"
        ),
        # VideoMAE `resize_clip` and the crops in its data sets' mode `test`.
        "videomae": Geometry(
            short_side_shape, opencv_resizer, _extra_after, _extra_after, "pixel values rounded as in OpenCV"
        ),
    }
)


def crop_corners(
    shape: Shape, size: int, num_crops: int, geometry: Geometry, single_crop: SingleCrop = "centre"
) -> list[tuple[int, int]]:
    """Places square crops along a frame's longer side: at its beginning, centre and end, or one of them.

    Args:
        shape: (height, width) of the frame, each at least `size`.
        size: Pixels per side of a crop.
        num_crops: 1 or 3.
        geometry: Says where the extra pixel of an odd margin goes.
        single_crop: Where a single crop lies: `centre`, or `first` for the left, in a portrait the top.

    Returns:
        (y, x) of the upper left corner of each. Along the shorter side crops are always centred.
    """
    centre = geometry.centre_of_one if num_crops == 1 and single_crop == "centre" else geometry.centre_of_three
    margin_y, margin_x = shape[0] - size, shape[1] - size
    along = max(margin_y, margin_x)
    starts = [0, centre(along), along] if num_crops == 3 else [centre(along) if single_crop == "centre" else 0]
    if margin_y > margin_x:
        return [(start, centre(margin_x)) for start in starts]
    return [(centre(margin_y), start) for start in starts]


class Framing:
    """Scales and crops the frames of one video. It belongs to one thread.

    Frames are scaled one by one, and of each only what ends up in a crop; crops are cut from all of them at once. So
    crops that overlap share their pixels up to the last moment.
    """

    def __init__(
        self,
        name: str,
        *,
        short_side: int,
        crop: int,
        num_crops: int = 1,
        single_crop: SingleCrop = "centre",
        resize: Resize = "scenic",
    ):
        """Remembers what to do; how depends on the first frame.

        Args:
            name: What error messages call the video.
            short_side: Pixels that the shorter side of the frames is scaled to.
            crop: Pixels per side of a crop; at most `short_side`.
            num_crops: 1 or 3.
            single_crop: Where a single crop lies.
            resize: Whose arithmetic is used, a key of `GEOMETRIES`.
        """
        self._name = name
        self._short_side, self._size = short_side, crop
        self._num_crops = num_crops
        self._single_crop: SingleCrop = single_crop
        self._geometry = GEOMETRIES[resize]
        self._frame_shape: Shape | None = None

    def __call__(self, frame: UInt8[np.ndarray, "H W 3"]) -> Shaped[np.ndarray, "h w 3"]:
        """Returns a frame scaled, without what is outside all crops. It may be a part of the frame's memory.

        Raises:
            VideoError: The frame is not as large as the one before, or a mere line.
        """
        shape = frame.shape[:2]
        if self._frame_shape is None:
            self._prepare(shape)
        elif shape != self._frame_shape:
            raise VideoError(self._name, "the size of its frames changes on the way")
        return self._resizer(frame)

    def crops(
        self,
        scaled: Sequence[Shaped[np.ndarray, "h w 3"]],
        out: Shaped[np.ndarray, "crops n size size 3"] | None = None,
    ) -> Shaped[np.ndarray, "crops n size size 3"]:
        """Cuts the crops out of scaled frames.

        Args:
            scaled: What calls returned.
            out: Where they are put, if not in a new array.
        """
        size = self._size
        crops = np.empty((self._num_crops, len(scaled), size, size, 3), scaled[0].dtype) if out is None else out
        if self._num_crops == 1:
            # There is nothing outside of it.
            np.stack(scaled, out=crops[0])
            return crops
        for number, frame in enumerate(scaled):
            for crop, (y, x) in zip(crops, self._corners, strict=True):
                crop[number] = frame[y : y + size, x : x + size]
        return crops

    def _prepare(self, shape: Shape) -> None:
        scaled = self._geometry.shape(*shape, self._short_side)
        if max(scaled) > _MOST_ELONGATED * min(scaled):
            raise VideoError(
                self._name,
                f"its frames have {shape[1]} x {shape[0]} pixels; one side may be {_MOST_ELONGATED} times the other, "
                "since the shorter is scaled to a size and the longer with it",
            )
        corners = crop_corners(scaled, self._size, self._num_crops, self._geometry, self._single_crop)
        top, left = (min(places) for places in zip(*corners, strict=True))
        bottom, right = (max(places) + self._size for places in zip(*corners, strict=True))
        self._resizer = self._geometry.resizer(shape, scaled, (slice(top, bottom), slice(left, right)))
        self._corners = [(y - top, x - left) for y, x in corners]
        self._frame_shape = shape


def normalise(frames: Any, mean: RGB = HALF, std: RGB = HALF, rounded: Callable[[Any], Any] = lambda product: product):
    """Computes (pixel value / 255 - mean) / std per colour, float32, of an array of NumPy's or JAX's.

    With mean and std 0.5 these are numbers in -1..1, to the bit those of Scenic's zero centring.

    Args:
        frames: uint8 or float32 [..., 3], 0..255.
        mean: Of pixel values / 255, by colour.
        std: The same for the standard deviation.
        rounded: Applied to the product, for compilers that would otherwise fuse it with the difference, so that the
            result is rounded once and not twice.
    """
    scale = (1 / (255 * np.array(std))).astype(np.float32)
    shift = (np.array(mean) / np.array(std)).astype(np.float32)
    return rounded(frames.astype(np.float32) * scale) - shift


def to_frames(pixels: Float32[np.ndarray, "*any 3"], mean: RGB = HALF, std: RGB = HALF) -> UInt8[np.ndarray, "*any 3"]:
    """Undoes `normalise`, rounded to whole pixel values."""
    frames = (pixels * np.array(std, np.float32) + np.array(mean, np.float32)) * 255
    return np.clip(np.round(frames), 0, 255).astype(np.uint8)
