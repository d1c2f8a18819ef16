"""EPIC-KITCHENS-100: action segments of long videos, from the videos or from pictures extracted from them."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from etils import epath

from jax_vtm.data.source import Pictures, VideoItem
from jax_vtm.data.sources.scan import check_is_folder
from jax_vtm.data.sources.video_items import VideoItems, check_heads
from jax_vtm.data.tables import BadRow, brief, class_index, read_table
from jax_vtm.errors import UserError
from jax_vtm.regular_file import as_path, exists

HEADS = ("verb", "noun")

TimestampReading = Literal["exact", "reference"]
"""How a time stamp's fraction is read.

`exact` takes "00:00:01.5" for 1.5 s. `reference` takes every fraction for hundredths, and that one for 1.05 s, as the
PyTorch reference does. Fractions of two digits, which the published annotations have, mean the same in both.
"""

_READINGS: tuple[str, ...] = get_args(TimestampReading)

FRAME_LAYOUTS = ("{participant}/rgb_frames/{video}", "rgb/{participant}/{video}")
"""Folders of a video's pictures `frame_0000000001.jpg` and so on: as published, and participants within `rgb`."""

VIDEO_LAYOUTS = tuple(
    folder + suffix
    for folder in ("{participant}/videos/{video}", "{participant}/{video}", "{video}")
    for suffix in (".MP4", ".mp4")
)
"""Video files: as published, and with fewer folders."""

PICKLES = (".pkl", ".pickle")

_COLUMNS = ("narration_id", "participant_id", "video_id", "start_timestamp", "stop_timestamp")


def epic_kitchens(
    path: str | os.PathLike[str],
    annotations: str | os.PathLike[str],
    num_classes: Mapping[str, int] | None = None,
    timestamps: TimestampReading = "exact",
) -> VideoItems:
    """Opens the action segments of an annotation file, in its order; the heads are `verb` and `noun`.

    A segment's id is its narration_id. What it is cut from is found out by looking for the annotated videos in turn,
    in `FRAME_LAYOUTS` and then in `VIDEO_LAYOUTS`; the first one found decides for all. Segments whose pictures or
    files are absent remain, to fail when they are decoded.

    From a video file a segment is the span from its start to its stop in seconds.

    From pictures it is `Pictures` whose frames have the numbers `start + 1` to `stop`, where start and stop are the
    time stamps in frames, rounded. So index i of `Pictures.frames` is the picture numbered `start + 1 + i` and is
    shown i frames after the segment's start; the pictures' numbers begin with 1. The rate is 50 frames per second for
    the videos whose number has three digits (`P01_101`), 60 for the others.

    Arguments are those of `open_videos`. If `EPIC_100_verb_classes.csv` and `EPIC_100_noun_classes.csv` lie beside the
    annotations, they name the classes. Heads are in the order of `num_classes`.

    Raises:
        UserError: A csv file cannot be read or is wrong, the annotations are a pickle, or not one video is there.
    """
    if timestamps not in _READINGS:
        raise UserError(f"timestamps is {timestamps!r}, expected {' or '.join(map(repr, _READINGS))}")
    folder, csv_path = as_path(path), as_path(annotations)
    check_is_folder(folder)
    check_heads(num_classes, HEADS, csv_path)
    heads = tuple(num_classes or HEADS)
    segments = _read_segments(csv_path, heads, num_classes or {}, timestamps)
    layout = _layout_of(folder, {segment.video: segment.participant for segment in segments}, csv_path)
    items = []
    for segment in segments:
        place = os.fspath(folder / layout.format(participant=segment.participant, video=segment.video))
        items.append(VideoItem(segment.id, place, segment.labels, (segment.start, segment.stop)))
    pictures = _pictures_of_segment if layout in FRAME_LAYOUTS else None
    return VideoItems(items, heads, _read_class_names(csv_path.parent, num_classes or {}), pictures)


class _NumberedPictures(Sequence[str]):
    """The paths of a segment's pictures, each made when it is asked for: a row may claim that there are millions."""

    def __init__(self, folder: str, numbers: range):
        self._folder, self._numbers = folder, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index):
        return f"{self._folder}/frame_{self._numbers[index]:010d}.jpg"


def _pictures_of_segment(item: VideoItem) -> Pictures:
    """The pictures of an item whose video is the folder of them."""
    assert isinstance(item.video, str)
    assert item.span is not None
    fps = native_fps(os.path.basename(item.video))
    start, stop = (round(seconds * fps) for seconds in item.span)
    return Pictures(_NumberedPictures(item.video, range(start + 1, stop + 1)), fps)


def _layout_of(folder: epath.Path, participants: Mapping[str, str], csv_path: epath.Path) -> str:
    """How a folder is laid out, by the videos in it; `participants` are those of the annotated videos."""
    fields = [{"participant": participant, "video": video} for video, participant in participants.items()]
    layout = _find_layout(folder, (*FRAME_LAYOUTS, *VIDEO_LAYOUTS), fields)
    if layout is not None:
        return layout
    if archive := _find_layout(folder, [f"{layout}.tar" for layout in FRAME_LAYOUTS], fields):
        raise UserError(f"{folder}: holds archives ({archive}); unpack each into a folder of its name without .tar")
    looked_for = ", ".join(layout.format(**fields[0]) for layout in (*FRAME_LAYOUTS, *VIDEO_LAYOUTS))
    raise UserError(
        f"{csv_path}: not one of its {len(fields)} videos is in {folder}; looked for {looked_for} and so on"
    )


def _find_layout(folder: epath.Path, layouts: Sequence[str], videos: Iterable[Mapping[str, str]]) -> str | None:
    """The first layout in which a video is there, asking for the videos in turn; None if none is there at all."""
    found = (layout for fields in videos for layout in layouts if exists(folder / layout.format(**fields)))
    return next(found, None)


def native_fps(video: str) -> int:
    """Frames per second of a video's published pictures: the number after its participant has three digits or two."""
    return 50 if len(video.rpartition("_")[2]) == 3 else 60


@dataclass(frozen=True)
class _Segment:
    """What a row says; start and stop are in seconds."""

    id: str
    participant: str
    video: str
    start: float
    stop: float
    labels: Mapping[str, int]


def _read_segments(
    path: epath.Path, heads: Sequence[str], num_classes: Mapping[str, int], timestamps: TimestampReading
) -> list[_Segment]:
    if path.suffix in PICKLES:
        raise UserError(
            f"{path}: is a pickle, which can run any code when it is read; give the csv file of the same name, which "
            "lies beside it where the annotations are published. A pickle that you trust becomes one by "
            f"python -c \"import pandas; pandas.read_pickle('{path.name}').to_csv('{path.stem}.csv')\""
        )
    table = read_table(path, [*_COLUMNS, *(f"{head}_class" for head in heads)])

    def parse(fields: Mapping[str, str]) -> tuple[str, _Segment]:
        for column in ("narration_id", "participant_id", "video_id"):
            if not fields[column]:
                raise BadRow("it is empty", column)
        start = _time(fields, "start_timestamp", timestamps)
        stop = _time(fields, "stop_timestamp", timestamps)
        if stop <= start:
            raise BadRow(f"{fields['stop_timestamp']!r} is not after the start {fields['start_timestamp']!r}")
        labels = {}
        for head in heads:
            column = f"{head}_class"
            labels[head] = class_index(fields[column], num_classes.get(head), None, column)
        name = fields["narration_id"]
        return name, _Segment(name, fields["participant_id"], fields["video_id"], start, stop, labels)

    segments = list(table.by_id(parse).values())
    if not segments:
        raise UserError(f"{path}: has a header and no rows")
    return segments


def seconds(timestamp: str, reading: TimestampReading = "exact") -> float:
    """Reads a time stamp `HH:MM:SS[.fraction]`.

    Raises:
        ValueError: It is none.
    """
    match = re.fullmatch(r"([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,9}))?", timestamp)
    if not match:
        raise ValueError(f"{brief(timestamp)} is not a time such as 00:01:02.34")
    hours, minutes, whole = (int(part) for part in match.groups()[:3])
    digits = match[4] or "0"
    fraction = int(digits) / (100 if reading == "reference" else 10 ** len(digits))
    return 3600 * hours + 60 * minutes + whole + fraction


def _time(fields: Mapping[str, str], column: str, timestamps: TimestampReading) -> float:
    try:
        return seconds(fields[column], timestamps)
    except ValueError as error:
        raise BadRow(str(error), column) from error


def _read_class_names(folder: epath.Path, num_classes: Mapping[str, int]) -> dict[str, list[str]]:
    paths = {head: folder / f"EPIC_100_{head}_classes.csv" for head in HEADS}
    return {head: _read_names(path, num_classes.get(head)) for head, path in paths.items() if exists(path)}


def _read_names(path: epath.Path, num_classes: int | None) -> list[str]:
    table = read_table(path, ["id", "key"])
    count = len(table.rows)
    if count != (num_classes or max(count, 1)):
        raise UserError(f"{path}: has {count} classes, expected {num_classes or 'at least 1'}")
    names = table.by_id(lambda fields: (str(class_index(fields["id"], count, None, "id")), fields["key"]))
    return [names[str(index)] for index in range(count)]
