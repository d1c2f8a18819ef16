"""What every source of videos looks like to the rest of the package."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jax_vtm.errors import UserError

EncodedVideo = bytes | str | os.PathLike[str]
"""A video as it is stored: the bytes of a whole file, or the path of one."""


class VideoError(UserError):
    """One video cannot be used; the others may well be.

    Attributes:
        name: The video's id or path.
        reason: What is wrong with it, in plain words and without the name.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(f"video {name}: {reason}")
        self.name = name
        self.reason = reason


@dataclass(frozen=True)
class VideoItem:
    """One video of a source.

    Attributes:
        id: Stable name, unique within the source; for files the POSIX path relative to the source's folder.
        video: The encoded video. It is not checked: a missing or broken file shows when it is decoded.
        labels: Class index of each of the source's heads; empty if the source is unlabelled.
    """

    id: str
    video: EncodedVideo
    labels: Mapping[str, int] = field(default_factory=dict)


@runtime_checkable
class VideoSource(Protocol):
    """A finite, ordered collection of videos; the order and the ids never change between runs.

    `__getitem__` is called from several threads at once. It raises `VideoError`, and nothing else, for a
    video that cannot be read.
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
