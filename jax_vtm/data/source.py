"""What every source of videos looks like to the rest of the package."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jax_vtm.errors import UserError, shown


@dataclass(frozen=True)
class Pictures:
    """A video that is stored as one picture (JPEG or PNG) per frame.

    Attributes:
        frames: The pictures in the order of display: the bytes of a file each, or its path.
        fps: Frames per second, where it is known.
    """

    frames: Sequence[bytes | str | os.PathLike[str]]
    fps: float | None = None


VideoFile = bytes | str | os.PathLike[str]
"""A video file: the bytes of a whole one, or its path."""

EncodedVideo = VideoFile | Pictures
"""A video as it is stored."""


MAX_PIXELS = 8192 * 8192
"""The largest frame that is decoded; 8K video has half of it."""


@dataclass(frozen=True)
class VideoInfo:
    """What has to be known of a video to choose frames from it.

    Attributes:
        num_frames: Frames of the video, or of the span of it that is asked for; at least 1.
        fps: Frames per second, on average; None where it is not known.
    """

    num_frames: int
    fps: float | None = None


class VideoError(UserError):
    """One video cannot be used; the others may well be.

    Attributes:
        name: The video's id or path.
        reason: What is wrong with it, in plain words and without the name.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(shown(f"video {name}: {reason}"))
        self.name = name
        self.reason = shown(reason)


def check_size(width: int, height: int, name: str, what: str) -> None:
    """Refuses frames that would fill the memory, before there is room made for them: a file may declare any size.

    Args:
        width: In pixels, as the file says.
        height: The same.
        name: What error messages call the video.
        what: What they call its frame.

    Raises:
        VideoError: There are more than `MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise VideoError(name, f"{what} would have {width} x {height} pixels, more than {MAX_PIXELS} (8192 x 8192)")


@dataclass(frozen=True)
class VideoItem:
    """One video of a source.

    Attributes:
        id: Stable name, unique within the source; for files the POSIX path relative to the source's folder.
        video: The encoded video. It is not checked: a missing or broken file shows when it is decoded.
        labels: Class index of each of the source's heads; empty if the source is unlabelled.
        span: (start, stop) in seconds, if only that part of the video file is meant: the frames shown at
            start <= time < stop.
    """

    id: str
    video: EncodedVideo
    labels: Mapping[str, int] = field(default_factory=dict)
    span: tuple[float, float] | None = None


@runtime_checkable
class VideoSource(Protocol):
    """A finite, ordered collection of videos; the order and the ids never change between runs.

    `__getitem__` is called from several threads at once, or in worker processes, to which the source is pickled.
    It raises `VideoError`, and nothing else, for a video that cannot be read.
    """

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the labels that every item carries; empty if the source is unlabelled."""
        ...

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the classes by head, in the order of their indices; heads without names are absent."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> VideoItem: ...
