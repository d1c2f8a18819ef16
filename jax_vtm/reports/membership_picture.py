"""Draws token groups over the frames of a clip.

`frames` are uint8 [T, H, W, 3], the model's input: a `grid` of (t, h, w) tokens, each a `patch` of (pt, ph, pw) frames
and pixels. `membership` [N] is the group of each initial patch token in raster order (time, row, column), -1 for a
discarded one. A class token's own entry is left out, without renumbering the groups, which choose the border colours.
Shapes that do not match raise a ValueError.
"""

import random
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int, UInt8

GUTTER_GREY = 128  # visible on light and dark pages

Frames = UInt8[np.ndarray, "T H W 3"]
Membership = Int[np.ndarray, " N"]
Labels = Int[np.ndarray, "T H W"]
Triple = tuple[int, int, int]


def group_colours(count: int) -> UInt8[np.ndarray, "G 3"]:
    """Returns the border colours of groups `0 .. count - 1`: Python's random numbers of seed 0, as in the reference."""
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
    """Fills each token group with its mean colour, and draws a one-pixel border in the group's own colour.

    Equals the PyTorch reference's pictures within one level of 255. A border pixel has one of its four neighbours in
    the frame in another group or outside the frame. Discarded tokens are black.

    Args:
        frames: See the module.
        membership: See the module.
        grid: Tokens along time, height and width.
        patch: Frames and pixels of a token.
        fill: `"mean"` fills groups with their mean colour; `"none"` keeps the pixels.
        border: Whether to draw the borders.
        scope: `"clip"` if a group number means the same group in the whole clip; `"frame"` if every time step of the
            grid has its own numbers, as in models that merge within time steps.

    Raises:
        ValueError: Shapes do not match, or `fill` or `scope` is unknown.
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
    """Returns the mean colour of each group `0 .. G - 1` of a clip; black without patches."""
    return _means(frames, _pixel_labels(frames, membership, grid, patch))[1:]


def draw_groups_apart(
    frames: Frames, membership: Membership, groups: Sequence[int], grid: Triple, patch: Triple
) -> UInt8[np.ndarray, "G T H W 3"]:
    """Draws each given group alone on black, without border, in its mean colour.

    The reference's pictures of this kind are darker, by a factor of 225 / 255.
    """
    labels = _pixel_labels(frames, membership, grid, patch)
    inside = np.where(_border(labels), -1, labels)
    means = _means(frames, labels)[labels + 1]
    return np.stack([np.where((inside == group)[..., None], means, np.uint8(0)) for group in groups])


def contact_sheet(
    images: UInt8[np.ndarray, "n H W 3"], columns: int, *, pad: int = 2, scale: int = 1
) -> UInt8[np.ndarray, "height width 3"]:
    """Lays out images of one size row by row, with a grey gutter between them.

    Args:
        images: At least one.
        columns: Images per row.
        pad: Width of the gutter in pixels.
        scale: Factor by which the images are enlarged.

    Raises:
        ValueError: No images, `columns` or `scale` below 1, or `pad` below 0.
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
    """Returns the mean colours of discarded pixels and of each group."""
    index = groups.ravel() + 1
    counts = np.maximum(np.bincount(index), 1)
    means = np.stack([np.bincount(index, frames[..., c].ravel()) / counts for c in range(3)], axis=-1)
    return np.rint(means).astype(np.uint8)


def _border(labels: Labels) -> Bool[np.ndarray, "T H W"]:
    outside = -2  # neither a group nor discarded
    padded = np.pad(labels, ((0, 0), (1, 1), (1, 1)), constant_values=outside)
    around = (padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    return np.any([other != labels for other in around], axis=0) & (labels >= 0)
