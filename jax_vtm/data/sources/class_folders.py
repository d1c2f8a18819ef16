"""A folder with one folder of video files per class."""

import os
from collections.abc import Mapping

from etils import epath

from jax_vtm.data.source import VideoItem
from jax_vtm.data.sources.class_names import check_all_there, spaced
from jax_vtm.data.sources.listed_videos import LABEL, ListedVideos, check_heads
from jax_vtm.data.sources.scan import VIDEO_SUFFIXES, scan, sub_folders
from jax_vtm.data.tables import first_of
from jax_vtm.errors import UserError


class ClassFolders(ListedVideos):
    """Videos such as `abseiling/xyz.mp4`, sorted by id; a `VideoSource` with the head `label`.

    A video's id is its path relative to the folder. A class's index is its place in the alphabetical order of all
    folders, underscores in their names read as spaces.

    Args:
        path: The folder; anything that epath understands.
        num_classes: Number of classes of the model's head, `{"label": 400}`; without it any number of folders will do.

    Raises:
        UserError: The folder is missing, holds no videos or some outside its class folders, there are more or fewer
            class folders than classes, or two of the same name.
    """

    def __init__(self, path: str | os.PathLike[str], num_classes: Mapping[str, int] | None = None):
        folder = epath.Path(path)
        check_heads(num_classes, [LABEL], folder)
        videos = scan(folder).videos
        if not videos:
            raise UserError(
                f"video folder {folder}: holds no videos, expected files ending in {', '.join(VIDEO_SUFFIXES)}"
            )
        if outside := [video for video in videos if "/" not in video]:
            raise UserError(
                f"video folder {folder}: {len(outside)} of {len(videos)} videos lie in no class folder: "
                f"{first_of(outside)}; expected one folder per class, or a list of the videos and their classes"
            )
        folders = sub_folders(folder)
        names = sorted(map(spaced, folders))
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"video folder {folder}: two folders for one class: {first_of(repeated)}")
        check_all_there(names, (num_classes or {}).get(LABEL), f"video folder {folder}")
        index = {name: names.index(spaced(name)) for name in folders}
        items = [VideoItem(video, folder / video, {LABEL: index[video.partition("/")[0]]}) for video in videos]
        super().__init__(items, [LABEL], {LABEL: names})
