"""A fingerprint of which videos a source has, in which order and with which labels."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, runtime_checkable

from jax_vtm.data.source import VideoError, VideoSource


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
