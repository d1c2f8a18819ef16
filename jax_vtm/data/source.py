"""What every source of videos looks like to the rest of the package, its fingerprint, and a choice of its videos."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jax_vtm.errors import UserError, shown

SINGLE_HEAD = "label"
"""What the only head of a model or a data set is called: Kinetics and Something-Something have just "the label"."""

MAX_PIXELS = 8192 * 8192
"""The largest frame that is decoded; 8K video has half of it."""

VideoFile = bytes | str | os.PathLike[str]
"""A video file or a picture: the bytes of a whole one, or its path."""


@dataclass(frozen=True)
class Pictures:
    """A video that is stored as one picture per frame.

    Attributes:
        frames: The pictures in the order of display.
        fps: Frames per second, where it is known.
    """

    frames: Sequence[VideoFile]
    fps: float | None = None


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
    video: VideoFile | Pictures
    labels: Mapping[str, int] = field(default_factory=dict)
    span: tuple[float, float] | None = None


@dataclass(frozen=True)
class VideoInfo:
    """What has to be known of a video, or of the span of it that is asked for, to choose frames from it.

    Attributes:
        num_frames: At least 1.
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
    """Raises `VideoError` for frames that would fill the memory; a file may declare any size."""
    if width * height > MAX_PIXELS:
        raise VideoError(name, f"{what} would have {width} x {height} pixels, more than {MAX_PIXELS} (8192 x 8192)")


@runtime_checkable
class VideoSource(Protocol):
    """A finite, ordered collection of videos; the order and the ids never change between runs.

    `__getitem__` is called from several threads at once, or in worker processes, to which the source is pickled.
    It raises `VideoError`, and nothing else, for a video that cannot be read. A source that knows a fingerprint of its
    ids and labels without reading whole videos has `digest() -> str`.
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


def source_digest(source: VideoSource) -> str:
    """The source's own digest, or a SHA-256 over ids and labels in order, in hexadecimal digits."""
    if digest := getattr(source, "digest", None):
        return digest()

    def entry(index: int) -> tuple[str, Mapping[str, int]]:
        try:
            item = source[index]
        except VideoError as error:
            return error.name, {}
        return item.id, item.labels

    return entries_digest(map(entry, range(len(source))))


def entries_digest(entries: Iterable[tuple[str, Mapping[str, int]]]) -> str:
    """Computes a SHA-256 over the ids and labels of videos, in order: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, labels in entries:
        digest.update(json.dumps([name, sorted(labels.items())]).encode() + b"\n")
    return digest.hexdigest()


class VideoItems:
    """A `VideoSource` of videos that are known by name when it is opened; absent ones show when they are decoded.

    Args:
        items: The videos.
        heads: The heads that every item has a label of.
        class_names: Names of the classes by head, where they are known.
        fetch: Completes an item when it is asked for; the paths of all pictures together, say, are many.
    """

    def __init__(
        self,
        items: Sequence[VideoItem],
        heads: Iterable[str],
        class_names: Mapping[str, Sequence[str]],
        fetch: Callable[[VideoItem], VideoItem] | None = None,
    ):
        self._items, self._fetch = items, fetch
        self.heads = tuple(heads)
        self.class_names = {head: tuple(names) for head, names in class_names.items()}

    def digest(self) -> str:
        """A fingerprint of the ids and labels, without looking for pictures."""
        return entries_digest((item.id, item.labels) for item in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> VideoItem:
        item = self._items[index]
        return self._fetch(item) if self._fetch else item


class Rearranged:
    """A source whose video i is video `order[i]` of another one; videos may come never, once or several times."""

    def __init__(self, source: VideoSource, order: Sequence[int]):
        self.source, self.order = source, order
        self.heads, self.class_names = source.heads, source.class_names

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> VideoItem:
        return self.source[self.order[index]]

    def digest(self) -> str:
        """Returns hexadecimal digits that change when those of the source, or the order, do."""
        return hashlib.sha256(json.dumps([source_digest(self.source), list(self.order)]).encode()).hexdigest()


def spread_evenly(source: VideoSource, count: int) -> Rearranged:
    """Takes `count` of at least as many videos of a source, at equal distances from the first on."""
    return Rearranged(source, [index * len(source) // count for index in range(count)])


def without_spread(source: VideoSource, count: int) -> Rearranged:
    """Takes the videos of a source that `spread_evenly` with the same count leaves."""
    taken = {index * len(source) // count for index in range(count)}
    return Rearranged(source, [index for index in range(len(source)) if index not in taken])
