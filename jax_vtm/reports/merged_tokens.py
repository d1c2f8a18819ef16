"""Draws frames of clips and their merged tokens."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from jax_vtm.data import ClipProtocol
from jax_vtm.evaluation import Variant, trace_clip
from jax_vtm.models import FactorisedEncoderViViT, PatchGroups, seen_pixels
from jax_vtm.reports import Picture, contact_sheet, draw_groups

FRAMES_SHOWN = 8
PIXELS_WIDE = 1024


def merged_tokens(
    variant: Variant,
    protocol: ClipProtocol,
    ids: Sequence[str],
    indices: Sequence[int],
    clips: Float32[np.ndarray, "n T H W 3"],
    random_seed: int = 0,
) -> Picture | None:
    """Draws frames of clips, and below each row the same frames with every token group in its mean colour.

    Args:
        variant: The model.
        protocol: Has the clips' normalisation.
        ids: The clips' videos.
        indices: The videos' indices in their source.
        clips: Normalised pixels of the first views.
        random_seed: Of the random reductions.

    Returns:
        The picture; None if the model merges nothing.
    """
    model = variant.model
    if model.reduction.mode == "none":
        return None
    rows = []
    for index, clip in zip(indices, clips, strict=True):
        groups = trace_clip(variant, clip, random_seed=random_seed, video=index, num_views=protocol.num_views).groups
        frames = seen_pixels(model, protocol.pictures(clip))
        rows += [spread_frames(frames), spread_frames(draw_layer(frames, groups, groups.num_layers, model.patch_size))]
    tokens = model.tokens_per_layer
    where = "each time index's" if isinstance(model, FactorisedEncoderViViT) else "the clip's"
    caption = (
        f"Frames of {' and '.join(ids)}; below each, the {tokens[-1]} groups of {where} {tokens[0]} tokens after the "
        f"last layer ({variant.name}). Each group has its mean colour and a border of its own colour; discarded tokens "
        "are black."
    )
    return Picture.from_array("Merged tokens", caption, sheet_of(rows))


def spread_frames(frames: UInt8[np.ndarray, "n H W 3"]) -> UInt8[np.ndarray, "k H W 3"]:
    """Selects the frames of a row, evenly spaced."""
    return frames[np.linspace(0, len(frames) - 1, min(FRAMES_SHOWN, len(frames))).astype(int)]


def sheet_of(rows: Sequence[UInt8[np.ndarray, "k H W 3"]]) -> UInt8[np.ndarray, "h w 3"]:
    """Lays out rows of frames below each other at the width of a page."""
    columns = len(rows[0])
    return contact_sheet(np.concatenate(rows), columns, scale=max(1, PIXELS_WIDE // (columns * rows[0].shape[2])))


def draw_layer(
    frames: UInt8[np.ndarray, "n h w 3"], groups: PatchGroups, layer: int, patch: tuple[int, int, int]
) -> UInt8[np.ndarray, "n h w 3"]:
    """Draws a clip's groups before the first layer (0) or after layer `layer - 1`; see `draw_groups`."""
    scope = "frame" if groups.within_steps else "clip"
    return draw_groups(frames, groups.numbers[layer].reshape(-1), groups.grid, patch, scope=scope)
