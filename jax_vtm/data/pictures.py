"""Decodes the wanted frames of a video that is stored as one picture per frame."""

import io
import os

import numpy as np
import simplejpeg
from jaxtyping import Shaped, UInt8
from PIL import Image

from jax_vtm.data.containers import read_file
from jax_vtm.data.decoding import Combine, Select, Transform, checked, combined
from jax_vtm.data.source import Pictures, VideoError, VideoInfo, check_size

_JPEG = b"\xff\xd8"
"""What every JPEG file begins with."""

_FORMATS = ("PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
"""What else is read; for some of its other formats PIL starts programs."""


def decode_pictures(
    video: Pictures,
    select: Select,
    *,
    fast_jpeg: bool = False,
    transform: Transform = None,
    combine: Combine = np.stack,
    name: str = "of pictures",
) -> Shaped[np.ndarray, "..."]:
    """Decodes each wanted picture once.

    JPEG decoders differ by a few levels of 255 in how they compute the inverse cosine transform. `fast_jpeg` chooses
    the fast integer transform with interpolated chroma, TensorFlow's default, and so gives the pixels that Scenic's
    models were evaluated with, bit for bit. Without it the transform is the accurate one, which PIL, OpenCV and
    TensorFlow's `INTEGER_ACCURATE` share; the two are up to 10 levels apart, 1.3 on average.

    Args:
        video: The pictures: JPEG, PNG, WebP, BMP, GIF, TIFF, PPM or JPEG 2000.
        select: As of `decode_frames`.
        fast_jpeg: Decodes JPEG as TensorFlow does by default.
        transform: As of `decode_frames`.
        combine: As of `decode_frames`.
        name: What error messages call the video.

    Raises:
        VideoError: There are no pictures, one is missing, empty, cut short, damaged or huge, or their size changes.
        ValueError: `select` returned a number outside the video.
    """
    if not video.frames:
        raise VideoError(name, "there is not a single picture in it")
    numbers = checked(select(VideoInfo(len(video.frames), video.fps)), len(video.frames))
    kept = {}
    for number in set(numbers):
        rgb = _decode(video.frames[number], number, fast_jpeg, name)
        kept[number] = rgb if transform is None else transform(rgb)
    return combined([kept[number] for number in numbers], combine, name)


def read_picture(picture: bytes | str | os.PathLike[str], index: int, name: str) -> bytes:
    """Fetches the bytes of a picture.

    Args:
        picture: The bytes, or a path.
        index: The picture's number in its video, from 0, for error messages.
        name: What error messages call the video.

    Raises:
        VideoError: The picture is missing, empty, or cannot be read.
    """
    where = _where(picture, index)
    try:
        data = picture if isinstance(picture, bytes) else read_file(picture, name)
    except VideoError as error:
        raise VideoError(name, f"{where}: {error.reason}") from error
    if not data:
        raise VideoError(name, f"{where} is empty (0 bytes)")
    return data


def _where(picture: bytes | str | os.PathLike[str], index: int) -> str:
    return f"picture {index} (counted from 0)" if isinstance(picture, bytes) else os.fspath(picture)


def _decode(
    picture: bytes | str | os.PathLike[str], index: int, fast_jpeg: bool, name: str
) -> UInt8[np.ndarray, "H W 3"]:
    data = read_picture(picture, index, name)
    where = _where(picture, index)
    try:
        if data.startswith(_JPEG):
            height, width = map(int, simplejpeg.decode_jpeg_header(data)[:2])
            check_size(width, height, name, where)
            # The same library as PIL's, in less than half the time; it refuses damage that PIL lets pass.
            return simplejpeg.decode_jpeg(data, "RGB", fastdct=fast_jpeg, fastupsample=False)
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            check_size(image.width, image.height, name, where)
            return np.asarray(image.convert("RGB"))
    except VideoError:
        raise
    except MemoryError as error:
        raise VideoError(name, f"{where} takes more memory than there is") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "cannot be read: it is cut short, damaged or no picture"
        raise VideoError(name, f"{where} {reason} ({error})") from error
