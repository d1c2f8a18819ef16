"""Figures and pictures: SVG in the page, PDF and PNG in files.

In a page, colours are CSS variables, so that figures follow its light or dark mode; files have the light colours. Text
is stored as text, and the same figure gives the same bytes.
"""

import dataclasses
import io
import re
import warnings
from typing import Any

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup, escape
from PIL import Image

WIDTH = 3.6  # inches, a phone's width and a paper's column; wider figures are multiples of it
TEXT = 9  # points, in every figure
COLOURS = 6

# Light and dark colours; c0 to c5 are series, c0 the baseline.
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
    """A figure with title and caption.

    Attributes:
        name: Of its files, unique on its page.
        title: Above the figure, and for screen readers.
        caption: Below the figure.
        drawing: A `matplotlib.figure.Figure`; None if there is nothing to draw.
    """

    name: str
    title: str
    caption: str
    drawing: Any

    @property
    def slug(self) -> str:
        """File name without suffix."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:80] or "figure"

    def svg(self) -> Markup:
        """Returns the drawing as SVG with the page's font and colours."""
        text = self._rendered("svg", {"Date": None, "Creator": None, "Format": None, "Type": None}).decode()
        text = text[text.index("<svg") :]
        for name, light in LIGHT.items():
            text = text.replace(light, f"var(--{name})")
        # Nothing is drawn beyond the axes, so that clip paths are not needed.
        text = re.sub(r"<(metadata|style|clipPath).*?</\1>\s*", "", text, flags=re.DOTALL)
        text = re.sub(r' (xmlns(:xlink)?|version|clip-path)="[^"]*"', "", text).replace("xlink:href", "href")
        # Ids have to be unique on the page.
        text = re.sub(r'(\bid="|href="#)', rf"\g<1>{self.slug}-", text)
        text = text.replace("'DejaVu Sans'", "inherit").replace("stroke-linejoin: round; stroke-linecap: butt", "")
        return Markup(text.replace("<svg ", f'<svg class="plot" role="img" aria-label="{escape(self.title)}" ', 1))

    def files(self) -> dict[str, bytes]:
        """`NAME.pdf` and `NAME.png`."""
        metadata = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}
        return {f"{self.slug}.{kind}": self._rendered(kind, without) for kind, without in metadata.items()}

    def _rendered(self, kind: str, metadata: dict[str, None]) -> bytes:
        import matplotlib

        out = io.BytesIO()
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": self.slug}), warnings.catch_warnings():
            # Letters that the font lacks are boxes in a PDF, but text in the page.
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            face = LIGHT["paper"] if kind == "png" else "none"
            self.drawing.savefig(out, format=kind, dpi=200, metadata=metadata, facecolor=face)
        return out.getvalue()


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG image with its title, which is its alternative text too, and caption."""

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
