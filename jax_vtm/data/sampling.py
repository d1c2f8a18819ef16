"""Which frames of a video make up its clips, as Scenic and VideoMAE choose them at test time."""

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
    _check(num_frames=num_frames, clip_length=clip_length, stride=stride, num_clips=num_clips)
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


def videomae_clips(num_frames: int, clip_length: int, stride: int, num_clips: int) -> Int64[np.ndarray, "clips T"]:
    """Picks evenly spaced clips from every `stride`-th frame, as VideoMAE's test on Kinetics does.

    Clips are laid over the strided frames: their offsets are whole multiples of `stride`. A single clip, which
    VideoMAE's own code cannot do, lies in the middle. A video shorter than a clip repeats its last strided frame.

    Args:
        num_frames: Frames in the video, at least 1.
        clip_length: Frames per clip, T.
        stride: Distance in frames between two neighbours in a clip.
        num_clips: Number of clips.

    Returns:
        Frame numbers in [0, num_frames).

    Raises:
        ValueError: An argument is below 1.

    Source: VideoMAE, `VideoClsDataset` in mode `test`.
    """
    _check(num_frames=num_frames, clip_length=clip_length, stride=stride, num_clips=num_clips)
    strided = np.arange(0, num_frames, stride)
    room = max(len(strided) - clip_length, 0)
    if num_clips == 1:
        starts = np.array([room // 2])
    else:
        starts = (np.arange(num_clips) * (room / (num_clips - 1))).astype(np.int64)
    places = starts[:, None] + np.arange(clip_length)
    return strided[np.minimum(places, len(strided) - 1)]


def videomae_segments(num_frames: int, clip_length: int, num_clips: int) -> Int64[np.ndarray, "clips T"]:
    """Picks one frame from each of T equal parts of the video, as VideoMAE's test on Something-Something does.

    The first clip has the first frame of every part, the next ones later frames: with two clips, as published, the
    second has the frames halfway through.

    Args:
        num_frames: Frames in the video, at least 1.
        clip_length: Frames per clip, T.
        num_clips: Number of clips.

    Returns:
        Frame numbers in [0, num_frames).

    Raises:
        ValueError: An argument is below 1.

    Source: VideoMAE, `SSVideoClsDataset` in mode `test`.
    """
    _check(num_frames=num_frames, clip_length=clip_length, num_clips=num_clips)
    part = num_frames / clip_length
    within = part * np.arange(num_clips) / num_clips
    return (within[:, None] + part * np.arange(clip_length)).astype(np.int64)


def _check(**numbers: int) -> None:
    if min(numbers.values()) < 1:
        found = " ".join(f"{name}={value}" for name, value in numbers.items())
        raise ValueError(f"expected positive numbers, got {found}")
