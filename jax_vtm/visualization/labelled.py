"""Pictures with a line of text above them, for files that have to explain themselves."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from jax_vtm.reports.membership_picture import contact_sheet

PAPER, INK = (253, 253, 251), (28, 31, 35)
TEXT_SIZE, TEXT_HEIGHT = 14, 24


def with_label(images: UInt8[np.ndarray, "n H W 3"], text: str) -> UInt8[np.ndarray, "n height W 3"]:
    """Puts a line of text above each of some pictures; what is wider than they are is cut at an ellipsis."""
    width = images.shape[2]
    font = ImageFont.load_default(TEXT_SIZE)
    shown = text
    while shown and font.getlength(shown) > width - 4:
        shown = f"{shown.removesuffix('…')[:-1]}…" if len(shown) > 1 else ""
    strip = Image.new("RGB", (width, TEXT_HEIGHT), PAPER)
    ImageDraw.Draw(strip).text((2, TEXT_HEIGHT / 2), shown, INK, font, anchor="lm")
    return np.concatenate([np.broadcast_to(np.asarray(strip), (len(images), TEXT_HEIGHT, width, 3)), images], axis=1)


def labelled_sheet(
    rows: list[tuple[str, UInt8[np.ndarray, "n H W 3"]]], scale: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Lays out rows of equally many pictures, each row under its text.

    Args:
        rows: (text, pictures) of each.
        scale: Every pixel becomes a square of this many pixels per side.
    """
    sheets = [(text, contact_sheet(images, len(images), scale=scale)) for text, images in rows]
    return np.concatenate([with_label(sheet[None], text)[0] for text, sheet in sheets])


def side_by_side(
    films: list[tuple[str, UInt8[np.ndarray, "T H W 3"]]], scale: int, columns: int
) -> UInt8[np.ndarray, "T height width 3"]:
    """Lays out films of one size as one, each under its text; height and width are even, as video files want them.

    Args:
        films: (text, frames) of each.
        scale: Every pixel becomes a square of this many pixels per side.
        columns: Films beside each other.
    """
    tiles = [with_label(frames.repeat(scale, axis=1).repeat(scale, axis=2), text) for text, frames in films]
    frames = np.stack([contact_sheet(np.stack(images), columns) for images in zip(*tiles, strict=True)])
    odd = [(0, 0), *((0, size % 2) for size in frames.shape[1:3]), (0, 0)]
    return np.pad(frames, odd, mode="edge")
