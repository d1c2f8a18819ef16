"""Some videos of a source, in an order of one's own."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence

from jax_vtm.data.source import VideoItem, VideoSource
from jax_vtm.data.source_digest import source_digest


@dataclasses.dataclass(frozen=True)
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
