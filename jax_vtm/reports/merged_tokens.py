"""A picture of which tokens were merged, for the report."""

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
    """Draws frames of clips, each row above the same frames with every group of merged tokens in its mean colour.

    Args:
        variant: The model and what it merges.
        protocol: How the clips were normalised.
        ids: The videos that they are the first views of.
        indices: The videos' numbers in their source.
        clips: Pixels as the model takes them.
        random_seed: Of the random reductions.

    Returns:
        The picture; None where the model merges nothing.
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
        f"Frames of {' and '.join(ids)}; below each, the {tokens[-1]} groups that {where} {tokens[0]} tokens ended in "
        f"after the last layer ({variant.name}). Each group is filled with its mean colour and edged in a colour of "
        "its own; discarded tokens are black."
    )
    return Picture.from_array("What was merged", caption, sheet_of(rows))


def spread_frames(frames: UInt8[np.ndarray, "n H W 3"]) -> UInt8[np.ndarray, "k H W 3"]:
    """Takes as many frames as a row of a picture shows, from the first to the last."""
    return frames[np.linspace(0, len(frames) - 1, min(FRAMES_SHOWN, len(frames))).astype(int)]


def sheet_of(rows: Sequence[UInt8[np.ndarray, "k H W 3"]]) -> UInt8[np.ndarray, "h w 3"]:
    """Puts rows of as many frames each below each other, at a width that a page has."""
    columns = len(rows[0])
    return contact_sheet(np.concatenate(rows), columns, scale=max(1, PIXELS_WIDE // (columns * rows[0].shape[2])))


def draw_layer(
    frames: UInt8[np.ndarray, "n h w 3"], groups: PatchGroups, layer: int, patch: tuple[int, int, int]
) -> UInt8[np.ndarray, "n h w 3"]:
    """Draws a clip's groups before the first layer (0) or after one, counted from 1; see `draw_groups`."""
    scope = "frame" if groups.within_steps else "clip"
    return draw_groups(frames, groups.numbers[layer].reshape(-1), groups.grid, patch, scope=scope)
