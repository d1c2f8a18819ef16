"""Moving pictures for places that play no videos."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def gif(frames: UInt8[np.ndarray, "T H W 3"], fps: float) -> bytes:
    """Encodes frames as a GIF that repeats for ever; each frame has the 256 colours that suit it best.

    Args:
        frames: At least one.
        fps: Frames per second; GIF counts in hundredths of a second.
    """
    images = [Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE) for frame in frames]
    file = io.BytesIO()
    images[0].save(
        file, format="GIF", save_all=True, append_images=images[1:], duration=max(20, round(1000 / fps)), loop=0
    )
    return file.getvalue()
