"""Resizing, cropping and scaling of frames, equal to Scenic's test-time pipeline in every grey level."""

import numpy as np
from jaxtyping import Float32, Int64, UInt8


def short_side_shape(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) of a frame scaled to a shorter side of `short_side`; the longer is rounded down."""
    return max(short_side, height * short_side // width), max(short_side, width * short_side // height)


def resize_short_side(frame: UInt8[np.ndarray, "H W 3"], short_side: int) -> UInt8[np.ndarray, "h w 3"]:
    """Scales a frame to a shorter side of `short_side` pixels; one that has it comes back as it is.

    Source: DMVR `resize_smallest`.
    """
    height, width = frame.shape[:2]
    return resize_bilinear(frame, *short_side_shape(height, width, short_side))


def resize_bilinear(frame: UInt8[np.ndarray, "H W 3"], height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Bilinear interpolation at half-pixel centres, without antialiasing, truncated to whole grey levels.

    Source: `tf.image.resize(method="bilinear")` followed by a cast to uint8. The arithmetic is float32 in
    TensorFlow's order (columns, then rows): another order rounds differently and moves single grey levels.
    """
    if frame.shape[:2] == (height, width):
        return frame
    left, right, x_weight = _neighbours(frame.shape[1], width)
    above, below, y_weight = _neighbours(frame.shape[0], height)
    values = frame.astype(np.float32)
    rows = _mix(values[:, left], values[:, right], x_weight[:, None])
    return _mix(rows[above], rows[below], y_weight[:, None, None]).astype(np.uint8)


def _neighbours(
    old_size: int, new_size: int
) -> tuple[Int64[np.ndarray, " new"], Int64[np.ndarray, " new"], Float32[np.ndarray, " new"]]:
    """For each new pixel along an axis: the two old pixels around its centre and the weight of the second."""
    scale = np.float32(old_size) / np.float32(new_size)
    centre = (np.arange(new_size, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    floor = np.floor(centre)
    first = np.maximum(floor, 0).astype(np.int64)
    second = np.minimum(np.ceil(centre), old_size - 1).astype(np.int64)
    return first, second, centre - floor


def _mix(first: np.ndarray, second: np.ndarray, weight_of_second: np.ndarray) -> np.ndarray:
    return first + (second - first) * weight_of_second


def central_crop(frames: UInt8[np.ndarray, "*any H W 3"], size: int) -> UInt8[np.ndarray, "*any size size 3"]:
    """Cuts a square of `size` pixels from the middle; an odd margin leaves its extra pixel right and below.

    Raises:
        ValueError: The frames are smaller than the crop.

    Source: `tf.image.resize_with_crop_or_pad`.
    """
    height, width = frames.shape[-3:-1]
    return _crop(frames, (height - size) // 2, (width - size) // 2, size)


def three_crops(
    frames: UInt8[np.ndarray, "*any H W 3"], size: int
) -> tuple[
    UInt8[np.ndarray, "*any size size 3"],
    UInt8[np.ndarray, "*any size size 3"],
    UInt8[np.ndarray, "*any size size 3"],
]:
    """Cuts three squares along the longer side: left, centre, right, or top, centre, bottom of a portrait.

    An odd margin leaves its extra pixel left and above the centre, unlike `central_crop`; so Scenic has it.

    Raises:
        ValueError: The frames are smaller than the crop.

    Source: Scenic, `three_spatial_crops`.
    """
    height, width = frames.shape[-3:-1]
    middle_y, middle_x = (height - size + 1) // 2, (width - size + 1) // 2
    if height > width:
        corners = (0, middle_x), (middle_y, middle_x), (height - size, middle_x)
    else:
        corners = (middle_y, 0), (middle_y, middle_x), (middle_y, width - size)
    first, second, third = (_crop(frames, y, x, size) for y, x in corners)
    return first, second, third


def _crop(frames: np.ndarray, y: int, x: int, size: int) -> np.ndarray:
    height, width = frames.shape[-3:-1]
    if size > min(height, width):
        raise ValueError(f"cannot crop {size}x{size} pixels from frames of {height}x{width} (height x width)")
    return frames[..., y : y + size, x : x + size, :]


def normalise(frames: UInt8[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Maps grey levels 0..255 to -1..1 (Scenic's zero centring)."""
    pixels = np.multiply(frames, np.float32(2 / 255), dtype=np.float32)
    pixels -= 1
    return pixels
