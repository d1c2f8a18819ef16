"""Kinetics by its official annotations: a csv file of YouTube segments, and a file per segment."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from etils import epath

from jax_vtm.data.source import VideoItem
from jax_vtm.data.sources.class_names import check_all_there, checked, spaced
from jax_vtm.data.sources.listed_videos import LABEL, ListedVideos, check_heads
from jax_vtm.data.sources.scan import scan
from jax_vtm.data.sources.splits import spellings
from jax_vtm.data.tables import BadRow, first_of, read_table
from jax_vtm.errors import UserError

_COLUMNS = ("label", "youtube_id", "time_start", "time_end")


class KineticsCsv(ListedVideos):
    """The segments of a csv file, in its order; a `VideoSource` with the head `label`.

    The file has the columns `label,youtube_id,time_start,time_end` and, where a split is asked for, `split`; others
    do not matter. A segment's id is `<youtube_id>_<start>_<end>` with six digits for either second, and its video is
    the file of that name, whatever its suffix, anywhere below the folder; of several the first in alphabetical order.
    Segments without a file remain, to fail when they are decoded; files that the csv file does not name are left out.

    A class's index is its place in the alphabetical order of all names in the file, whatever their split,
    underscores in them read as spaces.

    Args:
        path: The folder; anything that epath understands.
        annotations: The csv file.
        num_classes: Number of classes of the model's head, `{"label": 400}`; without it any number will do.
        class_names: Names of the classes in the order of their indices, `{"label": [...]}`, for a csv file that does
            not have them all.
        split: Takes only the rows with this split, under any of its names ("val", "validate", "validation").

    Raises:
        UserError: The folder is missing, the csv file cannot be read or is wrong, it has more or fewer classes than
            the model, or not one of its segments is there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        annotations: str | os.PathLike[str],
        num_classes: Mapping[str, int] | None = None,
        class_names: Mapping[str, Sequence[str]] | None = None,
        split: str | None = None,
    ):
        folder = epath.Path(path)
        csv_path = epath.Path(annotations)
        check_heads(num_classes, [LABEL], csv_path)
        files = _by_stem(scan(folder).videos)
        segments = _read(csv_path, split)
        named = {segment.label for segment in segments.values()}
        if given := checked(class_names, num_classes).get(LABEL):
            names = [spaced(name) for name in given]
            if unknown := sorted(named - set(names)):
                raise UserError(f"{csv_path}: names {len(unknown)} unknown classes: {first_of(unknown)}")
        else:
            names = sorted(named)
            check_all_there(names, (num_classes or {}).get(LABEL), f"{csv_path}")
        wanted = {name: segment for name, segment in segments.items() if not split or segment.split in spellings(split)}
        if not wanted:
            found = sorted({repr(segment.split) for segment in segments.values()})
            raise UserError(f"{csv_path}: no row has the split {split!r}, found {first_of(found)}")
        if not wanted.keys() & files.keys():
            raise UserError(
                f"{csv_path}: not one of its {len(wanted)} videos is in {folder}; looked for {next(iter(wanted))} with "
                f"the suffix of a video, found {_some(files)}"
            )
        index = {name: number for number, name in enumerate(names)}
        items = [
            VideoItem(name, folder / files.get(name, f"{name}.mp4"), {LABEL: index[segment.label]})
            for name, segment in wanted.items()
        ]
        super().__init__(items, [LABEL], {LABEL: names})


@dataclass(frozen=True)
class _Segment:
    """What a row says: a class's name, and the split if the file has that column."""

    label: str
    split: str | None


def _read(path: epath.Path, split: str | None) -> dict[str, _Segment]:
    table = read_table(path, [*_COLUMNS, "split"] if split else _COLUMNS, "label,youtube_id,time_start,time_end,split")

    def parse(fields: Mapping[str, str]) -> tuple[str, _Segment]:
        for column in ("label", "youtube_id"):
            if not fields[column]:
                raise BadRow("it is empty", column)
        start, end = (_second(fields[column], column) for column in ("time_start", "time_end"))
        segment = _Segment(spaced(fields["label"]), fields.get("split"))
        return f"{fields['youtube_id']}_{start:06d}_{end:06d}", segment

    segments = table.by_id(parse)
    if not segments:
        raise UserError(f"{path}: has a header and no rows")
    return segments


def _second(value: str, column: str) -> int:
    if not re.fullmatch(r"[0-9]+(\.0*)?", value):
        raise BadRow(f"{value!r} is not a whole number of seconds", column)
    return int(value.partition(".")[0])


def _by_stem(videos: Sequence[str]) -> dict[str, str]:
    """The files by their names without folder and suffix."""
    return {PurePosixPath(video).stem: video for video in reversed(videos)}


def _some(files: Mapping[str, str]) -> str:
    return f"{len(files)} others: {first_of(sorted(files.values()))}" if files else "no videos at all"
