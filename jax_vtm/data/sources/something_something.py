"""Something-Something v2: official annotations, with the videos or with pictures extracted from them."""

import io
import json
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from jax_vtm.data.source import Pictures, VideoError, VideoItem
from jax_vtm.data.sources.listed_videos import LABEL, ListedVideos, check_heads, find_layout
from jax_vtm.data.sources.scan import check_is_folder
from jax_vtm.data.tables import BadRow, by_id, first_of, read_text
from jax_vtm.errors import UserError

VIDEO_LAYOUTS = ("{id}.webm", "{id}.mp4", "20bn-something-something-v2/{id}.webm")
"""Where videos are looked for in the folder: flat, or as the official archives unpack."""

_FRAME_LIST_HEADER = "original_vido_id video_id frame_id path labels"


class SomethingSomethingVideos(ListedVideos):
    """The videos of an official annotation file, in its order; a `VideoSource` with the head `label`.

    A video's id is the number that the annotations give it. Videos that are annotated and absent remain, to fail when
    they are decoded; others in the folder are left out.

    Args:
        path: The folder, with `<id>.webm` (or `.mp4`) in it or in `20bn-something-something-v2`.
        annotations: The json list of a split, such as `something-something-v2-validation.json`: objects with an `id`
            and a `template`, which without its square brackets is a class's name. Objects without a template may
            give a class's name as `label`.
        labels: The json file of the classes, such as `something-something-v2-labels.json`: indices by name.
        num_classes: Number of classes of the model's head, `{"label": 174}`; without it any number will do.

    Raises:
        UserError: The folder is missing, a json file cannot be read or is wrong, there are more or fewer classes than
            the model has, or not one of the videos is there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        annotations: str | os.PathLike[str],
        labels: str | os.PathLike[str],
        num_classes: Mapping[str, int] | None = None,
    ):
        folder = epath.Path(path)
        check_is_folder(folder)
        names, label_of = _read_labels(epath.Path(annotations), epath.Path(labels), num_classes)
        layout = find_layout(folder, VIDEO_LAYOUTS, ({"id": video} for video in label_of))
        if layout is None:
            first = " or ".join(pattern.format(id=next(iter(label_of))) for pattern in VIDEO_LAYOUTS)
            raise UserError(
                f"{os.fspath(annotations)}: not one of its {len(label_of)} videos is in {folder}; looked for {first} "
                "and so on"
            )
        items = [VideoItem(video, folder / layout.format(id=video), {LABEL: n}) for video, n in label_of.items()]
        super().__init__(items, [LABEL], {LABEL: names})


class SomethingSomethingFrames(ListedVideos):
    """The same videos as pictures, by a list of frames as PySlowFast has it; a `VideoSource` with the head `label`.

    Order and ids are those of the annotation file. Videos without frames in the list remain, to fail when they are
    decoded; frames of other videos are left out.

    Args:
        path: The folder that the paths in the list are relative to.
        annotations: As of `SomethingSomethingVideos`.
        labels: As of `SomethingSomethingVideos`.
        frame_list: Lines with five values between spaces: the annotated id, the video's number, the frame's number
            (ascending within a video), its path and a value that does not matter; below a header that begins with
            `original_vido_id` (sic).
        num_classes: As of `SomethingSomethingVideos`.
        fps: Frames per second that the pictures were taken at. The published lists belong to pictures at 30.

    Raises:
        UserError: As of `SomethingSomethingVideos`, or the frame list is wrong, or not one of the videos is in it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        annotations: str | os.PathLike[str],
        labels: str | os.PathLike[str],
        frame_list: str | os.PathLike[str],
        num_classes: Mapping[str, int] | None = None,
        fps: float = 30.0,
    ):
        self._folder = epath.Path(path)
        self._frame_list = epath.Path(frame_list)
        self._fps = fps
        check_is_folder(self._folder)
        names, label_of = _read_labels(epath.Path(annotations), epath.Path(labels), num_classes)
        self._frames = _read_frame_list(self._frame_list, label_of)
        if not any((self._folder / frames[0]).exists() for frames in self._frames.values()):
            raise UserError(
                f"{self._frame_list}: not one of its {len(self._frames)} annotated videos is there; looked for "
                f"{self._folder / next(iter(self._frames.values()))[0]} and so on; give the folder that its paths are "
                "relative to"
            )
        # The paths of all frames together are many; they are put together when an item is asked for.
        items = [VideoItem(video, Pictures((), fps), {LABEL: number}) for video, number in label_of.items()]
        super().__init__(items, [LABEL], {LABEL: names})

    def __getitem__(self, index: int) -> VideoItem:
        item = self._items[index]
        if item.id not in self._frames:
            raise VideoError(item.id, f"{self._frame_list} has no frames of it")
        frames = tuple(os.fspath(self._folder / path) for path in self._frames[item.id])
        return VideoItem(item.id, Pictures(frames, self._fps), item.labels)


def _read_labels(
    annotations: epath.Path, labels: epath.Path, num_classes: Mapping[str, int] | None
) -> tuple[list[str], dict[str, int]]:
    """The classes' names in the order of their indices, and the class of each video by id."""
    check_heads(num_classes, [LABEL], annotations)
    names = _read_class_names(labels, (num_classes or {}).get(LABEL))
    index = {name: number for number, name in enumerate(names)}
    entries = _read_json(annotations)
    if not isinstance(entries, list):
        raise UserError(
            f"{annotations}: found a json {_kind(entries)}, expected a list of objects with id and template"
        )
    if not entries:
        raise UserError(f"{annotations}: the list is empty, expected objects with id and template")

    def parse(entry: Any) -> tuple[str, int]:
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str | int):
            raise BadRow("it has no id")
        template = entry.get("template", entry.get("label"))
        if not isinstance(template, str):
            raise BadRow(f"video {entry['id']} has no template, so that its class is not known")
        name = template.replace("[", "").replace("]", "")
        if name not in index:
            raise BadRow(f"{name!r} is not a class of {labels}")
        return str(entry["id"]), index[name]

    places = ((f"entry {number}", entry) for number, entry in enumerate(entries, start=1))
    return names, by_id(annotations, places, parse)


def _read_class_names(path: epath.Path, num_classes: int | None) -> list[str]:
    indices = _read_json(path)
    if not isinstance(indices, dict) or not indices:
        found = "an empty object" if indices == {} else f"a json {_kind(indices)}"
        raise UserError(f"{path}: found {found}, expected an object of class indices by class name")
    by_index = {}
    for name, index in indices.items():
        if not str(index).isdecimal() or int(index) >= len(indices):
            raise UserError(
                f"{path}: {name!r} has the index {index!r}, expected 0..{len(indices) - 1} for {len(indices)} classes"
            )
        if int(index) in by_index:
            raise UserError(f"{path}: {by_index[int(index)]!r} and {name!r} have the same index {index!r}")
        by_index[int(index)] = name
    if num_classes is not None and len(by_index) != num_classes:
        raise UserError(f"{path}: has {len(by_index)} classes, expected {num_classes}")
    return [by_index[index] for index in range(len(by_index))]


def _read_json(path: epath.Path) -> Any:
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path}: is not json ({error})") from error


def _kind(value: Any) -> str:
    return {dict: "object", list: "list", str: "string"}.get(type(value), "value")


def _read_frame_list(path: epath.Path, wanted: Mapping[str, int]) -> dict[str, list[str]]:
    """The frames' paths, of the wanted videos alone."""
    frames: dict[str, list[str]] = {}
    last_number: dict[str, int] = {}
    problems = []
    # By lines of a stream: a list of all lines beside the text would take twice the memory of these large files.
    lines = io.StringIO(read_text(path))
    header = lines.readline().strip()
    if not header.startswith(("original_vido_id", "original_video_id")):
        raise UserError(f"{path}, line 1: found {header[:80]!r}, expected the header {_FRAME_LIST_HEADER!r}")
    for line_number, line in enumerate(lines, start=2):
        values = line.split()
        if not values:
            continue
        if len(values) != 5:
            problems.append(f"line {line_number}: {len(values)} values, expected 5 ({_FRAME_LIST_HEADER})")
            continue
        video, _, number, frame, _ = values
        if video not in wanted:
            continue
        if not number.isdecimal() or int(number) <= last_number.get(video, -1):
            last = f" after {last_number[video]}" if video in last_number else ""
            problems.append(
                f"line {line_number}: frame_id {number!r} of video {video}{last}, expected ascending numbers"
            )
            continue
        last_number[video] = int(number)
        frames.setdefault(video, []).append(frame)
    if problems:
        raise UserError(f"{path}: {first_of(problems)}")
    if not frames:
        raise UserError(
            f"{path}: has no frames of any of the {len(wanted)} annotated videos, such as {next(iter(wanted))}; "
            "expected the frame list of the same split"
        )
    return frames
