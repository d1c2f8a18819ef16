"""A list of video files with one class index each, as PySlowFast reads Kinetics."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from etils import epath

from jax_vtm.data.source import VideoItem
from jax_vtm.data.sources.class_names import checked
from jax_vtm.data.sources.listed_videos import LABEL, ListedVideos, check_heads
from jax_vtm.data.sources.scan import check_is_folder
from jax_vtm.data.tables import BadRow, by_id, class_index, read_text
from jax_vtm.errors import UserError


class VideoList(ListedVideos):
    """The videos of a list without a header, in its order; a `VideoSource` with the head `label`.

    Each line holds a path and a class index, with a space, a tab or a comma between them. Paths are absolute or
    relative to the folder. A video's id is its path relative to the folder or, for one elsewhere, its path. Videos
    in the folder that the list does not name are left out; those that it names and that are not there remain, to
    fail when they are decoded.

    Args:
        path: The folder; anything that epath understands.
        annotations: The list: UTF-8 text; empty lines do not matter.
        num_classes: Number of classes of the model's head, `{"label": 400}`; without it indices go unchecked.
        class_names: Names of the classes, `{"label": [...]}`.

    Raises:
        UserError: The folder is missing, the list cannot be read or is wrong, or not one of its videos is there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        annotations: str | os.PathLike[str],
        num_classes: Mapping[str, int] | None = None,
        class_names: Mapping[str, Sequence[str]] | None = None,
    ):
        folder = epath.Path(path)
        check_is_folder(folder)
        list_path = epath.Path(annotations)
        check_heads(num_classes, [LABEL], list_path)
        classes = (num_classes or {}).get(LABEL)
        names = checked(class_names, num_classes).get(LABEL)

        def parse(line: str) -> tuple[str, int]:
            video, label = _split(line)
            return _video_id(folder, video), class_index(label, classes, names)

        lines = enumerate(read_text(list_path).splitlines(), start=1)
        labels = by_id(list_path, ((f"line {number}", line.strip()) for number, line in lines if line.strip()), parse)
        if not labels:
            raise UserError(f"{list_path}: the list is empty, expected lines such as 'abseiling/xyz.mp4 0'")
        items = [VideoItem(video, _file(folder, video), {LABEL: label}) for video, label in labels.items()]
        if not any(_file(folder, video).exists() for video in labels):
            raise UserError(
                f"{list_path}: not one of its {len(labels)} videos is there; looked for {items[0].video} and so on; "
                "give the folder that its paths are relative to"
            )
        super().__init__(items, [LABEL], {LABEL: names} if names else {})


def _split(line: str) -> tuple[str, str]:
    """Takes a line apart at its last separator, since paths may have spaces and commas in them too."""
    match = re.fullmatch(r"(.*[^\s,])\s*[\s,]\s*([^\s,]+)", line)
    if not match:
        raise BadRow(f"{line!r} is not a path and a class index with a space or a comma between them")
    path = match[1]
    if len(path) > 1 and path[0] == path[-1] == '"':
        path = path[1:-1].replace('""', '"')
    return path, match[2]


def _video_id(folder: epath.Path, video: str) -> str:
    """The path relative to the folder, or the whole path of a video elsewhere."""
    video = video.removeprefix(f"{os.fspath(folder).rstrip('/')}/")
    return video if "://" in video else str(PurePosixPath(video))


def _file(folder: epath.Path, video_id: str) -> epath.Path:
    return epath.Path(video_id) if "://" in video_id else folder / video_id
