"""A picture of one splice: the two clips, the spliced one, and what it was merged to."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from jax_vtm.commands.pictures import FRAMES_SHOWN, PIXELS_WIDE
from jax_vtm.data import ClipProtocol, VideoSource, load_grey_levels, splice
from jax_vtm.evaluation import Candidate
from jax_vtm.models import FactorisedTrace, Trace, groups_per_layer
from jax_vtm.reports import Picture, contact_sheet, draw_groups


def splice_picture(
    candidate: Candidate,
    protocol: ClipProtocol,
    source: VideoSource,
    host: int,
    donor: int,
    start: int,
    length: int,
) -> Picture:
    """Draws frames of both clips, of the spliced one, and its groups after the last layer.

    Args:
        candidate: The model and what it merges.
        protocol: How videos become clips.
        source: The videos.
        host: Number of the video that gets.
        donor: Number of the video that gives.
        start: First tubelet of the splice.
        length: Tubelets of it.
    """
    model = candidate.model
    items = [source[host], source[donor]]
    get, give = (load_grey_levels(item, protocol)[None, :1] for item in items)
    spliced = splice(get, give, np.array([start]), length, model.patch_size[0])
    pixels = protocol.normalise(np.concatenate([get, give, spliced])[:, 0])

    @jax.jit
    def groups(params, clip):
        rngs = {"reduction": jax.random.key(0)}
        outcome = model.apply({"params": params}, clip, trace=True, rngs=rngs)
        _, trace = cast(tuple[Any, Trace | FactorisedTrace], outcome)
        return groups_per_layer(trace, class_token=model.has_class_token)[-1][0]

    membership = np.asarray(groups(candidate.params, jnp.asarray(pixels[2:])))[0]
    of_host, of_donor, joined = (protocol.pictures(clip) for clip in pixels)
    merged = draw_groups(joined, membership, model.grid, model.patch_size)
    shown = np.linspace(0, len(joined) - 1, min(FRAMES_SHOWN, len(joined))).astype(int)
    rows = [clip[shown] for clip in (of_host, of_donor, joined, merged)]
    scale = max(1, PIXELS_WIDE // (len(shown) * rows[0].shape[2]))
    first = model.patch_size[0] * start
    caption = (
        f"Frames of {items[0].id}, of {items[1].id}, of the first with frames {first + 1} to "
        f"{first + model.patch_size[0] * length} of the second, and the groups that this clip's tokens ended in "
        f"({candidate.name}), each filled with its mean colour and edged in a colour of its own."
    )
    sheet = contact_sheet(np.concatenate(rows), len(shown), scale=scale)
    return Picture.from_array("A splice and what it was merged to", caption, sheet)
