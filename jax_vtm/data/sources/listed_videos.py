"""What sources that follow a list of videos have in common."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from etils import epath

from jax_vtm.data.source import VideoItem
from jax_vtm.errors import UserError

LABEL = "label"
"""The head of datasets with one label per video."""


class ListedVideos:
    """The videos that a list names, in its order; those that are absent show when they are decoded.

    Args:
        items: The videos.
        heads: The heads that every item has a label of.
        class_names: Names of the classes by head, where they are known.
    """

    def __init__(self, items: Sequence[VideoItem], heads: Sequence[str], class_names: Mapping[str, Sequence[str]]):
        self._items = items
        self._heads = tuple(heads)
        self._class_names = {head: tuple(names) for head, names in class_names.items()}

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the labels that every item carries."""
        return self._heads

    @property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """Names of the classes by head, where they are known."""
        return self._class_names

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> VideoItem:
        return self._items[index]


def check_heads(num_classes: Mapping[str, int] | None, heads: Sequence[str], path: os.PathLike[str] | str) -> None:
    """Raises `UserError` if a model has other heads than a dataset."""
    if num_classes is not None and set(num_classes) != set(heads):
        raise UserError(
            f"{os.fspath(path)}: every video has the labels {' and '.join(heads)}, "
            f"but the model's heads are {' and '.join(num_classes) or 'none'}; choose a model of this dataset"
        )


def find_layout(folder: epath.Path, layouts: Sequence[str], videos: Iterable[Mapping[str, Any]]) -> str | None:
    """Finds out how a folder is laid out.

    Args:
        folder: Where the videos lie.
        layouts: Paths relative to it in which a video's fields are to be filled in, such as "{id}.webm".
        videos: The fields of each video.

    Returns:
        The first layout in which a video is there, asking for the videos in turn; None if none is there at all.
    """
    for fields in videos:
        for layout in layouts:
            if (folder / layout.format(**fields)).exists():
                return layout
    return None
