"""A folder of folders of pictures, each of them a video."""

import os
import re
from collections.abc import Mapping, Sequence

from etils import epath

from jax_vtm.data.source import Pictures, VideoError, VideoItem
from jax_vtm.data.sources.labelled_folder import LabelledFolder
from jax_vtm.data.sources.scan import PICTURE_SUFFIXES, scan
from jax_vtm.errors import UserError


class PictureFolders(LabelledFolder):
    """Every folder with pictures below a folder, sorted by id; a `VideoSource`.

    A video's id is its folder's path relative to the outer folder, with forward slashes. Its frames are the
    JPEG and PNG files directly in it, in the order of the numbers in their names (`2.jpg` before `10.jpg`).

    Args:
        path: The outer folder; anything that epath understands.
        labels: As of `VideoFolder`.
        num_classes: As of `VideoFolder`.
        class_names: As of `VideoFolder`.
        fps: Frames per second that the pictures were taken at, if known.

    Raises:
        UserError: As of `VideoFolder`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        labels: str | os.PathLike[str] | None = None,
        num_classes: Mapping[str, int] | None = None,
        class_names: Mapping[str, Sequence[str]] | None = None,
        fps: float | None = None,
    ):
        folder = epath.Path(path)
        ids = scan(folder).picture_folders
        if not ids:
            suffixes = ", ".join(PICTURE_SUFFIXES)
            raise UserError(f"video folder {folder}: has no folders with pictures, expected files ending in {suffixes}")
        csv_path = epath.Path(labels) if labels is not None else None
        expected = "paths of folders with pictures, relative to that folder"
        super().__init__(folder, ids, csv_path, num_classes, class_names, expected)
        self._fps = fps

    def __getitem__(self, index: int) -> VideoItem:
        video_id = self._ids[index]
        try:
            names = [entry.name for entry in (self._path / video_id).iterdir()]
        except OSError as error:
            raise VideoError(video_id, f"its folder cannot be read ({error.strerror or error})") from error
        pictures = [name for name in names if name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")]
        frames = tuple(self._path / video_id / name for name in sorted(pictures, key=_by_number))
        return VideoItem(video_id, Pictures(frames, self._fps), self._labels.get(video_id, {}))


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sorts digits by their value, before everything else; equal values by their spelling."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [*((int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts), (0, name)]
