"""The data of the interactive viewer, `viewer.js`.

Frames are embedded once, groups as numbers with colours, and the script paints them: a page of 12 layers and 32 frames
has a few megabytes.
"""

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup
from PIL import Image

from jax_vtm.models import PatchGroups
from jax_vtm.reports.membership_picture import group_colours, mean_colours

JPEG_QUALITY = 92


def viewer(
    frames: UInt8[np.ndarray, "T H W 3"],
    groups: PatchGroups,
    names: Sequence[str],
    patch: tuple[int, int, int],
    fps: float,
) -> dict[str, Any]:
    """Returns the variables of the viewer's template: sizes, names, and the script's data as JSON.

    Args:
        frames: The clip, cropped to whole patches.
        groups: From before the first to after the last layer.
        names: Labels of the layers, such as "after layer 5: 1637 tokens".
        patch: Frames and pixels per patch.
        fps: Frames per second when it plays.
    """
    layers = []
    for place, text in enumerate(names):
        membership, numbers = (of_layer[place].reshape(-1) for of_layer in (groups.membership, groups.numbers))
        kept = membership >= 0
        fill = mean_colours(frames, membership, groups.grid, patch)
        edge = np.zeros_like(fill)
        edge[membership[kept]] = group_colours(int(numbers.max(initial=-1)) + 1)[numbers[kept]]
        parts = {"membership": membership.astype("<i4"), "fill": fill, "edge": edge}
        layers.append({"name": text} | {part: _base64(values.tobytes()) for part, values in parts.items()})
    sources = [frame_source(frame) for frame in frames]
    data = {"grid": groups.grid, "patch": patch, "fps": fps, "frames": sources, "layers": layers}
    first = np.arange(groups.grid[0]) * patch[0] + 1
    return {
        # Without "<", which could end the script element.
        "data": Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")),
        "names": names,
        "frames": len(frames),
        "height": frames.shape[1],
        "width": frames.shape[2],
        "steps": [f"{one}" if patch[0] == 1 else f"{one}\N{EN DASH}{one + patch[0] - 1}" for one in first],
    }


def frame_source(frame: UInt8[np.ndarray, "H W 3"]) -> str:
    """Returns a data URL of a frame: PNG, or JPEG if that is smaller."""
    image = Image.fromarray(frame)
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, format="PNG", optimize=True)
    image.save(jpeg, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    kind, data = ("png", png) if len(png.getvalue()) <= len(jpeg.getvalue()) else ("jpeg", jpeg)
    return f"data:image/{kind};base64,{_base64(data.getvalue())}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
