"""Videos to measure with: as hard to decode as real recordings, and written when they are needed."""

import os
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import UInt8

from jax_vtm.files import make_folder, writing

# In a workdir; an evaluation's own videos may be there as well, in another.
FOLDER = "benchmark_videos"


@dataclass(frozen=True)
class EncodedVideo:
    """What a video is like: its file's name, libav's encoder and options, frames per second, seconds, and pixels."""

    file: str
    codec: str
    options: dict[str, str]
    fps: int
    seconds: int
    height: int
    width: int


def written_video(video: EncodedVideo, folder: pathlib.Path) -> pathlib.Path:
    """Returns the path of a video in a folder; it is written if it is not there.

    It shows a texture that wanders under a wave of light, with noise.

    Raises:
        UserError: It cannot be written.
    """
    path = make_folder(folder) / video.file
    if path.exists():
        return path
    partial = path.with_name(f".partial.{path.name}")
    with writing(path):
        with av.open(str(partial), "w") as container:
            stream = container.add_stream(video.codec, rate=video.fps, options=video.options)
            assert isinstance(stream, VideoStream)
            stream.height, stream.width, stream.pix_fmt = video.height, video.width, "yuv420p"
            for number, pixels in enumerate(_frames(video)):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, video.fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        partial.replace(path)
    return path


def copies(path: pathlib.Path, count: int) -> pathlib.Path:
    """Returns a folder of so many links to one file.

    Raises:
        UserError: It cannot be made.
    """
    many = make_folder(path.parent / f"{count} of {path.stem}")
    with writing(many):
        for number in range(count):
            link = many / f"{number:03d}{path.suffix}"
            if not link.exists():
                os.link(path, link)
    return many


def _frames(video: EncodedVideo) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    rng = np.random.default_rng(0)
    texture = rng.normal(0, 40, (video.height, video.width)).astype(np.float32)
    for axis in (0, 1):
        texture = sum(np.roll(texture, shift, axis) for shift in range(-2, 3)) / np.sqrt(5)
    columns = np.arange(video.width)
    phase = np.arange(3)
    for number in range(video.fps * video.seconds):
        wave = 60 * np.sin((columns[:, None] + 2 * number) / 40 + phase)
        moved = np.roll(texture, (number // 2, number), (0, 1))
        noise = rng.normal(0, 4, (video.height, video.width, 3))
        yield np.clip(110 + wave + moved[..., None] + noise, 0, 255).astype(np.uint8)
