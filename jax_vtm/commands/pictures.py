"""A picture of which tokens were merged, for the report."""

from collections.abc import Sequence
from typing import Any, cast

import jax
import numpy as np
from jaxtyping import Float32

from jax_vtm.data import ClipProtocol
from jax_vtm.evaluation import Candidate
from jax_vtm.models import Trace
from jax_vtm.reports import Picture, contact_sheet, draw_groups

FRAMES_SHOWN = 8
PIXELS_WIDE = 1024


def merged_tokens(
    candidate: Candidate, protocol: ClipProtocol, ids: Sequence[str], clips: Float32[np.ndarray, "n T H W 3"]
) -> Picture | None:
    """Draws frames of clips, each row above the same frames with every group of merged tokens in its mean colour.

    Args:
        candidate: The model and what it merges.
        protocol: How the clips were normalised.
        ids: The videos that they are of.
        clips: Pixels as the model takes them.

    Returns:
        The picture; None where the model merges nothing.
    """
    model = candidate.model
    if model.reduction.mode == "none":
        return None

    @jax.jit
    def traced(params, video):
        rngs = {"reduction": jax.random.key(0)}
        _, trace = cast(tuple[Any, Trace], model.apply({"params": params}, video, trace=True, rngs=rngs))
        return trace.membership

    membership = np.asarray(traced(candidate.params, clips))
    # A factorised encoder groups tokens within each time index, other models over the whole clip.
    scope = "frame" if membership.ndim == 3 else "clip"
    shown = np.linspace(0, clips.shape[1] - 1, min(FRAMES_SHOWN, clips.shape[1])).astype(int)
    rows = []
    for clip, groups in zip(clips, membership, strict=True):
        frames = protocol.pictures(clip)
        # The class token is no patch; what it merged with is none of the picture's business.
        patches = groups[..., 1:] if model.has_class_token else groups
        merged = draw_groups(frames, patches.reshape(-1), model.grid, model.patch_size, scope=scope)
        rows += [frames[shown], merged[shown]]
    scale = max(1, PIXELS_WIDE // (len(shown) * clips.shape[3]))
    sheet = contact_sheet(np.concatenate(rows), len(shown), scale=scale)
    tokens = model.tokens_per_layer
    where = "each time index's" if scope == "frame" else "the clip's"
    caption = (
        f"Frames of {' and '.join(ids)}; below each, the {tokens[-1]} groups that {where} {tokens[0]} tokens ended in "
        f"after the last layer ({candidate.name}). Each group is filled with its mean colour and edged in a colour of "
        "its own; discarded tokens are black."
    )
    return Picture.from_array("What was merged", caption, sheet)
