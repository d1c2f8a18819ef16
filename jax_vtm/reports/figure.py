"""A figure that is part of a page and stands by itself: SVG in the page, PDF and PNG for papers and slides.

Colours have names. A file has their light values; in a page they are CSS variables, so that a figure follows the
reader's light or dark setting. Text stays text. The same figure gives the same bytes.
"""

import dataclasses
import io
import pathlib
import re
import warnings
from typing import Any

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup, escape
from PIL import Image

from jax_vtm.files import atomic_write

WIDTH = 3.6  # inches, a phone's width and a paper's column; wider figures are multiples of it
TEXT = 9  # points, in every figure
COLOURS = 6

# Name: light, dark. c0 to c5 are series, c0 that which others are compared with; each can be read on paper.
PALETTE = {
    "paper": ("#ffffff", "#15181c"),
    "ink": ("#1c1f23", "#e8eaec"),
    "soft": ("#565d66", "#a5adb7"),
    "rule": ("#d9dbd6", "#353b43"),
    "c0": ("#5b636d", "#a0a9b4"),
    "c1": ("#1f66b5", "#74aef0"),
    "c2": ("#b0530a", "#f0a062"),
    "c3": ("#1b7a57", "#5fc79d"),
    "c4": ("#9a3d8c", "#dc93cf"),
    "c5": ("#7a6400", "#d3b94a"),
}
LIGHT = {name: light for name, (light, _) in PALETTE.items()}

STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": TEXT,
    **dict.fromkeys(("axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"), TEXT),
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.borderaxespad": 0.0,
    "text.parse_math": False,  # a dollar in a file's name is a dollar
    **dict.fromkeys(("text.color", "axes.labelcolor"), LIGHT["ink"]),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), LIGHT["soft"]),
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["rule"],
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A drawing with its words.

    Attributes:
        name: Of its files, unique on its page.
        title: Above it in the page, and what a screen reader calls it.
        caption: Below it in the page.
        drawing: A `matplotlib.figure.Figure`.
    """

    name: str
    title: str
    caption: str
    drawing: Any

    @property
    def slug(self) -> str:
        """Its name as that of a file."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:80] or "figure"

    def svg(self) -> Markup:
        """The drawing for a page, in the page's font and colours."""
        text = self._saved("svg", {"Date": None, "Creator": None, "Format": None, "Type": None}).decode()
        text = text[text.index("<svg") :]
        for name, light in LIGHT.items():
            text = text.replace(light, f"var(--{name})")
        # What a page has no use for. Nothing is drawn beyond the axes, so nothing needs to be clipped.
        text = re.sub(r"<(metadata|style|clipPath).*?</\1>\s*", "", text, flags=re.DOTALL)
        text = re.sub(r' (xmlns(:xlink)?|version|clip-path)="[^"]*"', "", text).replace("xlink:href", "href")
        # Several drawings share a page, and ids must not meet there.
        text = re.sub(r'(\bid="|href="#)', rf"\g<1>{self.slug}-", text)
        text = text.replace("'DejaVu Sans'", "inherit").replace("stroke-linejoin: round; stroke-linecap: butt", "")
        return Markup(text.replace("<svg ", f'<svg class="plot" role="img" aria-label="{escape(self.title)}" ', 1))

    def save(self, folder: pathlib.Path) -> None:
        """Writes `NAME.pdf` and `NAME.png`."""
        metadata = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}
        for kind, said in metadata.items():
            with atomic_write(folder / f"{self.slug}.{kind}") as file:
                file.write(self._saved(kind, said))

    def _saved(self, kind: str, metadata: dict[str, None]) -> bytes:
        import matplotlib

        out = io.BytesIO()
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": self.slug}), warnings.catch_warnings():
            # Letters that the font lacks are boxes in a PDF; in the page they are text in the reader's fonts.
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            face = LIGHT["paper"] if kind == "png" else "none"
            self.drawing.savefig(out, format=kind, dpi=200, metadata=metadata, facecolor=face)
        return out.getvalue()


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG image with a title (also its text alternative) and a caption."""

    title: str
    caption: str
    png: bytes

    @classmethod
    def from_array(cls, title: str, caption: str, image: UInt8[np.ndarray, "H W 3"]) -> "Picture":
        """Encodes an RGB image."""
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG", optimize=True)
        return cls(title, caption, buffer.getvalue())

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        with Image.open(io.BytesIO(self.png)) as image:
            return image.size
