"""Something-Something v2: official annotations, with the videos or with pictures extracted from them."""

import functools
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from etils import epath

from jax_vtm.data.source import SINGLE_HEAD, Pictures, VideoError, VideoItem, VideoItems
from jax_vtm.data.sources.scan import VIDEO_SUFFIXES
from jax_vtm.data.tables import BadRow, brief, by_id, first_of, read_text
from jax_vtm.errors import UserError
from jax_vtm.regular_file import exists

_ARCHIVE = "20bn-something-something-v2"
"""The folder that the official archives unpack."""

_FRAME_LIST_HEADER = "original_vido_id video_id frame_id path labels"
_FRAMES_PER_SECOND = 30.0
"""Of the pictures that the published lists of frames belong to."""


def is_frame_list(first_line: str) -> bool:
    """Whether a file's first line is the header of a list of frames, with its slip or without."""
    return first_line.lstrip().startswith(("original_vido_id", "original_video_id"))


def videos_by_id(folder: epath.Path) -> dict[str, str]:
    """The video files in a folder and in `20bn-something-something-v2` within it, by their names without suffix."""
    found: dict[str, str] = {}
    for place in (folder, folder / _ARCHIVE):
        if place.is_dir():
            names = sorted(entry.name for entry in place.iterdir() if entry.name.lower().endswith(VIDEO_SUFFIXES))
            for name in reversed(names):
                found.setdefault(os.path.splitext(name)[0], f"{os.fspath(place)}/{name}")
    return found


def something_something(
    folder: epath.Path, annotations: epath.Path, labels: epath.Path, frame_list: epath.Path | None, num_classes: int
) -> VideoItems:
    """Opens the videos of an official annotation file, in its order; the head is `label`.

    A video's id is the number that the annotations give it. Videos that are annotated and absent remain, to fail when
    they are decoded; others in the folder, or in the list of frames, are left out.

    Args:
        folder: Has `<id>.webm`, or another suffix of a video, in it or in `20bn-something-something-v2`; with a list
            of frames, what its paths are relative to.
        annotations: The json list of a split: objects with an `id` and a `template`, which without its square brackets
            is a class's name. Objects without a template may give a class's name as `label`.
        labels: The json file of the classes: indices by name.
        frame_list: As PySlowFast has it, for videos that are pictures. Lines with five values between spaces: the
            annotated id, the video's number, the frame's number (ascending within a video), its path and a value that
            does not matter; below `_FRAME_LIST_HEADER`.
        num_classes: Number of classes of the model's head.

    Raises:
        UserError: A file cannot be read or is wrong, there are more or fewer classes than the model has, or not one
            of the videos is there.
    """
    names = _read_class_names(labels, num_classes)
    label_of = _read_annotations(annotations, {name: number for number, name in enumerate(names)}, labels)
    if frame_list:
        frames = _read_frame_list(frame_list, label_of)
        if not any(exists(folder / paths[0]) for paths in frames.values()):
            raise UserError(
                f"{frame_list}: not one of its {len(frames)} annotated videos is there; looked for "
                f"{folder / next(iter(frames.values()))[0]} and so on; give the folder that its paths are relative to"
            )
        files, fetch = {}, functools.partial(_with_frames, frames, os.fspath(folder), os.fspath(frame_list))
    else:
        files, fetch = videos_by_id(folder), None
        if not files.keys() & label_of.keys():
            raise UserError(
                f"{os.fspath(annotations)}: not one of its {len(label_of)} videos is in {folder} or {_ARCHIVE} within "
                f"it; looked for {brief(next(iter(label_of)) + '.webm')} and so on"
            )
    items = [
        VideoItem(video, files.get(video, f"{os.fspath(folder)}/{video}.webm"), {SINGLE_HEAD: number})
        for video, number in label_of.items()
    ]
    return VideoItems(items, [SINGLE_HEAD], {SINGLE_HEAD: names}, fetch)


def _with_frames(frames: Mapping[str, Sequence[str]], folder: str, list_path: str, item: VideoItem) -> VideoItem:
    if item.id not in frames:
        raise VideoError(item.id, f"{list_path} has no frames of it")
    paths = tuple(os.path.join(folder, path) for path in frames[item.id])
    return replace(item, video=Pictures(paths, _FRAMES_PER_SECOND))


def _read_annotations(path: epath.Path, index: Mapping[str, int], labels: epath.Path) -> dict[str, int]:
    """The class of each video by id."""
    entries = _read_json(path)
    if not isinstance(entries, list) or not entries:
        found = "the list is empty" if entries == [] else f"found a json {_kind(entries)}"
        what = "objects" if entries == [] else "a list of objects"
        raise UserError(f"{path}: {found}, expected {what} with id and template")

    def parse(entry: Any) -> tuple[str, int]:
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str | int) or entry["id"] == "":
            raise BadRow("it has no id, a string or a whole number")
        template = entry.get("template", entry.get("label"))
        if not isinstance(template, str):
            raise BadRow(f"video {brief(entry['id'])} has no template, so that its class is not known")
        name = template.replace("[", "").replace("]", "")
        if name not in index:
            raise BadRow(f"{brief(name)} is not a class of {labels}")
        return str(entry["id"]), index[name]

    return by_id(path, ((f"entry {number}", entry) for number, entry in enumerate(entries, start=1)), parse)


def _read_class_names(path: epath.Path, num_classes: int) -> list[str]:
    indices = _read_json(path)
    if not isinstance(indices, dict) or not indices:
        found = "an empty object" if indices == {} else f"a json {_kind(indices)}"
        raise UserError(f"{path}: found {found}, expected an object of class indices by class name")
    by_index: dict[int, str] = {}
    for name, index in indices.items():
        if not re.fullmatch("[0-9]{1,7}", str(index)) or int(index) >= len(indices):
            raise UserError(
                f"{path}: {brief(name)} has the index {brief(index)}, expected 0..{len(indices) - 1} for "
                f"{len(indices)} classes"
            )
        if int(index) in by_index:
            raise UserError(f"{path}: {brief(by_index[int(index)])} and {brief(name)} have the same index {index!r}")
        by_index[int(index)] = name
    if len(by_index) != num_classes:
        raise UserError(f"{path}: has {len(by_index)} classes, expected {num_classes}")
    return [by_index[index] for index in range(len(by_index))]


def _read_json(path: epath.Path) -> Any:
    """Reads a json file; raises `UserError` if it is none, names a thing twice, or has text that is no Unicode."""
    text = read_text(path)
    try:
        value = json.loads(text, object_pairs_hook=_unrepeated)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not json that can be read ({error})") from error
    return value


def _unrepeated(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{brief(next(name for name in names if names.count(name) > 1))} stands there twice")
    return named


def _kind(value: Any) -> str:
    return {dict: "object", list: "list", str: "string"}.get(type(value), "value")


def _read_frame_list(path: epath.Path, wanted: Mapping[str, int]) -> dict[str, list[str]]:
    """The frames' paths, of the wanted videos alone."""
    frames: dict[str, list[str]] = {}
    last_number: dict[str, int] = {}
    problems = []
    # By lines of a stream: a list of all lines next to the text would take twice the memory of these large files.
    lines = io.StringIO(read_text(path))
    header = lines.readline().strip()
    if not is_frame_list(header):
        raise UserError(f"{path}, line 1: found {brief(header)}, expected the header {_FRAME_LIST_HEADER!r}")
    for line_number, line in enumerate(lines, start=2):
        values = line.split()
        if values and len(values) != 5:
            problems.append(f"line {line_number}: {len(values)} values, expected 5 ({_FRAME_LIST_HEADER})")
        if len(values) != 5 or values[0] not in wanted:
            continue
        video, _, number, frame, _ = values
        if not re.fullmatch("[0-9]{1,9}", number) or int(number) <= last_number.get(video, -1):
            last = f" after {last_number[video]}" if video in last_number else ""
            problems.append(
                f"line {line_number}: frame_id {brief(number)} of video {video}{last}, expected ascending numbers"
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
