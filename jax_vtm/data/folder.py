"""A folder of video files, with or without a list of labels."""

import os
from collections.abc import Iterator, Mapping, Sequence

from etils import epath

from jax_vtm.data.annotations import first_of, read_annotations
from jax_vtm.data.source import VideoItem
from jax_vtm.errors import UserError

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


class VideoFolder:
    """Every video file below a folder, sorted by id; a `VideoSource`.

    A video's id is its path relative to the folder, with forward slashes and its suffix. Files and folders
    whose names begin with a dot are left out, symbolic links are followed.

    Labels come from a csv file with the header `video,<head>[,<head>...]`: ids, then class indices or names.
    It has to have exactly one row for each video.

    Args:
        path: The folder; anything that epath understands.
        labels: The csv file. By default `labels.csv` in the folder; if there is none, the videos are
            unlabelled.
        num_classes: Number of classes of each head of the model; without it indices go unchecked.
        class_names: Names of the classes by head, in the order of the indices.

    Raises:
        UserError: The folder is missing or holds no videos, the csv file does not fit it, or there are more
            or fewer class names than classes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        labels: str | os.PathLike[str] | None = None,
        num_classes: Mapping[str, int] | None = None,
        class_names: Mapping[str, Sequence[str]] | None = None,
    ):
        self._path = epath.Path(path)
        self._class_names = {head: tuple(names) for head, names in (class_names or {}).items()}
        for head, names in self._class_names.items():
            if num_classes and head in num_classes and len(names) != num_classes[head]:
                raise UserError(f"class names of {head!r}: found {len(names)}, expected {num_classes[head]}")
        self._ids = _find_videos(self._path)
        self._labels: dict[str, dict[str, int]] = {}
        csv_path = epath.Path(labels) if labels is not None else self._path / "labels.csv"
        if labels is not None or csv_path.exists():
            self._labels = read_annotations(csv_path, num_classes, self._class_names)
            _check_pairing(self._ids, self._labels, csv_path, self._path)

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the label columns; empty if the videos are unlabelled."""
        return tuple(self._labels[self._ids[0]]) if self._labels else ()

    @property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """Names of the classes by head, as given."""
        return self._class_names

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> VideoItem:
        video_id = self._ids[index]
        return VideoItem(video_id, self._path / video_id, self._labels.get(video_id, {}))


def _find_videos(folder: epath.Path) -> list[str]:
    if not folder.exists():
        raise UserError(f"video folder {folder}: does not exist")
    if not folder.is_dir():
        raise UserError(f"video folder {folder}: is a file, expected a folder of videos")
    ids = sorted(_walk(folder, "", frozenset()))
    if not ids:
        raise UserError(f"video folder {folder}: holds no videos, expected files ending in {_suffixes()}")
    return ids


def _walk(folder: epath.Path, prefix: str, above: frozenset[str]) -> Iterator[str]:
    """Ids of the videos below a folder; `above` are the folders around it, a guard against circular links."""
    real_path = os.path.realpath(folder)
    if real_path in above:
        return
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        # By name first: asking what an entry is takes a request for each in remote storage.
        if entry.suffix.lower() in VIDEO_SUFFIXES:
            yield prefix + entry.name
        elif entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/", above | {real_path})


def _suffixes() -> str:
    return ", ".join(VIDEO_SUFFIXES)


def _check_pairing(
    ids: list[str], labels: Mapping[str, Mapping[str, int]], csv_path: epath.Path, folder: epath.Path
) -> None:
    """Every video needs a row, and every row a video."""
    known = set(ids)
    if absent := [video for video in labels if video not in known]:
        raise UserError(
            f"{csv_path}: {len(absent)} of {len(labels)} rows name a video that is not in {folder}: "
            f"{first_of(absent)}; expected paths relative to that folder, ending in {_suffixes()}"
        )
    if unlabelled := [video for video in ids if video not in labels]:
        raise UserError(
            f"{csv_path}: has no row for {len(unlabelled)} of the {len(ids)} videos in {folder}: "
            f"{first_of(unlabelled)}; add the rows or move these videos elsewhere"
        )
