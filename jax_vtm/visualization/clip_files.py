"""Draws a clip's groups after chosen layers, and writes their files."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from jax_vtm.data import write_h264
from jax_vtm.files import AnyPath, atomic_write, staged, writing
from jax_vtm.models import FactorisedEncoderViViT, PatchGroups, VideoClassifier, seen_pixels
from jax_vtm.reports.membership_picture import contact_sheet
from jax_vtm.reports.merged_tokens import draw_layer

# Pixels up to which small pictures are enlarged by whole factors.
SHEET_WIDTH = 1024
TILE_WIDTH = 224
VIDEO_COLUMNS = 4

PAPER, INK = (253, 253, 251), (28, 31, 35)
TEXT_SIZE, TEXT_HEIGHT = 14, 24


@dataclasses.dataclass(frozen=True)
class ShownClip:
    """A clip and its groups.

    Attributes:
        frames: The frames, cropped to whole patches.
        groups: The groups of its patches.
        names: Of `groups`' entries, such as "after layer 5: 1637 tokens", class tokens included.
        drawn: (name, frames) of the clip and of each chosen layer.
        sheet: Indices of the frames on the contact sheet.
    """

    frames: UInt8[np.ndarray, "T H W 3"]
    groups: PatchGroups
    names: Sequence[str]
    drawn: Sequence[tuple[str, UInt8[np.ndarray, "T H W 3"]]]
    sheet: Sequence[int]

    @property
    def rows(self) -> list[tuple[str, UInt8[np.ndarray, "n H W 3"]]]:
        """(name, pictures) of each row of the contact sheet."""
        numbers = ", ".join(str(number + 1) for number in self.sheet)
        (_, frames), *layers = [(name, frames[self.sheet]) for name, frames in self.drawn]
        return [(f"input, frame{'s' if len(self.sheet) > 1 else ''} {numbers}", frames), *layers]


def shown_clip(
    model: VideoClassifier,
    frames: UInt8[np.ndarray, "T H W 3"],
    groups: PatchGroups,
    layers: Sequence[int],
    num_frames: int,
) -> ShownClip:
    """Draws the groups of a clip after `layers` (from 0), with `num_frames` evenly spaced frames on the sheet."""
    frames = seen_pixels(model, frames)
    steps, where = (groups.grid[0], " per time step") if isinstance(model, FactorisedEncoderViViT) else (1, "")
    names = [
        f"{f'after layer {place - 1}' if place else 'before merging'}: {len(sizes) // steps} tokens{where}"
        for place, sizes in enumerate(groups.sizes)
    ]
    drawn = [(names[layer + 1], draw_layer(frames, groups, layer + 1, model.patch_size)) for layer in layers]
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(num_frames, len(frames))).round().astype(int)).tolist()
    return ShownClip(frames, groups, names, [("input", frames), *drawn], chosen)


def folder_name(number: int, video_id: str) -> str:
    """Returns a folder name for a clip: its number, and the plain characters of the video's name."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", pathlib.PurePosixPath(video_id).stem).strip("._-")[:60]
    return f"{number:02d}_{plain}" if plain else f"{number:02d}"


def write_clip(folder: AnyPath, clip: ShownClip, fps: float) -> None:
    """Writes `sheet.png`, `groups.gif`, `groups.mp4` and `membership.npz`."""
    width = clip.frames.shape[2]
    scale = max(1, SHEET_WIDTH // (len(clip.sheet) * width))
    rows = [with_label(contact_sheet(row, len(row), scale=scale)[None], text)[0] for text, row in clip.rows]
    with atomic_write(folder / "sheet.png") as file:
        Image.fromarray(np.concatenate(rows)).save(file, format="PNG", optimize=True)
    frames = side_by_side(clip.drawn, max(1, TILE_WIDTH // width))
    with atomic_write(folder / "groups.gif") as file:
        # Each frame has its own 256 colours; GIF counts in hundredths of a second.
        first, *others = [Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE) for frame in frames]
        duration = max(20, round(1000 / fps))
        first.save(file, format="GIF", save_all=True, append_images=others, duration=duration, loop=0)
    with writing(folder / "groups.mp4"), staged(folder / "groups.mp4") as path:
        write_h264(path, frames, fps)
    arrays: dict[str, Any] = {f"sizes/{place}": sizes for place, sizes in enumerate(clip.groups.sizes)}
    arrays |= {"membership": clip.groups.membership, "frames": clip.frames}
    with atomic_write(folder / "membership.npz") as file:
        np.savez_compressed(file, **arrays)


def with_label(images: UInt8[np.ndarray, "n H W 3"], text: str) -> UInt8[np.ndarray, "n height W 3"]:
    """Adds a line of text above each image, cut at an ellipsis if it is too long."""
    width = images.shape[2]
    font = ImageFont.load_default(TEXT_SIZE)
    shown = text
    while shown and font.getlength(shown) > width - 4:
        shown = f"{shown.removesuffix('…')[:-1]}…" if len(shown) > 1 else ""
    strip = Image.new("RGB", (width, TEXT_HEIGHT), PAPER)
    ImageDraw.Draw(strip).text((2, TEXT_HEIGHT / 2), shown, INK, font, anchor="lm")
    return np.concatenate([np.broadcast_to(np.asarray(strip), (len(images), TEXT_HEIGHT, width, 3)), images], axis=1)


def side_by_side(
    videos: Sequence[tuple[str, UInt8[np.ndarray, "T H W 3"]]], scale: int, columns: int = VIDEO_COLUMNS
) -> UInt8[np.ndarray, "T height width 3"]:
    """Tiles (text, frames) of videos of one size, enlarged by `scale`; height and width are even, as H.264 needs."""
    tiles = [with_label(frames.repeat(scale, axis=1).repeat(scale, axis=2), text) for text, frames in videos]
    frames = np.stack([contact_sheet(np.stack(images), columns) for images in zip(*tiles, strict=True)])
    odd = [(0, 0), *((0, size % 2) for size in frames.shape[1:3]), (0, 0)]
    return np.pad(frames, odd, mode="edge")
