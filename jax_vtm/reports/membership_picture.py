"""Token groups painted over the frames they came from.

`frames` are a clip as the model saw it, `T = t * pt`, `H = h * ph`, `W = w * pw`, of a `grid` of `(t, h, w)` tokens,
each a `patch` of `(pt, ph, pw)` frames and pixels. `membership` is the group of each initial patch token in raster
order (time, row, column), -1 for a discarded one. Of a model with a class token, leave out that token's own entry and
keep the numbers of the other groups as they are; they choose the border colours. What does not fit is a ValueError.
"""

import random
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int, UInt8

GUTTER_GREY = 128  # reads as "outside the picture" on a light and on a dark page

Frames = UInt8[np.ndarray, "T H W 3"]
Membership = Int[np.ndarray, " N"]
Labels = Int[np.ndarray, "T H W"]
Triple = tuple[int, int, int]


def group_colours(count: int) -> UInt8[np.ndarray, "G 3"]:
    """Border colours of groups `0 .. count - 1`; a group's colour does not depend on how many there are.

    The sequence is the one that Python's generator gives from seed 0, as in the PyTorch reference's pictures,
    but drawn from a generator of its own: the global one is left alone.
    """
    generator = random.Random(0)
    return np.array([int(255 * generator.random()) for _ in range(3 * count)], np.uint8).reshape(count, 3)


def draw_groups(
    frames: Frames,
    membership: Membership,
    grid: Triple,
    patch: Triple,
    *,
    fill: Literal["mean", "none"] = "mean",
    border: bool = True,
    scope: Literal["clip", "frame"] = "clip",
) -> Frames:
    """Paints each token group in its mean colour, with a one-pixel border in the group's own colour.

    Follows the pictures of the PyTorch reference, pixel for pixel within one level of 255. The border lies
    inside the group and inside each frame: a pixel belongs to it when one of its four neighbours in the frame
    is of another group or outside the picture. Discarded tokens are black.

    Args:
        frames: See the module, as for the next three.
        membership: The tokens' groups.
        grid: Tokens along time, height and width.
        patch: Frames and pixels of a token.
        fill: `"mean"` paints a group's inside in its mean colour; `"none"` leaves the pixels as they are.
        border: Whether to draw the borders.
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
        steps = np.arange(len(labels))[:, None, None] // patch[0] * (scope == "frame")
        groups = np.where(labels < 0, -1, labels + steps * (labels.max() + 1))
        painted = _means(frames, groups)[groups + 1]
    if border:
        edge = _border(labels)
        painted[edge] = group_colours(int(labels.max()) + 1)[labels[edge]]
    painted[labels < 0] = 0
    return painted


def mean_colours(frames: Frames, membership: Membership, grid: Triple, patch: Triple) -> UInt8[np.ndarray, "G 3"]:
    """The mean colour of each group `0 .. G - 1` of a clip, as `draw_groups` fills it; black where it has no patch."""
    return _means(frames, _pixel_labels(frames, membership, grid, patch))[1:]


def draw_groups_apart(
    frames: Frames, membership: Membership, groups: Sequence[int], grid: Triple, patch: Triple
) -> UInt8[np.ndarray, "G T H W 3"]:
    """Each of some groups of a clip alone on black: its inside, without the border, in its mean colour.

    The reference's pictures of this kind are darker by 225 / 255, a slip; these have full brightness.
    """
    labels = _pixel_labels(frames, membership, grid, patch)
    inside = np.where(_border(labels), -1, labels)
    means = _means(frames, labels)[labels + 1]
    return np.stack([np.where((inside == group)[..., None], means, np.uint8(0)) for group in groups])


def contact_sheet(
    images: UInt8[np.ndarray, "n H W 3"], columns: int, *, pad: int = 2, scale: int = 1
) -> UInt8[np.ndarray, "height width 3"]:
    """Lays images of one size out row by row on one sheet, separated (not surrounded) by a grey gutter.

    Args:
        images: At least one.
        columns: Pictures per row; unused places of the last row stay grey.
        pad: Width of the gutter in pixels of the sheet.
        scale: Every pixel becomes a square of this many pixels per side.

    Raises:
        ValueError: no images, or `columns`, `scale` below 1, or `pad` below 0.
    """
    if len(images) == 0 or columns < 1 or scale < 1 or pad < 0:
        raise ValueError(
            "a sheet needs at least one image, columns >= 1, scale >= 1 and pad >= 0; "
            f"got {len(images)} images, columns {columns}, scale {scale}, pad {pad}"
        )
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    large = images.repeat(scale, axis=1).repeat(scale, axis=2)
    unused = rows * columns - len(images)
    tiles = np.pad(large, [(0, unused), (0, pad), (0, pad), (0, 0)], constant_values=GUTTER_GREY)
    _, height, width, _ = tiles.shape
    sheet = tiles.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)
    return sheet[: rows * height - pad, : columns * width - pad]


def _pixel_labels(frames: Frames, membership: Membership, grid: Triple, patch: Triple) -> Labels:
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


def _means(frames: Frames, groups: Labels) -> UInt8[np.ndarray, "G 3"]:
    """The mean colour of discarded pixels, then of each group."""
    index = groups.ravel() + 1
    counts = np.maximum(np.bincount(index), 1)
    means = np.stack([np.bincount(index, frames[..., c].ravel()) / counts for c in range(3)], axis=-1)
    return np.rint(means).astype(np.uint8)


def _border(labels: Labels) -> Bool[np.ndarray, "T H W"]:
    """Pixels of a group with one of the four in-frame neighbours outside the group."""
    outside = -2  # no group's number, and not that of discarded tokens
    padded = np.pad(labels, ((0, 0), (1, 1), (1, 1)), constant_values=outside)
    around = (padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    return np.any([other != labels for other in around], axis=0) & (labels >= 0)
