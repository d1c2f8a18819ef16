"""What every source of videos looks like to the rest of the package, its fingerprint, and a choice of its videos."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jax_vtm.errors import UserError, shown

SINGLE_HEAD = "label"
"""What the only head of a model or a data set is called: Kinetics and Something-Something have just "the label"."""


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


@runtime_checkable
class DigestedSource(Protocol):
    """A source that knows its own fingerprint: worth having where `source[i]` reads a whole video."""

    def digest(self) -> str:
        """Returns hexadecimal digits that change when the ids, their order or the labels do."""
        ...


def source_digest(source: VideoSource) -> str:
    """Computes a SHA-256 over the ids and labels of all videos, in order; their content is not looked at.

    Returns:
        64 hexadecimal digits, or whatever the source itself says, if it is a `DigestedSource`.
    """
    if isinstance(source, DigestedSource):
        return source.digest()
    return entries_digest(_entries(source))


def entries_digest(entries: Iterable[tuple[str, Mapping[str, int]]]) -> str:
    """Computes a SHA-256 over the ids and labels of videos, in order: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, labels in entries:
        digest.update(json.dumps([name, sorted(labels.items())]).encode() + b"\n")
    return digest.hexdigest()


def _entries(source: VideoSource) -> Iterator[tuple[str, Mapping[str, int]]]:
    for index in range(len(source)):
        try:
            item = source[index]
            yield item.id, item.labels
        except VideoError as error:
            yield error.name, {}


@dataclass(frozen=True)
class Rearranged:
    """A source whose video i is video `order[i]` of another one; videos may come never, once or several times.

    Attributes:
        source: The other source.
        order: Numbers in it.
    """

    source: VideoSource
    order: Sequence[int]

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the labels that every item carries."""
        return self.source.heads

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the classes by head."""
        return self.source.class_names

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> VideoItem:
        return self.source[self.order[index]]

    def digest(self) -> str:
        """Returns hexadecimal digits that change when those of the source, or the order, do."""
        return hashlib.sha256(json.dumps([source_digest(self.source), list(self.order)]).encode()).hexdigest()


def spread_evenly(source: VideoSource, count: int) -> Rearranged:
    """Takes `count` videos of a source, at equal distances from the first on.

    Args:
        source: Has at least `count` videos.
        count: At least 1.
    """
    return Rearranged(source, [index * len(source) // count for index in range(count)])
