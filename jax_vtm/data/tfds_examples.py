"""How a video is laid out in an example of TensorFlow Datasets."""

import enum
from typing import Any

import numpy as np

from jax_vtm.data.containers import read_file
from jax_vtm.data.cutting import cut_span
from jax_vtm.data.decoding import decode_frames
from jax_vtm.data.pictures import read_picture
from jax_vtm.data.source import Pictures, VideoError, VideoFile, VideoItem

ID = "id"
VIDEO = "video"
START, STOP = "start_seconds", "stop_seconds"
FRAMES, FPS = "frames", "fps"

_UNKNOWN_FPS = 0.0


class Layout(enum.StrEnum):
    """What an example holds besides its id and labels. Videos are stored as they are, never encoded again.

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

    @classmethod
    def of(cls, item: VideoItem) -> "Layout":
        """The layout that an item's video needs."""
        if isinstance(item.video, Pictures):
            return cls.FRAMES
        return cls.FILES if item.span is None else cls.SEGMENTS


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
    if (needed := Layout.of(item)) is not layout:
        raise VideoError(item.id, f"is stored in {needed}, unlike the others of its set, which are in {layout}")
    try:
        item.id.encode()
    except UnicodeEncodeError as error:
        raise VideoError(item.id, "its name is not UTF-8, and cannot be written; rename it") from error
    video: VideoFile | Pictures
    if isinstance(item.video, Pictures):
        frames = [read_picture(frame, number, item.id) for number, frame in enumerate(item.video.frames)]
        video, span, stored = Pictures(frames), None, {FRAMES: frames, FPS: item.video.fps or _UNKNOWN_FPS}
    elif item.span is None:
        video = item.video if isinstance(item.video, bytes) else read_file(item.video, item.id)
        span, stored = None, {VIDEO: video}
    else:
        video, span = cut_span(item.video, item.span, item.id)
        stored = {VIDEO: video, START: span[0], STOP: span[1]}
    decode_frames(video, lambda info: np.zeros(1, np.int64), span=span, name=item.id)
    return {ID: item.id, **item.labels, **stored}


def from_example(example: dict[str, Any]) -> tuple[VideoFile | Pictures, tuple[float, float] | None]:
    """The video of an example of any layout, and the span of it that is meant."""
    if FRAMES in example:
        fps = float(example[FPS])
        return Pictures([bytes(frame) for frame in example[FRAMES]], None if fps == _UNKNOWN_FPS else fps), None
    span = (float(example[START]), float(example[STOP])) if START in example else None
    return bytes(example[VIDEO]), span
