"""Decodes single pictures: the frames of a video that is stored as one picture per frame."""

import io
import os
from collections.abc import Mapping

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image

from jax_vtm import bucket
from jax_vtm.bucket import is_bucket
from jax_vtm.data.containers import read_file
from jax_vtm.data.source import VideoError, VideoFile, check_size
from jax_vtm.errors import UserError

_JPEG = b"\xff\xd8"
"""What every JPEG file begins with."""

_FORMATS = ("PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
"""What else is read; for some of its other formats PIL starts programs."""


def fetched(pictures: Mapping[int, VideoFile], name: str) -> dict[int, VideoFile]:
    """Reads the pictures of the video `name` that are in a bucket, all at the same time; leaves those not there."""
    remote = {n: os.fspath(one) for n, one in pictures.items() if not isinstance(one, bytes) and is_bucket(one)}
    try:
        found = zip(remote, bucket.read([*remote.values()]) if remote else (), strict=True)
    except UserError as error:
        raise VideoError(name, str(error)) from error
    return {**pictures, **{n: content for n, content in found if content is not None}}


def read_picture(picture: VideoFile, index: int, name: str) -> bytes:
    """Fetches the bytes of picture `index` of the video `name`; raises `VideoError` if there are none."""
    where = _where(picture, index)
    try:
        data = picture if isinstance(picture, bytes) else read_file(picture, name)
    except VideoError as error:
        raise VideoError(name, f"{where}: {error.reason}") from error
    if not data:
        raise VideoError(name, f"{where} is empty (0 bytes)")
    return data


def decode_picture(picture: VideoFile, index: int, fast_jpeg: bool, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """Decodes a picture to RGB.

    JPEG decoders differ by a few levels of 255 in how they compute the inverse cosine transform. `fast_jpeg` chooses
    the fast integer transform with interpolated chroma, TensorFlow's default, and so gives the pixels that Scenic's
    models were evaluated with, bit for bit. Without it the transform is the accurate one, which PIL, OpenCV and
    TensorFlow's `INTEGER_ACCURATE` share; the two are up to 10 levels apart, 1.3 on average.

    Raises:
        VideoError: The picture is missing, empty, cut short, damaged, huge, or no picture.
    """
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


def _where(picture: VideoFile, index: int) -> str:
    return f"picture {index} (counted from 0)" if isinstance(picture, bytes) else os.fspath(picture)
