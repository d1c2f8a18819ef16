"""How a video is laid out in an example of TensorFlow Datasets."""

import enum
from typing import Any

import numpy as np

from jax_vtm.data.containers import read_file
from jax_vtm.data.cutting import cut_span
from jax_vtm.data.decoding import decode_frames
from jax_vtm.data.pictures import decode_pictures, read_picture
from jax_vtm.data.source import EncodedVideo, Pictures, VideoError, VideoItem

ID = "id"
VIDEO = "video"
START, STOP = "start_seconds", "stop_seconds"
FRAMES, FPS = "frames", "fps"

UNKNOWN_FPS = 0.0


class Layout(enum.StrEnum):
    """What an example holds beside its id and labels. Videos are stored as they are, never encoded again.

    Attributes:
        FILES: `video`, the bytes of a video file.
        SEGMENTS: `video`, a file that holds little more than the frames from `start_seconds` to `stop_seconds` of it.
            Segments of one long recording, as in EPIC-KITCHENS, would otherwise each store the recording. Pictures of
            their frames would be ten times larger, or not the same pixels.
        FRAMES: `frames`, the bytes of one picture per frame, and `fps`, 0 where it is unknown.
    """

    FILES = "files"
    SEGMENTS = "segments"
    FRAMES = "frames"


def layout_of(item: VideoItem) -> Layout:
    """The layout that an item's video needs."""
    if isinstance(item.video, Pictures):
        return Layout.FRAMES
    return Layout.FILES if item.span is None else Layout.SEGMENTS


def features(layout: Layout) -> dict[str, Any]:
    """The features of a layout, but for the labels."""
    import tensorflow_datasets as tfds

    # A scalar of this type is stored as the bytes that it is; a text or a tensor would be decoded or end at a zero.
    encoded = tfds.features.Scalar(np.object_)
    by_layout: dict[Layout, dict[str, Any]] = {
        Layout.FILES: {VIDEO: encoded},
        Layout.SEGMENTS: {VIDEO: encoded, START: np.float32, STOP: np.float32},
        Layout.FRAMES: {FRAMES: tfds.features.Sequence(encoded), FPS: np.float32},
    }
    return {ID: tfds.features.Text(), **by_layout[layout]}


def to_example(item: VideoItem, layout: Layout) -> dict[str, Any]:
    """Fetches an item's video and makes sure that its first frame can be decoded.

    Raises:
        VideoError: It cannot, or the item needs another layout.
    """
    if (needed := layout_of(item)) is not layout:
        raise VideoError(item.id, f"is stored in {needed}, unlike the others of its set, which are in {layout}")
    try:
        item.id.encode()
    except UnicodeEncodeError as error:
        raise VideoError(item.id, "its name is not UTF-8, and cannot be written; rename it") from error
    example = {ID: item.id, **item.labels}
    if isinstance(item.video, Pictures):
        frames = [read_picture(frame, number, item.id) for number, frame in enumerate(item.video.frames)]
        decode_pictures(Pictures(frames), _first, name=item.id)
        return {**example, FRAMES: frames, FPS: item.video.fps or UNKNOWN_FPS}
    if item.span is None:
        video, span = item.video if isinstance(item.video, bytes) else read_file(item.video, item.id), None
    else:
        video, span = cut_span(item.video, item.span, item.id)
        example |= {START: span[0], STOP: span[1]}
    decode_frames(video, _first, span=span, name=item.id)
    return {**example, VIDEO: video}


def from_example(example: dict[str, Any]) -> tuple[EncodedVideo, tuple[float, float] | None]:
    """The video of an example of any layout, and the span of it that is meant."""
    if FRAMES in example:
        fps = float(example[FPS])
        return Pictures([bytes(frame) for frame in example[FRAMES]], None if fps == UNKNOWN_FPS else fps), None
    span = (float(example[START]), float(example[STOP])) if START in example else None
    return bytes(example[VIDEO]), span


def _first(info) -> np.ndarray:
    return np.zeros(1, np.int64)
