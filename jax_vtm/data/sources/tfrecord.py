"""Scenic's data sets: TFRecords of `tf.train.SequenceExample`, one clip each, in the MediaSequence layout of DMVR."""

import functools
import itertools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from jax_vtm.data.source import SINGLE_HEAD, Pictures, VideoError, VideoItem, VideoItems
from jax_vtm.data.sources.record_file import FILES_AT_ONCE, RecordPlace, find_records, shard_files
from jax_vtm.data.tables import brief
from jax_vtm.errors import UserError

PICTURES = "image/encoded"
LABELS = "clip/label/index"
FRAME_RATE = "image/frame_rate"
START, END = "clip/start/timestamp", "clip/end/timestamp"

NAMES = ("clip/key", "clip/media_id", "video/filename", "clip/data_path")
"""What may name a clip, in the order in which it is asked for."""

_BEGINNING = 4096
"""Bytes of a record read when a set is opened. A clip's names and labels come first and are far smaller."""

_CONTEXT_TAG = b"\x0a"
"""What a SequenceExample begins with whose context comes first: field 1, of a type that states its length."""

_HIGHEST_FPS = 1000.0
"""A rate above it, such as that of time stamps that are all but equal, is taken for unknown."""


class TFRecordVideos(VideoItems):
    """The clips of TFRecord files, in the order of the files and of the records in them; a `VideoSource`.

    A record has one encoded picture per frame in the feature list `image/encoded`, and in its context the class
    indices `clip/label/index`: one, or one for each head, in any order, counted through all heads (Scenic's
    EPIC-KITCHENS has a noun's index, and 300 plus a verb's). Whatever else is in a record, such as labels of single
    frames, does not matter.

    A clip is called by the first of `clip/key`, `clip/media_id`, `video/filename` and `clip/data_path` that every
    clip has and no two share; if there is none, by its file's name and its number therein, from 0: `FILE:NUMBER`.
    Frames per second are `image/frame_rate`; without that the frames' number by the duration from
    `clip/start/timestamp` to `clip/end/timestamp` (microseconds); without these they are unknown.

    When a set is opened, the beginnings of its records are read. What is wrong with a single record's pictures shows
    when it is asked for.

    Args:
        path: A file, `base@N[.suffix]`, a pattern, or a list of files; see `shard_files`.
        num_classes: Number of classes of each head of the model, in the order in which indices count through them.
            Without it labels are one head, `label`, of any number of classes.
        label_offset: Subtracted from every index; 1 for files that count classes from 1.
        class_names: Names of the classes by head, in the order of their indices.

    Raises:
        UserError: Files are missing, cut short, or no TFRecords; there are no records; labels do not fit
            `num_classes`, or some records alone have them.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        num_classes: Mapping[str, int] | None = None,
        *,
        label_offset: int = 0,
        class_names: Mapping[str, Sequence[str]] | None = None,
    ):
        files = shard_files(path)
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            found = list(itertools.chain.from_iterable(pool.map(lambda file: find_records(file, _BEGINNING), files)))
        if not found:
            raise UserError(f"{path}: there is not a single record in {len(files)} file{'s' if len(files) > 1 else ''}")
        clips = [(place, _context(place, beginning)) for place, beginning in found]
        ids = _ids(clips)
        heads = num_classes or {SINGLE_HEAD: None}
        labels = [_labels(place, context, heads, label_offset) for place, context in clips]
        if any(labels):
            for (place, context), known in zip(clips, labels, strict=True):
                if context is not None and not known and not place.is_damaged():
                    reason = f"has no {LABELS}, but other records have; expected labels in all records, or in none"
                    raise UserError(f"{place.file}, record {place.number} (counted from 0): {reason}")
        items = [VideoItem(name, Pictures(()), known) for name, known in zip(ids, labels, strict=True)]
        places = {name: place for name, (place, _) in zip(ids, clips, strict=True)}
        super().__init__(
            items, heads if any(labels) else (), class_names or {}, functools.partial(_with_pictures, places)
        )


def _with_pictures(places: Mapping[str, RecordPlace], item: VideoItem) -> VideoItem:
    place = places[item.id]
    try:
        example = _parse("SequenceExample", place.read())
        frames = _frames(example.feature_lists.feature_list)
    except (OSError, MemoryError) as error:
        reason = "its size is more than memory holds" if isinstance(error, MemoryError) else error.strerror or error
        raise VideoError(item.id, f"{place} cannot be read ({reason})") from error
    except ValueError as error:
        raise VideoError(item.id, f"{place} is damaged: {error}") from error
    return replace(item, video=Pictures(frames, _fps(example.context, len(frames))))


def _context(place: RecordPlace, beginning: bytes) -> Any | None:
    """What a record says of its clip; None if it cannot be read, which is told when the clip is asked for."""
    try:
        context = _parse_context(beginning)
        return _parse("SequenceExample", place.read()).context if context is None else context
    except (ValueError, OSError):
        return None


def _ids(clips: Sequence[tuple[RecordPlace, Any | None]]) -> list[str]:
    names = {place.file: place.file.name for place, _ in clips}
    if len(set(names.values())) < len(names):
        names = {file: os.fspath(file) for file in names}
    by_place = [f"{names[place.file]}:{place.number}" for place, _ in clips]
    for key in NAMES:
        # A damaged record cannot say its name, and does not change what the others are called.
        ids = [
            other if context is None else _text(context, key)
            for other, (_, context) in zip(by_place, clips, strict=True)
        ]
        if all(ids) and len(set(ids)) == len(ids):
            return ids
    return by_place


def _labels(
    place: RecordPlace, context: Any | None, heads: Mapping[str, int | None], label_offset: int
) -> dict[str, int]:
    """The class of each head; empty if the record has no labels or is damaged."""
    indices = _numbers(context, LABELS) if context is not None else []
    labels: dict[str, int] = {}
    for index in indices:
        first = 0
        for head, count in heads.items():
            if first <= index - label_offset and (count is None or index - label_offset < first + count):
                labels.setdefault(head, index - label_offset - first)
            first += count or 0
    if indices and len(labels) == len(heads) == len(indices):
        return {head: labels[head] for head in heads}
    if not indices or place.is_damaged():
        return {}
    counts = ", then ".join(f"{head} 0..{'...' if count is None else count - 1}" for head, count in heads.items())
    each = "one index" if len(heads) == 1 else "one index for each head, counted through all of them"
    raise UserError(
        f"{place.file}, record {place.number} (counted from 0): {LABELS} is {brief(indices)} and label_offset "
        f"{label_offset}; expected {each} ({counts})"
    )


def _frames(lists: Any) -> list[bytes]:
    if PICTURES not in lists or not lists[PICTURES].feature:
        found = ", ".join(sorted(lists)) or "none"
        raise ValueError(f"it has no pictures, expected them in the feature list {PICTURES} (found {found})")
    frames = [feature.bytes_list.value for feature in lists[PICTURES].feature]
    for number, values in enumerate(frames):
        if len(values) != 1:
            raise ValueError(f"frame {number} (counted from 0) has {len(values)} pictures, expected one")
    return [values[0] for values in frames]


def _fps(context: Any, num_frames: int) -> float | None:
    rates = list(context.feature[FRAME_RATE].float_list.value[:1]) if FRAME_RATE in context.feature else []
    start, end = _numbers(context, START), _numbers(context, END)
    microseconds = end[0] - start[0] if start and end else 0
    if microseconds > 0:
        rates.append(num_frames * 1e6 / microseconds)
    return next((fps for fps in rates if 0 < fps <= _HIGHEST_FPS), None)


def _text(context: Any, key: str) -> str:
    values = context.feature[key].bytes_list.value if key in context.feature else []
    return values[0].decode(errors="replace") if values else ""


def _numbers(context: Any, key: str) -> list[int]:
    return list(context.feature[key].int64_list.value) if key in context.feature else []


def _parse_context(beginning: bytes) -> Any | None:
    """Parses a record's context from its first bytes; None if it does not come first, or is longer than these."""
    if not beginning.startswith(_CONTEXT_TAG):
        return None
    length, start = 0, len(_CONTEXT_TAG)
    for shift in range(0, 70, 7):
        if start >= len(beginning):
            return None
        byte = beginning[start]
        length |= (byte & 0x7F) << shift
        start += 1
        if byte < 0x80:
            break
    if start + length > len(beginning):
        return None
    return _parse("Features", beginning[start : start + length])


def _parse(message: str, data: bytes) -> Any:
    """Parses bytes as a message; raises `ValueError` if they are none."""
    # Takes a second, and with this module it would be one of every command's.
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    message_class = getattr(tf_example_pb2, message, None) or getattr(tf_feature_pb2, message)
    try:
        return message_class.FromString(data)
    except DecodeError as error:
        raise ValueError("it is no tf.train.SequenceExample") from error
