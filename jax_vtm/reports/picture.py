"""A picture with its words, ready for the page."""

import dataclasses
import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image


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
