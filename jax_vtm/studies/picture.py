"""A picture of one splice: the two clips, the spliced one, and what it was merged to."""

import numpy as np

from jax_vtm.data import ClipProtocol, VideoSource, load_frames
from jax_vtm.evaluation import Candidate, trace_clip
from jax_vtm.models import seen_pixels
from jax_vtm.reports import Picture
from jax_vtm.reports.merged_tokens import draw_layer, sheet_of, spread_frames
from jax_vtm.studies.splicing import splice


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
    get, give = (load_frames(item, protocol)[None, :1] for item in items)
    spliced = splice(get, give, np.array([start]), length, model.patch_size[0])
    pixels = protocol.normalise(np.concatenate([get, give, spliced])[:, 0])
    groups = trace_clip(candidate, pixels[2], video=host).groups
    of_host, of_donor, joined = (seen_pixels(model, protocol.pictures(clip)) for clip in pixels)
    merged = draw_layer(joined, groups, groups.num_layers, model.patch_size)
    rows = [spread_frames(clip) for clip in (of_host, of_donor, joined, merged)]
    first = model.patch_size[0] * start
    caption = (
        f"Frames of {items[0].id}, of {items[1].id}, of the first with frames {first + 1} to "
        f"{first + model.patch_size[0] * length} of the second, and the groups that this clip's tokens ended in "
        f"({candidate.name}), each filled with its mean colour and edged in a colour of its own."
    )
    return Picture.from_array("A splice and what it was merged to", caption, sheet_of(rows))
