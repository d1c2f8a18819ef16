"""From the name of a dataset and what lies on disk to its source."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from etils import epath

from jax_vtm.data.source import SINGLE_HEAD, VideoSource
from jax_vtm.data.sources.epic_kitchens import HEADS, PICKLES, TimestampReading, epic_kitchens
from jax_vtm.data.sources.folders import VideoFolder, class_folders
from jax_vtm.data.sources.lists import kinetics_csv, spellings, video_list
from jax_vtm.data.sources.scan import VIDEO_SUFFIXES, check_is_folder
from jax_vtm.data.sources.something_something import (
    is_frame_list,
    something_something_frames,
    something_something_videos,
    videos_by_id,
)
from jax_vtm.data.sources.tfds_records import TfdsVideos
from jax_vtm.data.sources.tfrecord import TFRecordVideos
from jax_vtm.data.tables import lines_of, read_text
from jax_vtm.errors import UserError
from jax_vtm.regular_file import as_path, exists


@dataclass(frozen=True)
class _Wanted:
    """The arguments of `open_videos`, completed."""

    kind: str
    path: epath.Path
    annotations: "_AnnotationFiles"
    split: str | None
    num_classes: Mapping[str, int] | None
    class_names: Mapping[str, Sequence[str]] | None
    timestamps: TimestampReading

    @property
    def split_names(self) -> tuple[str, ...]:
        """What the files of the split may be called."""
        return spellings(self.split or "validation")


def open_videos(
    kind: str,
    path: str | os.PathLike[str],
    *,
    annotations: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    split: str | None = None,
    num_classes: Mapping[str, int] | None = None,
    class_names: Mapping[str, Sequence[str]] | None = None,
    timestamps: TimestampReading = "exact",
    label_offset: int = 0,
) -> VideoSource:
    """Opens a dataset in whichever of its layouts it lies on disk; `docs/datasets.md` describes them.

    Args:
        kind: The dataset, one of `KINDS`.
        path: The folder of the videos or pictures; the folder of a TensorFlow Datasets version, with
            `dataset_info.json` in it; or TFRecords: a file, `base@N[.suffix]`, or a pattern (see `shard_files`).
            Anything that epath understands.
        annotations: The annotation file or files, or a folder of them. Files that are not named are looked for beside
            those that are. If none is (or "" is), they are looked for in the folder of the videos and in `annotations`
            and `labels` within it.
        split: The part of the dataset: which annotation file is looked for, and which rows of an official Kinetics
            file are taken. By default the validation split is looked for and all rows are taken. Of TensorFlow
            Datasets also a part, such as `validation[:50%]`.
        num_classes: Number of classes of each head of the model; by default the dataset's own. Of `folder` the heads
            are then the columns of its csv file.
        class_names: Names of the classes by head, for `folder`, Kinetics and records without names. The others'
            annotations have them.
        timestamps: How EPIC-KITCHENS's time stamps are read, see `TimestampReading`.
        label_offset: Subtracted from the class indices of TFRecords.

    Raises:
        UserError: The kind is unknown, or no layout of it fits; the message says what was looked for and found. Or the
            path is of a kind of address that takes another package, such as gcsfs for `gs://`.
    """
    if kind not in _OPENERS:
        raise UserError(f"dataset kind {kind!r} is unknown; known are {', '.join(KINDS)}")
    folder = as_path(path)
    named = [annotations] if isinstance(annotations, str | os.PathLike) else annotations
    named = [name for name in named if os.fspath(name)]
    classes = num_classes or _CLASSES.get(kind)
    if _is_records(folder):
        _check_no_annotations(path, named)
        if folder.name.lower().endswith((*VIDEO_SUFFIXES, ".csv", ".json", ".pkl")):
            raise UserError(f"{path}: is a single file, expected the folder of the videos, or TFRecords")
        return TFRecordVideos(path, classes, label_offset=label_offset, class_names=class_names)
    check_is_folder(folder)
    if exists(folder / "dataset_info.json"):
        _check_no_annotations(path, named)
        return TfdsVideos(path, split or "validation", classes, class_names)
    files = _AnnotationFiles(folder, named)
    return _OPENERS[kind](_Wanted(kind, folder, files, split, classes, class_names, timestamps))


def _is_records(path: epath.Path) -> bool:
    """Whether a path names TFRecords: no other layout is a file, or a name that stands for several."""
    if exists(path):
        return not path.is_dir()
    return "@" in path.name or any(sign in os.fspath(path) for sign in "*?[")


def _check_no_annotations(path: str | os.PathLike[str], named: Sequence[str | os.PathLike[str]]) -> None:
    if named:
        raise UserError(f"{named[0]}: annotations are given for {path}, whose records hold the labels; leave them out")


def _by_list(wanted: _Wanted, path: epath.Path, heads: Sequence[str] = (SINGLE_HEAD,)) -> VideoSource:
    """Tells the three kinds of lists apart by their first lines."""
    columns = [column.strip(' "') for column in _first_line(path).split(",")]
    if "youtube_id" in columns:
        return kinetics_csv(wanted.path, path, wanted.num_classes, wanted.class_names, wanted.split)
    if "video" in columns:
        return VideoFolder(wanted.path, path, wanted.num_classes, wanted.class_names)
    return video_list(wanted.path, path, wanted.num_classes, wanted.class_names, heads)


def _first_line(path: epath.Path) -> str:
    return next((line for _, line in lines_of(read_text(path))), "")


def _check_no_class_names(wanted: _Wanted) -> None:
    if wanted.class_names:
        raise UserError(f"class names are given for {wanted.kind}, whose annotations have them; leave them out")


def _kinetics(wanted: _Wanted) -> VideoSource:
    names = [f"{prefix}{split}.csv" for split in wanted.split_names for prefix in ("", "kinetics_", f"{wanted.kind}_")]
    path = wanted.annotations.given(lambda name: True) or wanted.annotations.find([*names, "labels.csv"])
    if path is not None:
        return _by_list(wanted, path)
    folders = (wanted.path / split for split in wanted.split_names)
    folder = next((folder for folder in folders if folder.is_dir()), wanted.path)
    try:
        return class_folders(folder, wanted.num_classes)
    except UserError as error:
        raise UserError(
            f"{wanted.kind}: there is neither a list of the videos nor one folder per class.\n"
            f"  A list: {wanted.annotations.describe()}.\n"
            f"  Folders: {error}.\n"
            "  Videos without labels are of the kind 'folder'."
        ) from error


def _something_something(wanted: _Wanted) -> VideoSource:
    files = wanted.annotations
    prefixes = ("something-something-v2-", "")
    labels = files.given(lambda name: name.endswith("labels.json")) or files.find(
        [f"{prefix}labels.json" for prefix in prefixes]
    )
    annotations = files.given(lambda name: name.endswith(".json") and not name.endswith("labels.json")) or files.find(
        [f"{prefix}{split}.json" for split in wanted.split_names for prefix in prefixes]
    )
    found = files.given(lambda name: not name.endswith(".json"))
    has_videos = labels is not None and annotations is not None and bool(videos_by_id(wanted.path))
    if found is None and not has_videos:
        found = files.find([f"{split}.csv" for split in wanted.split_names])
    if found is not None and not is_frame_list(_first_line(found)):
        return _by_list(wanted, found)
    if labels is None or annotations is None:
        missing = [name for name, path in (("classes", labels), ("videos", annotations)) if path is None]
        raise UserError(
            f"{wanted.kind}: there is no json file of the {' and none of the '.join(missing)}, nor a list of paths and "
            f"class indices; {files.describe()}"
        )
    _check_no_class_names(wanted)
    if found is not None:
        return something_something_frames(wanted.path, annotations, labels, found, wanted.num_classes)
    if not has_videos:
        raise UserError(
            f"{wanted.kind}: there are neither videos such as 74225.webm in {wanted.path} nor a list of frames; "
            f"{files.describe()}"
        )
    return something_something_videos(wanted.path, annotations, labels, wanted.num_classes)


def _epic_kitchens(wanted: _Wanted) -> VideoSource:
    names = [f"EPIC_100_{split}{suffix}" for suffix in (".csv", ".pkl") for split in wanted.split_names]
    annotations = wanted.annotations.given(lambda name: "_classes." not in name) or wanted.annotations.find(
        [*names, *(f"{split}.csv" for split in wanted.split_names)]
    )
    if annotations is None:
        raise UserError(f"{wanted.kind}: there are no annotations; {wanted.annotations.describe()}")
    if annotations.suffix not in PICKLES and "narration_id" not in _first_line(annotations):
        return _by_list(wanted, annotations, HEADS)
    _check_no_class_names(wanted)
    return epic_kitchens(wanted.path, annotations, wanted.num_classes, wanted.timestamps)


def _folder(wanted: _Wanted) -> VideoSource:
    labels = wanted.annotations.given(lambda name: True) or wanted.annotations.find(["labels.csv"])
    return VideoFolder(wanted.path, labels, wanted.num_classes, wanted.class_names)


class _AnnotationFiles:
    """The annotation files that somebody named, and the folders that others may lie in: by default the videos'."""

    def __init__(self, path: epath.Path, named: Sequence[str | os.PathLike[str]]):
        paths = [as_path(name) for name in named]
        if missing := [path for path in paths if not exists(path)]:
            raise UserError(f"annotations {', '.join(map(str, missing))}: there is no such file or folder")
        folders = {path for path in paths if path.is_dir()}
        self._files = [path for path in paths if path not in folders]
        around = [path if path in folders else path.parent for path in paths]
        self._folders = list(dict.fromkeys(around or [path, path / "annotations", path / "labels"]))
        self._looked_for: list[str] = []

    def given(self, fits: Callable[[str], bool]) -> epath.Path | None:
        """The named file whose name fits; None if no file is named that does."""
        fitting = [path for path in self._files if fits(path.name)]
        if len(fitting) > 1:
            raise UserError(f"annotations: {' and '.join(map(str, fitting))} are of one kind, expected one of them")
        return fitting[0] if fitting else None

    def find(self, names: Sequence[str]) -> epath.Path | None:
        """The first file of one of these names in the folders."""
        self._looked_for.extend(names)
        return next((folder / name for folder in self._folders for name in names if exists(folder / name)), None)

    def describe(self) -> str:
        """Says what was looked for, where, and what is there instead."""
        looked_for = ", ".join(dict.fromkeys(self._looked_for))
        there = [_contents(folder) for folder in self._folders if folder.is_dir()]
        absent = [f"there is no {folder}" for folder in self._folders if not folder.is_dir()]
        where = "; ".join([*there, *absent])
        return f"looked for {looked_for} in {where}; annotations that lie elsewhere have to be named"


def _contents(folder: epath.Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{folder} (which holds {shown or 'nothing'})"


_OPENERS: dict[str, Callable[[_Wanted], VideoSource]] = {
    "kinetics400": _kinetics,
    "kinetics600": _kinetics,
    "ssv2": _something_something,
    "epic_kitchens_100": _epic_kitchens,
    "folder": _folder,
}

_CLASSES: dict[str, dict[str, int]] = {
    "kinetics400": {SINGLE_HEAD: 400},
    "kinetics600": {SINGLE_HEAD: 600},
    "ssv2": {SINGLE_HEAD: 174},
    "epic_kitchens_100": {"verb": 97, "noun": 300},
}

KINDS = tuple(_OPENERS)
"""The datasets that `open_videos` knows."""
