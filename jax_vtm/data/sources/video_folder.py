"""A folder of video files, with or without a list of labels."""

import os
from collections.abc import Mapping, Sequence

from etils import epath

from jax_vtm.data.source import VideoItem
from jax_vtm.data.sources.labelled_folder import LabelledFolder
from jax_vtm.data.sources.scan import VIDEO_SUFFIXES, scan
from jax_vtm.errors import UserError


class VideoFolder(LabelledFolder):
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
        folder = epath.Path(path)
        suffixes = ", ".join(VIDEO_SUFFIXES)
        ids = scan(folder).videos
        if not ids:
            raise UserError(f"video folder {folder}: holds no videos, expected files ending in {suffixes}")
        csv_path = epath.Path(labels) if labels is not None else None
        expected = f"paths relative to that folder, ending in {suffixes}"
        super().__init__(folder, ids, csv_path, num_classes, class_names, expected)

    def __getitem__(self, index: int) -> VideoItem:
        video_id = self._ids[index]
        return VideoItem(video_id, self._path / video_id, self._labels.get(video_id, {}))
