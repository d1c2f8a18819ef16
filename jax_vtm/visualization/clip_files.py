"""A clip's groups drawn for chosen layers, and the files that hold them."""

import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jax_vtm.data import write_h264
from jax_vtm.files import atomic_write, writing
from jax_vtm.models import FactorisedEncoderViViT, PatchGroups, VideoClassifier, seen_pixels
from jax_vtm.reports import Picture
from jax_vtm.reports.merged_tokens import draw_layer
from jax_vtm.visualization.gif import gif
from jax_vtm.visualization.labelled import labelled_sheet, side_by_side
from jax_vtm.visualization.page import ShownClip
from jax_vtm.visualization.viewer import Layer

# Small pictures are enlarged by whole factors up to about so many pixels.
SHEET_WIDTH = 1024
TILE_WIDTH = 224
FILM_COLUMNS = 4


def shown_clip(
    model: VideoClassifier,
    frames: UInt8[np.ndarray, "T H W 3"],
    groups: PatchGroups,
    layers: Sequence[int],
    num_frames: int,
) -> ShownClip:
    """Draws a clip.

    Args:
        model: Whose patches the groups are of.
        frames: The whole clip.
        groups: Its groups.
        layers: That are drawn on the sheet.
        num_frames: Frames on the sheet, evenly spaced; at most all.
    """
    frames = seen_pixels(model, frames)
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(num_frames, len(frames))).round().astype(int))
    numbers = ", ".join(str(number + 1) for number in chosen)
    drawn = [
        (_layer_name(model, groups, layer + 1), draw_layer(frames, groups, layer + 1, model.patch_size)[chosen])
        for layer in layers
    ]
    return ShownClip(
        frames=frames,
        layers=[
            Layer(_layer_name(model, groups, place), groups.membership[place], groups.numbers[place])
            for place in range(groups.num_layers + 1)
        ],
        rows=[(f"input, frame{'s' if len(chosen) > 1 else ''} {numbers}", frames[chosen]), *drawn],
    )


def _layer_name(model: VideoClassifier, groups: PatchGroups, place: int) -> str:
    """Such as "after layer 5: 1637 tokens", class tokens included; place 0 is before the first layer."""
    tokens = len(groups.sizes[place])
    where = ""
    if isinstance(model, FactorisedEncoderViViT):
        tokens, where = tokens // groups.grid[0], " per time step"
    return f"{f'after layer {place - 1}' if place else 'before merging'}: {tokens} tokens{where}"


def folder_name(number: int, video_id: str) -> str:
    """A folder for a clip that any disk takes: its number, and what is plain in the video's name."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", pathlib.PurePosixPath(video_id).stem).strip("._-")[:60]
    return f"{number:02d}_{plain}" if plain else f"{number:02d}"


def write_clip(
    folder: pathlib.Path,
    model: VideoClassifier,
    clip: ShownClip,
    groups: PatchGroups,
    layers: Sequence[int],
    fps: float,
) -> None:
    """Writes the sheet, the films and the groups as numbers, each file at once.

    Raises:
        UserError: A file cannot be written.
    """
    width = clip.frames.shape[2]
    sheet = labelled_sheet(list(clip.rows), max(1, SHEET_WIDTH // (len(clip.rows[0][1]) * width)))
    with atomic_write(folder / "sheet.png") as file:
        file.write(Picture.from_array("", "", sheet).png)
    films = [("input", clip.frames)]
    places = [layer + 1 for layer in layers]
    films += [(clip.layers[place].name, draw_layer(clip.frames, groups, place, model.patch_size)) for place in places]
    film = side_by_side(films, max(1, TILE_WIDTH // width), min(FILM_COLUMNS, len(films)))
    with atomic_write(folder / "groups.gif") as file:
        file.write(gif(film, fps))
    with writing(folder / "groups.mp4"):
        write_h264(folder / "groups.mp4", film, fps)
    with atomic_write(folder / "membership.npz") as file:
        np.savez_compressed(file, **_arrays(clip, groups))


def _arrays(clip: ShownClip, groups: PatchGroups) -> dict[str, Any]:
    """Index 0 of `membership`, and `sizes/0`, are before the first layer."""
    sizes = {f"sizes/{layer}": size for layer, size in enumerate(groups.sizes)}
    return {"membership": groups.membership, "frames": clip.frames, **sizes}
