"""Which frames of a video make up its clips."""

from typing import Literal

import numpy as np
from jaxtyping import Int64

Padding = Literal["loop", "clamp"]


def clip_indices(
    num_frames: int, clip_length: int, stride: int, num_clips: int = 1, pad: Padding = "loop"
) -> Int64[np.ndarray, "clips T"]:
    """Picks the frames of evenly spaced clips, as Scenic's test-time pipeline does.

    Several clips start at evenly spaced offsets, the first at frame 0 and the last as late as the clip still
    fits. A single clip lies in the middle.

    Args:
        num_frames: Frames in the video, at least 1.
        clip_length: Frames per clip, T.
        stride: Distance in frames between two neighbours in a clip.
        num_clips: Number of clips.
        pad: What follows the last frame of a video that is shorter than a clip: `loop` starts again at the
            first frame (Scenic), `clamp` repeats the last one.

    Returns:
        Frame numbers in [0, num_frames).

    Raises:
        ValueError: An argument is below 1, or `pad` is unknown.

    Source: Scenic and DMVR (`sample_linspace_sequence`, `sample_sequence` with `random=False`).
    """
    if min(num_frames, clip_length, stride, num_clips) < 1:
        raise ValueError(f"expected positive numbers, got {num_frames=} {clip_length=} {stride=} {num_clips=}")
    room = max(0, num_frames - clip_length * stride)
    indices = _offsets(room, num_clips)[:, None] + np.arange(clip_length) * stride
    match pad:
        case "loop":
            return indices % num_frames
        case "clamp":
            return np.minimum(indices, num_frames - 1)
        case _:
            raise ValueError(f"unknown padding {pad!r}; known: loop, clamp")


def _offsets(room: int, num_clips: int) -> Int64[np.ndarray, " clips"]:
    """First frame of every clip, where the last one may start at frame `room` at the latest."""
    if num_clips == 1:
        return np.array([room // 2], np.int64)
    # TensorFlow's linspace multiplies a float32 step and sets the last value exactly. numpy's works in
    # float64, and where the true offset is a whole number the two can fall on different sides of it before
    # truncation.
    step = np.float32(room) / np.float32(num_clips - 1)
    offsets = np.arange(num_clips, dtype=np.float32) * step
    offsets[-1] = room
    return offsets.astype(np.int64)
