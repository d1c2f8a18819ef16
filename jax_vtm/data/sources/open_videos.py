"""From the name of a dataset and what lies on disk to its source."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from etils import epath

from jax_vtm.data.source import SINGLE_HEAD, VideoSource
from jax_vtm.data.sources.epic_kitchens import PICKLES, TimestampReading, epic_kitchens
from jax_vtm.data.sources.folders import VideoFolder, class_folders
from jax_vtm.data.sources.lists import kinetics_csv, spellings, ucf101_list, video_list
from jax_vtm.data.sources.record_file import is_pattern
from jax_vtm.data.sources.scan import VIDEO_SUFFIXES, check_is_folder
from jax_vtm.data.sources.something_something import is_frame_list, something_something, videos_by_id
from jax_vtm.data.sources.tfds_records import TfdsVideos
from jax_vtm.data.sources.tfrecord import TFRecordVideos
from jax_vtm.data.tables import lines_of, read_text
from jax_vtm.errors import UserError, listed
from jax_vtm.regular_file import as_path, exists

_CLASSES: dict[str, dict[str, int]] = {
    "kinetics400": {SINGLE_HEAD: 400},
    "kinetics600": {SINGLE_HEAD: 600},
    "ssv2": {SINGLE_HEAD: 174},
    "epic_kitchens_100": {"verb": 97, "noun": 300},
}

# UCF101's official lists, of the three splits; it has no part for validation.
_UCF101_LIST = re.compile(r"(train|test)list0[1-3]\.txt")

KINDS = (*_CLASSES, "folder")
"""The datasets that `open_videos` knows."""


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
        annotations: The annotation file or files, or a folder of them. Files that are not named are looked for in the
            folder of those that are. If none is (or "" is), they are looked for in the folder of the videos and in
            `annotations` and `labels` within it.
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
    if kind not in KINDS:
        raise UserError(f"dataset kind {kind!r} is unknown; known are {', '.join(KINDS)}")
    folder = as_path(path)
    named = [annotations] if isinstance(annotations, str | os.PathLike) else annotations
    named = [name for name in named if os.fspath(name)]
    classes = num_classes or _CLASSES.get(kind)
    is_records = _is_records(folder)
    if not is_records:
        check_is_folder(folder)
    if is_records or exists(folder / "dataset_info.json"):
        if named:
            text = f"annotations are given for {path}, whose records hold the labels; leave them out"
            raise UserError(f"{named[0]}: {text}")
        if not is_records:
            return TfdsVideos(path, split or "validation", classes, class_names)
        if folder.name.lower().endswith((*VIDEO_SUFFIXES, ".csv", ".json", ".pkl")):
            raise UserError(f"{path}: is a single file, expected the folder of the videos, or TFRecords")
        return TFRecordVideos(path, classes, label_offset=label_offset, class_names=class_names)
    files = _AnnotationFiles(folder, named)
    if classes is None or kind == "folder":
        labels = files.pick(lambda name: True, ["labels.csv"])
        return VideoFolder(folder, labels, classes, class_names)
    layouts = _Layouts(kind, folder, files, split, classes, class_names, timestamps)
    if kind == "ssv2":
        return layouts.something_something()
    return layouts.epic_kitchens() if kind == "epic_kitchens_100" else layouts.kinetics()


def _is_records(path: epath.Path) -> bool:
    """Whether a path names TFRecords: no other layout is a file, or a name that stands for several."""
    if exists(path):
        return not path.is_dir()
    return "@" in path.name or is_pattern(path)


@dataclass(frozen=True)
class _Layouts:
    """The ways in which each dataset may lie on disk; attributes are the arguments of `open_videos`, completed."""

    kind: str
    folder: epath.Path
    files: "_AnnotationFiles"
    split: str | None
    num_classes: Mapping[str, int]
    class_names: Mapping[str, Sequence[str]] | None
    timestamps: TimestampReading

    @property
    def split_names(self) -> tuple[str, ...]:
        """What the files of the split may be called."""
        return spellings(self.split or "validation")

    def kinetics(self) -> VideoSource:
        """A list of the videos, or one folder per class."""
        prefixes = ("", "kinetics_", f"{self.kind}_")
        names = [f"{prefix}{split}.csv" for split in self.split_names for prefix in prefixes]
        of_ucf101 = "trainlist01.txt" if "train" in self.split_names else "testlist01.txt"
        if path := self.files.pick(lambda name: True, [*names, "labels.csv", of_ucf101]):
            if not _UCF101_LIST.fullmatch(path.name):
                return self._by_list(path)
            self._check_no_class_names()
            self._check_heads(path)
            return ucf101_list(self.folder, path, self.num_classes[SINGLE_HEAD])
        folders = (self.folder / split for split in self.split_names)
        folder = next((folder for folder in folders if folder.is_dir()), self.folder)
        self._check_heads(folder)
        try:
            return class_folders(folder, self.num_classes[SINGLE_HEAD])
        except UserError as error:
            raise UserError(
                f"{self.kind}: there is neither a list of the videos nor one folder per class.\n"
                f"  A list: {self.files.describe()}.\n"
                f"  Folders: {error}.\n"
                "  Videos without labels are of the kind 'folder'."
            ) from error

    def something_something(self) -> VideoSource:
        """Official annotations with videos or a list of frames, or a list of the videos."""
        files, prefixes = self.files, ("something-something-v2-", "")
        labels = files.pick(lambda name: name.endswith("labels.json"), [f"{p}labels.json" for p in prefixes])
        annotations = files.pick(
            lambda name: name.endswith(".json") and not name.endswith("labels.json"),
            [f"{prefix}{split}.json" for split in self.split_names for prefix in prefixes],
        )
        has_videos = labels is not None and annotations is not None and bool(videos_by_id(self.folder))
        lists = [] if has_videos else [f"{split}.csv" for split in self.split_names]
        found = files.pick(lambda name: not name.endswith(".json"), lists)
        if found is not None and not is_frame_list(_first_line(found)):
            return self._by_list(found)
        if labels is None or annotations is None:
            missing = [name for name, path in (("classes", labels), ("videos", annotations)) if path is None]
            raise UserError(
                f"{self.kind}: there is no json file of the {' and none of the '.join(missing)}, nor a list of paths "
                f"and class indices; {files.describe()}"
            )
        self._check_no_class_names()
        if found is None and not has_videos:
            raise UserError(
                f"{self.kind}: there are neither videos such as 74225.webm in {self.folder} nor a list of frames; "
                f"{files.describe()}"
            )
        self._check_heads(annotations)
        return something_something(self.folder, annotations, labels, found, self.num_classes[SINGLE_HEAD])

    def epic_kitchens(self) -> VideoSource:
        """Official annotations, or a list of the videos."""
        names = [f"EPIC_100_{split}{suffix}" for suffix in (".csv", ".pkl") for split in self.split_names]
        names += [f"{split}.csv" for split in self.split_names]
        annotations = self.files.pick(lambda name: "_classes." not in name, names)
        if annotations is None:
            raise UserError(f"{self.kind}: there are no annotations; {self.files.describe()}")
        if annotations.suffix not in PICKLES and "narration_id" not in _first_line(annotations):
            return self._by_list(annotations)
        self._check_no_class_names()
        self._check_heads(annotations)
        return epic_kitchens(self.folder, annotations, self.num_classes, self.timestamps)

    def _by_list(self, path: epath.Path) -> VideoSource:
        """Tells the three kinds of lists apart by their first lines."""
        columns = [column.strip(' "') for column in _first_line(path).split(",")]
        if "video" in columns and "youtube_id" not in columns:
            return VideoFolder(self.folder, path, self.num_classes, self.class_names)
        self._check_heads(path)
        if "youtube_id" in columns:
            return kinetics_csv(self.folder, path, self.num_classes, self.class_names, self.split)
        return video_list(self.folder, path, self.num_classes, self.class_names, tuple(_CLASSES[self.kind]))

    def _check_heads(self, path: epath.Path) -> None:
        heads = _CLASSES[self.kind]
        if set(self.num_classes) != set(heads):
            raise UserError(
                f"{path}: every video has the labels {' and '.join(heads)}, but the model's heads are "
                f"{' and '.join(self.num_classes)}; choose a model of this dataset"
            )

    def _check_no_class_names(self) -> None:
        if self.class_names:
            raise UserError(f"class names are given for {self.kind}, whose annotations have them; leave them out")


def _first_line(path: epath.Path) -> str:
    return next((line for _, line in lines_of(read_text(path))), "")


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

    def pick(self, fits: Callable[[str], bool], names: Sequence[str]) -> epath.Path | None:
        """The named file whose name fits; if none is named that does, the first of these names in the folders."""
        fitting = [path for path in self._files if fits(path.name)]
        if len(fitting) > 1:
            raise UserError(f"annotations: {' and '.join(map(str, fitting))} are of one kind, expected one of them")
        if fitting:
            return fitting[0]
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
    return f"{folder} (which holds {listed(names, 5) or 'nothing'})"
