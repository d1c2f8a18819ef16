"""The part of a page that shows a clip beside its token groups; `viewer.js` brings it to life.

Frames are embedded once, groups as numbers with their colours, and pictures are painted where they are looked at: so a
page of twelve layers and 32 frames stays a few megabytes.
"""

import base64
import dataclasses
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from markupsafe import Markup
from PIL import Image

from jax_vtm.reports.membership_picture import group_colours, mean_colours
from jax_vtm.reports.page import render_part

JPEG_QUALITY = 92


@dataclasses.dataclass(frozen=True)
class Layer:
    """The groups after a layer.

    Attributes:
        name: What the slider says, such as "after layer 6: 1637 tokens".
        membership: The group of each patch, -1 if discarded; a number means the same group in the whole clip.
        numbers: The number that chooses the colour of the patch's border, see `draw_groups`.
    """

    name: str
    membership: Int[np.ndarray, "t h w"]
    numbers: Int[np.ndarray, "t h w"]


def viewer(
    key: str,
    name: str,
    frames: UInt8[np.ndarray, "T H W 3"],
    layers: Sequence[Layer],
    patch: tuple[int, int, int],
    fps: float,
) -> Markup:
    """Two pictures of a frame, the clip's and its groups', sliders over layers and frames, and a strip of all times.

    Args:
        key: Begins the ids of its elements; another in each viewer of a page.
        name: The clip's, for a screen reader.
        frames: The clip, cut to what becomes patches.
        layers: From before the first to after the last, which is shown first.
        patch: Frames and pixels per patch.
        fps: Frames per second when it plays.
    """
    grid = layers[0].membership.shape
    data = {
        "grid": grid,
        "patch": patch,
        "fps": fps,
        "bits": _bits(layers),
        "frames": [frame_source(frame) for frame in frames],
        "layers": [_layer(layer, frames, patch, _bits(layers)) for layer in layers],
    }
    height, width = frames.shape[1:3]
    return render_part(
        "visualization/viewer.html.j2",
        key=key,
        name=name,
        data=_embedded(data),
        layers=layers,
        frames=len(frames),
        width=width,
        height=height,
        steps=[_frames_of_step(step, patch[0]) for step in range(grid[0])],
    )


def frame_source(frame: UInt8[np.ndarray, "H W 3"]) -> str:
    """A picture as an address that holds it: PNG, or JPEG where that is smaller."""
    image = Image.fromarray(frame)
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, format="PNG", optimize=True)
    image.save(jpeg, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    kind, data = ("png", png) if len(png.getvalue()) <= len(jpeg.getvalue()) else ("jpeg", jpeg)
    return f"data:image/{kind};base64,{_base64(data.getvalue())}"


def _layer(
    layer: Layer, frames: UInt8[np.ndarray, "T H W 3"], patch: tuple[int, int, int], bits: int
) -> dict[str, Any]:
    """A layer as JSON: the group of each patch, and of each group its colours inside and at its border."""
    flat = layer.membership.reshape(-1)
    kept = flat >= 0
    fill = mean_colours(frames, flat, layer.membership.shape, patch)
    edge = np.zeros_like(fill)
    numbers = layer.numbers.reshape(-1)[kept]
    edge[flat[kept]] = group_colours(int(numbers.max(initial=-1)) + 1)[numbers]
    return {
        "name": layer.name,
        "membership": _base64(flat.astype(f"<i{bits // 8}").tobytes()),
        "fill": _base64(fill.tobytes()),
        "edge": _base64(edge.tobytes()),
    }


def _bits(layers: Sequence[Layer]) -> int:
    """Bits per number: 16 where they suffice."""
    return 16 if max(int(layer.membership.max()) for layer in layers) < 2**15 else 32


def _frames_of_step(step: int, depth: int) -> str:
    return f"{step + 1}" if depth == 1 else f"{step * depth + 1}\N{EN DASH}{(step + 1) * depth}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _embedded(data: object) -> Markup:
    """JSON that cannot end the element that it stands in."""
    return Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"))
