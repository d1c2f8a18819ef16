"""Folders of videos: files or pictures with an optional list of labels, or one folder per class."""

import functools
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

from etils import epath

from jax_vtm.data.source import SINGLE_HEAD, Pictures, VideoError, VideoItem, VideoItems
from jax_vtm.data.sources.picture_series import is_other_series
from jax_vtm.data.sources.scan import PICTURE_SUFFIXES, Found, scan, suffix_counts
from jax_vtm.data.tables import first_of, read_annotations
from jax_vtm.errors import UserError, shown
from jax_vtm.regular_file import as_path, exists

_VIDEOS = "videos (.mp4, .webm, .avi and others that docs/datasets.md lists)"


class VideoFolder(VideoItems):
    """Every video file below a folder or, if there is none, every folder of pictures below it, sorted by id.

    An id is the path relative to the folder, with forward slashes and, of a file, its suffix. The frames of a folder of
    pictures are those that `choose_series` chooses.

    Labels come from a csv file with the header `video,<head>[,<head>...]`: ids, then class indices or names.
    It has to have exactly one row for each video.

    Arguments are those of `open_videos`; `labels` is by default `labels.csv` in the folder, and without that the videos
    are unlabelled.

    Raises:
        UserError: There are no videos, or the csv file or the class names do not fit them.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        labels: str | os.PathLike[str] | None = None,
        num_classes: Mapping[str, int] | None = None,
        class_names: Mapping[str, Sequence[str]] | None = None,
    ):
        folder = as_path(path)
        found = scan(folder)
        videos = found.videos or found.picture_folders
        if not videos:
            others = f"; found {suffix_counts(found.left_out)}" if found.left_out else ""
            raise UserError(
                f"video folder {folder}: holds neither {_VIDEOS} nor folders with pictures "
                f"({', '.join(PICTURE_SUFFIXES)}){others}"
            )
        names = checked_names(class_names, num_classes)
        labels_of: dict[str, dict[str, int]] = {}
        csv_path = as_path(labels) if labels is not None else folder / "labels.csv"
        if labels is not None or exists(csv_path):
            labels_of = read_annotations(csv_path, num_classes, names)
            _check_pairing(videos, labels_of, csv_path, folder)
        _warn_of_what_is_left_out(folder, found)
        items = [VideoItem(name, place, labels_of.get(name, {})) for name, place in videos.items()]
        fetch = None if found.videos else functools.partial(_with_pictures, found)
        super().__init__(items, next(iter(labels_of.values()), ()), names, fetch)


def _with_pictures(found: Found, item: VideoItem) -> VideoItem:
    if isinstance(reason := found.series.get(item.id), ValueError):
        raise VideoError(item.id, f"{reason}")
    return with_frames(item, found.frames.get(str(item.video), ()))


def with_frames(item: VideoItem, names: Sequence[str]) -> VideoItem:
    """Replaces an item's folder of pictures by its frames, which have these names."""
    return replace(item, video=Pictures(tuple(f"{item.video}/{name}" for name in names)))


def class_folders(folder: epath.Path, num_classes: int) -> VideoItems:
    """Opens a folder with one folder of video files per class, such as `abseiling/xyz.mp4`; the head is `label`.

    An id is the path relative to the folder; videos are sorted by it. A class's index is its place in the alphabetical
    order of all folders, underscores in their names read as spaces. Raises `UserError` where folders are no classes.
    """
    found = scan(folder)
    if not found.videos:
        raise UserError(f"video folder {folder}: holds no {_VIDEOS}")
    if outside := [video for video in found.videos if "/" not in video]:
        raise UserError(
            f"video folder {folder}: {len(outside)} of {len(found.videos)} videos lie in no class folder: "
            f"{first_of(outside)}; expected one folder per class, or a list of the videos and their classes"
        )
    names = sorted(map(spaced, found.folders))
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"video folder {folder}: two folders for one class: {first_of(repeated)}")
    check_all_there(names, num_classes, f"video folder {folder}")
    _warn_of_what_is_left_out(folder, found)
    index = {name: names.index(spaced(name)) for name in found.folders}
    items = [
        VideoItem(name, place, {SINGLE_HEAD: index[name.partition("/")[0]]}) for name, place in found.videos.items()
    ]
    return VideoItems(items, [SINGLE_HEAD], {SINGLE_HEAD: names})


def _check_pairing(
    videos: Mapping[str, str], labels: Mapping[str, Mapping[str, int]], csv_path: epath.Path, folder: epath.Path
) -> None:
    """Every video needs a row, and every row a video."""
    if absent := [video for video in labels if video not in videos]:
        raise UserError(
            f"{csv_path}: {len(absent)} of {len(labels)} rows name a video that is not in {folder}: "
            f"{first_of(absent)}; expected paths relative to that folder, such as {first_of(list(videos)[:1])}"
        )
    if unlabelled := [video for video in videos if video not in labels]:
        raise UserError(
            f"{csv_path}: has no row for {len(unlabelled)} of the {len(videos)} videos in {folder}: "
            f"{first_of(unlabelled)}; add the rows or move these videos elsewhere"
        )


def _warn_of_what_is_left_out(folder: epath.Path, found: Found) -> None:
    """Tells, once, of the files that are no videos here.

    Raises:
        UserError: In no folder of pictures it is known which of them are the frames.
    """
    others = found.left_out
    if found.videos:
        others = others + found.pictures
    else:
        count = len(found.picture_folders)
        unclear = [(name, reason) for name, reason in found.series.items() if isinstance(reason, ValueError)]
        if len(unclear) == count:
            name, reason = unclear[0]
            raise UserError(f"{folder}: no video of {count} is usable, the first, {name!r}, because {reason}")
        chosen = [(name, series) for name, series in found.series.items() if not isinstance(series, ValueError)]
        if chosen:
            name, series = chosen[0]
            _warn(
                f"{folder}: in {len(chosen)} of {count} folders one series of pictures is taken for the frames; left "
                f"out are, in {name!r}, {first_of(series)}"
            )
        others_named = [name for name in found.picture_folders if is_other_series(name.rpartition("/")[2])]
        if 0 < len(others_named) < count:
            _warn(f"{folder}: folders count as videos though their names say otherwise: {first_of(others_named)}")
    if others:
        _warn(f"{folder}: left out files that are no videos: {suffix_counts(others)}")


def _warn(text: str) -> None:
    warnings.warn(shown(text), stacklevel=4)


def checked_names(
    class_names: Mapping[str, Sequence[str]] | None, num_classes: Mapping[str, int] | None
) -> dict[str, tuple[str, ...]]:
    """The given names by head; raises `UserError` if a head has more or fewer than classes."""
    names = {head: tuple(given) for head, given in (class_names or {}).items()}
    for head, given in names.items():
        if num_classes and head in num_classes and len(given) != num_classes[head]:
            raise UserError(f"class names of {head!r}: found {len(given)}, expected {num_classes[head]}")
    return names


def check_all_there(names: Sequence[str], num_classes: int, where: str) -> None:
    """Raises `UserError` unless the names, whose alphabetical order gives the classes their indices, are all there."""
    if len(names) != num_classes:
        raise UserError(
            f"{where}: has {len(names)} classes, expected {num_classes}; an index is a class's place in the "
            "alphabetical order of all of them, so that all have to be there"
        )


def spaced(name: str) -> str:
    """A class's name with spaces for underscores, which many folders and lists have in their place."""
    return " ".join(name.replace("_", " ").split())
