"""Decodes the wanted frames of a video that is stored as one picture per frame."""

import io
import os
from collections.abc import Callable

import numpy as np
from etils import epath
from jaxtyping import Int, Shaped, UInt8
from PIL import Image

from jax_vtm.data.source import Pictures, VideoError, VideoInfo


def decode_pictures(
    video: Pictures,
    select: Callable[[VideoInfo], Int[np.ndarray, " T"]],
    *,
    fast_jpeg: bool = False,
    transform: Callable[[UInt8[np.ndarray, "H W 3"]], np.ndarray] | None = None,
    name: str = "of pictures",
) -> Shaped[np.ndarray, "T h w 3"]:
    """Decodes each wanted picture once.

    Args:
        video: The pictures.
        select: As of `decode_frames`.
        fast_jpeg: Decodes JPEG with the fast integer transform, as TensorFlow does by default.
        transform: As of `decode_frames`.
        name: What error messages call the video.

    Raises:
        VideoError: There are no pictures, one is missing or damaged, or their size changes.
        ValueError: `select` returned a number outside the video.
    """
    if not video.frames:
        raise VideoError(name, "there is not a single picture in it")
    count = len(video.frames)
    indices = [int(index) for index in select(VideoInfo(count, video.fps))]
    if not indices or min(indices) < 0 or max(indices) >= count:
        raise ValueError(f"expected frame numbers in 0..{count - 1}, got {indices}")
    kept = {}
    for index in set(indices):
        rgb = _decode(video.frames[index], index, name)
        kept[index] = rgb if transform is None else transform(rgb)
    if len({frame.shape for frame in kept.values()}) > 1:
        raise VideoError(name, "the size of its pictures changes on the way")
    return np.stack([kept[index] for index in indices])


def _decode(picture: bytes | str | os.PathLike[str], index: int, name: str) -> UInt8[np.ndarray, "H W 3"]:
    where = f"picture {index} (counted from 0)" if isinstance(picture, bytes) else os.fspath(picture)
    try:
        data = picture if isinstance(picture, bytes) else epath.Path(picture).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise VideoError(name, f"{where} is missing") from error
    except (OSError, SyntaxError) as error:
        raise VideoError(name, f"{where} cannot be read: it is cut short, damaged or no picture") from error
