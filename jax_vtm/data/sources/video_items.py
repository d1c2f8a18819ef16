"""A source of videos that are known by name when it is opened, and the classes of its heads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath

from jax_vtm.data.source import Pictures, VideoItem, entries_digest
from jax_vtm.errors import UserError


class VideoItems:
    """The videos of a folder or a list, in its order; a `VideoSource`. Absent ones show when they are decoded.

    Args:
        items: The videos.
        heads: The heads that every item has a label of.
        class_names: Names of the classes by head, where they are known.
        pictures: Finds the pictures of an item when it is asked for, since the paths of all pictures together are
            many. None for an item that is a video file.
    """

    def __init__(
        self,
        items: Sequence[VideoItem],
        heads: Sequence[str],
        class_names: Mapping[str, Sequence[str]],
        pictures: Callable[[VideoItem], Pictures | None] | None = None,
    ):
        self._items = items
        self._heads = tuple(heads)
        self._class_names = {head: tuple(names) for head, names in class_names.items()}
        self._pictures = pictures

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the labels that every item carries; empty if the videos are unlabelled."""
        return self._heads

    @property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """Names of the classes by head, where they are known."""
        return self._class_names

    def digest(self) -> str:
        """A fingerprint of the ids and labels, without looking for pictures."""
        return entries_digest((item.id, item.labels) for item in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> VideoItem:
        item = self._items[index]
        pictures = self._pictures(item) if self._pictures else None
        return item if pictures is None else replace(item, video=pictures, span=None)


def check_heads(num_classes: Mapping[str, int] | None, heads: Sequence[str], path: PathLike[str] | str) -> None:
    """Raises `UserError` if a model has other heads than a dataset."""
    if num_classes is not None and set(num_classes) != set(heads):
        raise UserError(
            f"{fspath(path)}: every video has the labels {' and '.join(heads)}, "
            f"but the model's heads are {' and '.join(num_classes) or 'none'}; choose a model of this dataset"
        )


def checked_names(
    class_names: Mapping[str, Sequence[str]] | None, num_classes: Mapping[str, int] | None
) -> dict[str, tuple[str, ...]]:
    """The given names by head, after a check that every head has as many as classes.

    Raises:
        UserError: There are more or fewer.
    """
    names = {head: tuple(given) for head, given in (class_names or {}).items()}
    for head, given in names.items():
        if num_classes and head in num_classes and len(given) != num_classes[head]:
            raise UserError(f"class names of {head!r}: found {len(given)}, expected {num_classes[head]}")
    return names


def check_all_there(names: Sequence[str], num_classes: int | None, where: str) -> None:
    """Checks names whose alphabetical order gives the classes their indices.

    Raises:
        UserError: There are more or fewer than classes.
    """
    if num_classes is not None and len(names) != num_classes:
        raise UserError(
            f"{where}: has {len(names)} classes, expected {num_classes}; an index is a class's place in the "
            "alphabetical order of all of them, so that all have to be there"
        )


def spaced(name: str) -> str:
    """A class's name with spaces for underscores, which many folders and lists have in their place."""
    return " ".join(name.replace("_", " ").split())
