"""Bilinear resizing of frames in the arithmetic of TensorFlow, PyTorch and OpenCV.

All three interpolate at half-pixel centres and without antialiasing; they differ in how they round. A resizer is made
for frames of one size, `old`, scaled to another, `new` (height, width); it computes the `window` of rows and columns of
the scaled frames that are wanted, and nothing else. It keeps its working memory from frame to frame, since getting
fresh memory takes longer than the arithmetic, and must not be shared between threads.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Int32, Int64, Shaped, UInt8

Shape = tuple[int, int]
Window = tuple[slice, slice]
Resizer = Callable[[UInt8[np.ndarray, "H W 3"]], Shaped[np.ndarray, "h w 3"]]

EVERYTHING: Window = (slice(None), slice(None))

# Old and new size along an axis to the places of the new pixels among the old.
Centres = Callable[[int, int], np.ndarray]
Mix = Callable[[np.ndarray, np.ndarray], np.ndarray]


def truncating_resizer(old: Shape, new: Shape, window: Window = EVERYTHING) -> Resizer:
    """Makes a resizer to uint8, every value TensorFlow's: `tf.image.resize` "bilinear", cast to uint8 as in DMVR."""
    return _float_resizer(old, new, window, np.uint8, _stepwise_centres)


def float_resizer(old: Shape, new: Shape, window: Window = EVERYTHING) -> Resizer:
    """Makes a resizer to float32 in 0..255; to uint8 if there is nothing to scale.

    Interpolation is linear, so normalising before it, as PySlowFast does, or after it is the same but for rounding.

    Source: `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.
    """
    return _float_resizer(old, new, window, np.float32, _fused_centres)


def opencv_resizer(old: Shape, new: Shape, window: Window = EVERYTHING) -> Resizer:
    """Makes a resizer to uint8, every value OpenCV's: `cv2.resize(interpolation=cv2.INTER_LINEAR)` of uint8.

    Whole numbers: columns with 11 binary digits, of which 4 are dropped; rows with 11, of which 20 in two steps.
    """
    if old == new:
        return lambda frame: frame[window]
    above, weights_below = _fixed_point_taps(old[0], new[0])
    left, weights_right = _fixed_point_taps(old[1], new[1])
    # Beyond the first and last column OpenCV uses that one alone; beyond rows it mixes one with itself, and rounds.
    weights_right[:, (left < 0) | (left >= old[1] - 1)] = [[2048], [0]]
    columns = [np.clip(left + step, 0, old[1] - 1)[window[1]] for step in (0, 1)]
    rows = [np.clip(above + step, 0, old[0] - 1)[window[0]] for step in (0, 1)]
    weights_across = [_per_colour(weights[window[1]]) for weights in weights_right]
    weights_down = [weights[window[0], None] for weights in weights_below]

    def mix_columns(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        left *= weights_across[0]
        right *= weights_across[1]
        left += right
        left >>= 4
        return left

    def mix_rows(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        for line, weights in zip((above, below), weights_down, strict=True):
            line *= weights
            line >>= 16
        above += below
        above += 2
        above >>= 2
        return above.astype(np.uint8)

    return _TwoTaps(columns, rows, np.int32, mix_columns, mix_rows)


def _float_resizer(old: Shape, new: Shape, window: Window, dtype: type, centres: Centres) -> Resizer:
    """Float32, columns before rows as in TensorFlow: another order rounds differently and moves single values."""
    if old == new:
        return lambda frame: frame[window]
    *rows, weight_below = (part[window[0]] for part in _taps(centres(old[0], new[0]), old[0]))
    *columns, weight_right = (part[window[1]] for part in _taps(centres(old[1], new[1]), old[1]))
    weights_right, weights_below = _per_colour(weight_right), weight_below[:, None]

    def mix_columns(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return _interpolate(left, right, weights_right)

    def mix_rows(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        return _interpolate(above, below, weights_below).astype(dtype)

    return _TwoTaps(columns, rows, np.float32, mix_columns, mix_rows)


class _TwoTaps:
    """Mixes two columns and then two rows into each new pixel, in `dtype`; how is said by two functions.

    These may use their arguments' memory, but the second not for its result. Rows that no new pixel needs are left out.
    RGB are taken as further columns: numpy is slow on short axes.
    """

    def __init__(
        self,
        columns: list[Int64[np.ndarray, " w"]],
        rows: list[Int64[np.ndarray, " h"]],
        dtype: type,
        mix_columns: Mix,
        mix_rows: Mix,
    ):
        self._left, self._right = (_per_colour(3 * indices) + np.tile([0, 1, 2], len(indices)) for indices in columns)
        self._used, places = np.unique(np.concatenate(rows), return_inverse=True)
        self._above, self._below = np.split(places, 2)
        self._bytes = np.empty((len(self._used), len(self._left)), np.uint8)
        self._across = np.empty((2, len(self._used), len(self._left)), dtype)
        self._down = np.empty((2, len(self._above), len(self._left)), dtype)
        self._mix_columns, self._mix_rows = mix_columns, mix_rows

    def __call__(self, frame: UInt8[np.ndarray, "H W 3"]) -> Shaped[np.ndarray, "h w 3"]:
        lines = frame.reshape(frame.shape[0], -1)
        if len(self._used) < len(lines):
            lines = lines[self._used]
        for indices, taken in zip((self._left, self._right), self._across, strict=True):
            # "clip" is faster than looking for indices that are outside; there are none.
            lines.take(indices, axis=1, out=self._bytes, mode="clip")
            taken[...] = self._bytes
        mixed = self._mix_columns(*self._across)
        for indices, taken in zip((self._above, self._below), self._down, strict=True):
            mixed.take(indices, axis=0, out=taken, mode="clip")
        return self._mix_rows(*self._down).reshape(len(self._above), -1, 3)


def _interpolate(first: np.ndarray, second: np.ndarray, weight_of_second: np.ndarray) -> np.ndarray:
    second -= first
    second *= weight_of_second
    second += first
    return second


def _stepwise_centres(old_size: int, new_size: int) -> Float32[np.ndarray, " new"]:
    """Where the new pixels' centres lie among the old ones, rounded after every operation, as in TensorFlow."""
    scale = np.float32(old_size) / np.float32(new_size)
    return (np.arange(new_size, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)


def _fused_centres(old_size: int, new_size: int) -> Float32[np.ndarray, " new"]:
    """The same, multiplied and subtracted in one operation, as PyTorch is compiled."""
    scale = np.float64(np.float32(old_size) / np.float32(new_size))
    return ((np.arange(new_size) + 0.5) * scale - 0.5).astype(np.float32)


def _taps(centre: Float32[np.ndarray, " new"], old_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each new pixel along an axis: the two old pixels around its centre and the weight of the second."""
    floor = np.floor(centre)
    first = np.maximum(floor, 0).astype(np.int64)
    second = np.minimum(np.ceil(centre), old_size - 1).astype(np.int64)
    return first, second, centre - floor


def _fixed_point_taps(old_size: int, new_size: int) -> tuple[Int64[np.ndarray, " new"], Int32[np.ndarray, "2 new"]]:
    """For each new pixel along an axis: the old pixel before its centre, and the weights of that and of the next."""
    scale = 1 / (new_size / old_size)
    centre = ((np.arange(new_size) + 0.5) * scale - 0.5).astype(np.float32)
    floor = np.floor(centre)
    weight = centre - floor
    weights = np.rint(np.stack([1 - weight, weight]) * 2048).astype(np.int32)
    return floor.astype(np.int64), weights


def _per_colour(values: np.ndarray) -> np.ndarray:
    return np.repeat(values, 3)
