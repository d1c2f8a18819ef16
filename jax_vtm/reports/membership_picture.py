"""Token groups painted over the frames they came from."""

import random
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int, UInt8

GUTTER_GREY = 128  # reads as "outside the picture" on a light and on a dark page


def group_colours(count: int) -> UInt8[np.ndarray, "G 3"]:
    """Border colours of groups `0 .. count - 1`; a group's colour does not depend on how many there are.

    The sequence is the one that Python's generator gives from seed 0, as in the PyTorch reference's pictures,
    but drawn from a generator of its own: the global one is left alone.
    """
    generator = random.Random(0)
    return np.array([[int(255 * generator.random()) for _ in range(3)] for _ in range(count)], np.uint8).reshape(
        count, 3
    )


def draw_groups(
    frames: UInt8[np.ndarray, "T H W 3"],
    membership: Int[np.ndarray, " N"],
    grid: tuple[int, int, int],
    patch: tuple[int, int, int],
    *,
    fill: Literal["mean", "none"] = "mean",
    border: bool = True,
    scope: Literal["clip", "frame"] = "clip",
) -> UInt8[np.ndarray, "T H W 3"]:
    """Paints each token group in its mean colour, with a one-pixel border in the group's own colour.

    Follows the pictures of the PyTorch reference, pixel for pixel within one level of 255. The border lies
    inside the group and inside each frame: a pixel belongs to it when one of its four neighbours in the frame
    is of another group or outside the picture.

    Args:
        frames: the clip as the model saw it, `T = t * pt`, `H = h * ph`, `W = w * pw`.
        membership: the group of each initial patch token in raster order (time, row, column), -1 for a
            discarded token, which is painted black. Of a model with a class token, leave out that token's own
            entry and keep the numbers of the other groups as they are; they choose the border colours.
        grid: tokens along time, height and width `(t, h, w)`.
        patch: frames and pixels per token `(pt, ph, pw)`.
        fill: `"mean"` paints a group's inside in its mean colour; `"none"` leaves the pixels as they are.
        border: whether to draw the borders.
        scope: `"clip"` when a number means the same group in the whole clip; `"frame"` when every temporal
            step of the grid counts its groups anew, as models that merge within frames do.

    Raises:
        ValueError: `frames` or `membership` do not fit `grid` and `patch`, or `fill` or `scope` is unknown.
    """
    if fill not in ("mean", "none") or scope not in ("clip", "frame"):
        raise ValueError(f"fill is {fill!r}, of 'mean' and 'none'; scope is {scope!r}, of 'clip' and 'frame'")
    labels = _pixel_labels(frames, membership, grid, patch)
    painted = frames.copy()
    if fill == "mean":
        groups = labels if scope == "clip" else _number_per_step(labels, patch[0])
        painted = _mean_colours(frames, groups)
    if border:
        edge = _border(labels)
        painted[edge] = group_colours(int(labels.max()) + 1)[labels[edge]]
    painted[labels < 0] = 0
    return painted


def mean_colours(
    frames: UInt8[np.ndarray, "T H W 3"],
    membership: Int[np.ndarray, " N"],
    grid: tuple[int, int, int],
    patch: tuple[int, int, int],
) -> UInt8[np.ndarray, "G 3"]:
    """The mean colour of each group `0 .. G - 1`, as `draw_groups` fills it; black for numbers without a patch.

    Args:
        frames: as for `draw_groups`, with the other arguments of the same name.
        membership: as for `draw_groups`; a number means the same group in the whole clip.
        grid: as for `draw_groups`.
        patch: as for `draw_groups`.

    Raises:
        ValueError: `frames` or `membership` do not fit `grid` and `patch`.
    """
    return _means(frames, _pixel_labels(frames, membership, grid, patch))[1:]


def draw_groups_apart(
    frames: UInt8[np.ndarray, "T H W 3"],
    membership: Int[np.ndarray, " N"],
    groups: Sequence[int],
    grid: tuple[int, int, int],
    patch: tuple[int, int, int],
) -> UInt8[np.ndarray, "G T H W 3"]:
    """Each of some groups alone on black: its inside, without the border, in its mean colour.

    The reference's pictures of this kind are darker by 225 / 255, a slip; these have full brightness.

    Args:
        frames: as for `draw_groups`, with the other arguments of the same name.
        membership: as for `draw_groups`.
        groups: numbers of the groups to show; one without a patch token gives a black picture.
        grid: as for `draw_groups`.
        patch: as for `draw_groups`.

    Raises:
        ValueError: `frames` or `membership` do not fit `grid` and `patch`.
    """
    labels = _pixel_labels(frames, membership, grid, patch)
    inside = np.where(_border(labels), -1, labels)
    means = _mean_colours(frames, labels)
    return np.stack([np.where((inside == group)[..., None], means, np.uint8(0)) for group in groups])


def contact_sheet(
    images: UInt8[np.ndarray, "n H W 3"], columns: int, *, pad: int = 2, scale: int = 1
) -> UInt8[np.ndarray, "height width 3"]:
    """Lays images out row by row on one sheet, separated (not surrounded) by a grey gutter.

    Args:
        images: pictures of one size.
        columns: pictures per row; unused places of the last row stay grey.
        pad: width of the gutter in pixels of the sheet.
        scale: every pixel becomes a square of this many pixels per side.

    Raises:
        ValueError: no images, or `columns`, `scale` below 1, or `pad` below 0.
    """
    if len(images) == 0 or columns < 1 or scale < 1 or pad < 0:
        raise ValueError(
            "a sheet needs at least one image, columns >= 1, scale >= 1 and pad >= 0; "
            f"got {len(images)} images, columns {columns}, scale {scale}, pad {pad}"
        )
    large = images.repeat(scale, axis=1).repeat(scale, axis=2)
    count, height, width, _ = large.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + pad) - pad, columns * (width + pad) - pad, 3), GUTTER_GREY, dtype=np.uint8)
    for index, image in enumerate(large):
        top, left = (index // columns) * (height + pad), (index % columns) * (width + pad)
        sheet[top : top + height, left : left + width] = image
    return sheet


def _pixel_labels(
    frames: UInt8[np.ndarray, "T H W 3"],
    membership: Int[np.ndarray, " N"],
    grid: tuple[int, int, int],
    patch: tuple[int, int, int],
) -> Int[np.ndarray, "T H W"]:
    """The group of every pixel."""
    if membership.shape != (np.prod(grid),):
        raise ValueError(
            f"membership has shape {membership.shape}; a grid of {grid} has {np.prod(grid)} patch tokens "
            "(leave the class token out)"
        )
    expected = (*(cells * size for cells, size in zip(grid, patch, strict=True)), 3)
    if frames.shape != expected or frames.dtype != np.uint8:
        raise ValueError(
            f"frames are {frames.dtype} {frames.shape}; a grid of {grid} with patches of {patch} needs uint8 {expected}"
        )
    labels = membership.reshape(grid)
    for axis, size in enumerate(patch):
        labels = labels.repeat(size, axis=axis)
    return labels


def _number_per_step(labels: Int[np.ndarray, "T H W"], step: int) -> Int[np.ndarray, "T H W"]:
    """Gives groups of different temporal steps different numbers; discarded pixels stay -1."""
    steps = np.arange(len(labels)) // step
    return np.where(labels < 0, -1, labels + steps[:, None, None] * (labels.max() + 1))


def _mean_colours(
    frames: UInt8[np.ndarray, "T H W 3"], groups: Int[np.ndarray, "T H W"]
) -> UInt8[np.ndarray, "T H W 3"]:
    """Every pixel replaced by the mean of its group's pixels."""
    return _means(frames, groups)[groups + 1]


def _means(frames: UInt8[np.ndarray, "T H W 3"], groups: Int[np.ndarray, "T H W"]) -> UInt8[np.ndarray, "G 3"]:
    """The mean colour of discarded pixels, then of each group."""
    index = groups.ravel() + 1
    counts = np.maximum(np.bincount(index), 1)
    means = np.stack([np.bincount(index, frames[..., c].ravel()) / counts for c in range(3)], axis=-1)
    return np.rint(means).astype(np.uint8)


def _border(labels: Int[np.ndarray, "T H W"]) -> Bool[np.ndarray, "T H W"]:
    """Pixels of a group with one of the four in-frame neighbours outside the group."""
    outside = -2  # no group's number, and not that of discarded tokens
    padded = np.pad(labels, ((0, 0), (1, 1), (1, 1)), constant_values=outside)
    above, below = padded[:, :-2, 1:-1], padded[:, 2:, 1:-1]
    left, right = padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]
    inside = (above == labels) & (below == labels) & (left == labels) & (right == labels)
    return ~inside & (labels >= 0)
