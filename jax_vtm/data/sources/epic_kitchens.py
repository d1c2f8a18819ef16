"""EPIC-KITCHENS-100: action segments of long videos, from the videos or from pictures extracted from them."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

from etils import epath

from jax_vtm.data.source import Pictures, VideoItem, VideoItems
from jax_vtm.data.tables import BadRow, brief, class_index, read_table
from jax_vtm.errors import UserError
from jax_vtm.regular_file import exists

TimestampReading = Literal["exact", "reference"]
"""How a time stamp's fraction is read.

`exact` takes "00:00:01.5" for 1.5 s. `reference` takes every fraction for hundredths, and that one for 1.05 s, as the
PyTorch reference does. Fractions of two digits, which the published annotations have, mean the same in both.
"""

FRAME_LAYOUTS = ("{participant}/rgb_frames/{video}", "rgb/{participant}/{video}")
"""Folders of a video's pictures `frame_0000000001.jpg` and so on: as published, and participants within `rgb`."""

VIDEO_LAYOUTS = tuple(
    folder + suffix
    for folder in ("{participant}/videos/{video}", "{participant}/{video}", "{video}")
    for suffix in (".MP4", ".mp4")
)
"""Video files: as published, and with fewer folders."""

PICKLES = (".pkl", ".pickle")

_NAMES = ("narration_id", "participant_id", "video_id")
_TIMES = ("start_timestamp", "stop_timestamp")


def epic_kitchens(
    folder: epath.Path, csv_path: epath.Path, num_classes: Mapping[str, int], timestamps: TimestampReading
) -> VideoItems:
    """Opens the action segments of an annotation file, in its order; heads are in that of `num_classes`.

    A segment's id is its narration_id. What it is cut from is found out by looking for the annotated videos in turn,
    in `FRAME_LAYOUTS` and then in `VIDEO_LAYOUTS`; the first one found decides for all. Segments whose pictures or
    files are absent remain, to fail when they are decoded.

    From a video file a segment is the span from its start to its stop in seconds.

    From pictures it is `Pictures` whose frames have the numbers `start + 1` to `stop`, where start and stop are the
    time stamps in frames, rounded. So index i of `Pictures.frames` is the picture numbered `start + 1 + i` and is
    shown i frames after the segment's start; the pictures' numbers begin with 1. The rate is 50 frames per second for
    the videos whose number has three digits (`P01_101`), 60 for the others.

    If `EPIC_100_verb_classes.csv` and `EPIC_100_noun_classes.csv` lie next to the annotations, they name the classes.

    Raises:
        UserError: A csv file cannot be read or is wrong, the annotations are a pickle, or not one video is there.
    """
    if timestamps not in get_args(TimestampReading):
        raise UserError(f"timestamps is {timestamps!r}, expected {' or '.join(map(repr, get_args(TimestampReading)))}")
    if csv_path.suffix in PICKLES:
        raise UserError(
            f"{csv_path}: is a pickle, which can run any code when it is read; give the csv file of the same name, "
            "which lies next to it where the annotations are published. A pickle that you trust becomes one by "
            f"python -c \"import pandas; pandas.read_pickle('{csv_path.name}').to_csv('{csv_path.stem}.csv')\""
        )
    columns = {head: f"{head}_class" for head in num_classes}
    participants: dict[str, str] = {}

    def parse(fields: Mapping[str, str]) -> tuple[str, VideoItem]:
        for column in _NAMES:
            if not fields[column]:
                raise BadRow("it is empty", column)
        start, stop = (_seconds(fields[column], timestamps, column) for column in _TIMES)
        if stop <= start:
            raise BadRow(f"{fields['stop_timestamp']!r} is not after the start {fields['start_timestamp']!r}")
        labels = {head: class_index(fields[c], num_classes[head], None, c) for head, c in columns.items()}
        name, participant, video = (fields[column] for column in _NAMES)
        participants[video] = participant
        return name, VideoItem(name, video, labels, (start, stop))

    segments = read_table(csv_path, [*_NAMES, *_TIMES, *columns.values()]).by_id(parse)
    if not segments:
        raise UserError(f"{csv_path}: has a header and no rows")
    layout = _layout_of(folder, participants, csv_path)
    places = {
        video: os.fspath(folder / layout.format(participant=participant, video=video))
        for video, participant in participants.items()
    }
    items = [replace(item, video=places[str(item.video)]) for item in segments.values()]
    names = epic_class_names(csv_path.parent, num_classes)
    return VideoItems(items, num_classes, names, _with_pictures if layout in FRAME_LAYOUTS else None)


class _NumberedPictures(Sequence[str]):
    """The paths of a segment's pictures, each made when it is asked for: a row may claim that there are millions."""

    def __init__(self, folder: str, numbers: range):
        self._folder, self._numbers = folder, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index):
        return f"{self._folder}/frame_{self._numbers[index]:010d}.jpg"


def _with_pictures(item: VideoItem) -> VideoItem:
    assert isinstance(item.video, str)
    assert item.span is not None
    # Those of videos whose number has three digits are published at another rate.
    fps = 50 if len(item.video.rpartition("_")[2]) == 3 else 60
    start, stop = (round(seconds * fps) for seconds in item.span)
    pictures = Pictures(_NumberedPictures(item.video, range(start + 1, stop + 1)), fps)
    return replace(item, video=pictures, span=None)


def _layout_of(folder: epath.Path, participants: Mapping[str, str], csv_path: epath.Path) -> str:
    """How a folder is laid out, by the annotated videos in it, whose participants these are."""
    fields = [{"participant": participant, "video": video} for video, participant in participants.items()]
    layouts = (*FRAME_LAYOUTS, *VIDEO_LAYOUTS)
    if layout := _find_layout(folder, layouts, fields):
        return layout
    if archive := _find_layout(folder, [f"{layout}.tar" for layout in FRAME_LAYOUTS], fields):
        raise UserError(f"{folder}: holds archives ({archive}); unpack each into a folder of its name without .tar")
    looked_for = ", ".join(layout.format(**fields[0]) for layout in layouts)
    raise UserError(
        f"{csv_path}: not one of its {len(fields)} videos is in {folder}; looked for {looked_for} and so on"
    )


def _find_layout(folder: epath.Path, layouts: Sequence[str], videos: Iterable[Mapping[str, str]]) -> str | None:
    """The first layout in which a video is there, asking for the videos in turn; None if none is there at all."""
    found = (layout for fields in videos for layout in layouts if exists(folder / layout.format(**fields)))
    return next(found, None)


def _seconds(timestamp: str, reading: TimestampReading, column: str) -> float:
    """Reads a time stamp `HH:MM:SS[.fraction]`."""
    match = re.fullmatch(r"([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,9}))?", timestamp)
    if not match:
        raise BadRow(f"{brief(timestamp)} is not a time such as 00:01:02.34", column)
    hours, minutes, whole = (int(part) for part in match.groups()[:3])
    digits = match[4] or "0"
    fraction = int(digits) / (100 if reading == "reference" else 10 ** len(digits))
    return 3600 * hours + 60 * minutes + whole + fraction


def epic_class_names(folder: epath.Path, num_classes: Mapping[str, int]) -> dict[str, list[str]]:
    """Reads the names of verbs and nouns from the published csv files, as far as they are in a folder.

    Raises:
        UserError: One of them is wrong.
    """
    paths = {head: folder / f"EPIC_100_{head}_classes.csv" for head in num_classes}
    return {head: _read_names(path, num_classes[head]) for head, path in paths.items() if exists(path)}


def _read_names(path: epath.Path, num_classes: int) -> list[str]:
    table = read_table(path, ["id", "key"])
    if len(table.rows) != num_classes:
        raise UserError(f"{path}: has {len(table.rows)} classes, expected {num_classes}")
    names = table.by_id(lambda fields: (str(class_index(fields["id"], num_classes, None, "id")), fields["key"]))
    return [names[str(index)] for index in range(num_classes)]
