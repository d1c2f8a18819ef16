"""Which frames of a video make up its clips, as Scenic, VideoMAE, and PySlowFast and its descendants choose them.

Scenic and VideoMAE count frames. In PySlowFast, TimeSformer, Motionformer and the paper's code clips are measured in
time: T frames at rate R cover `T * R / 30` seconds, however many frames the video has in that time. So fast and slow
videos are seen at the same speed, and frame numbers are not evenly spaced.

All functions return frame numbers in [0, num_frames). Their arguments:
    num_frames: Frames in the video, at least 1.
    clip_length: Frames per clip, T.
    stride: Distance in frames between two neighbours in a clip.
    num_clips: Clips per video.
    clip: The number of one of them, from 0; with fractions a clip in between.
    fps, rate, rate_fps: Where time is measured, the video's frames per second, and the distance between neighbours in
        frames of a video at `rate_fps` per second.
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64

Padding = Literal["loop", "clamp"]

# Ticks from one frame to the next in an MP4 file as FFmpeg writes it at 25 or 30 frames per second. Where a decoding
# window begins is rounded down to ticks.
_TICKS = 512


def clip_indices(
    num_frames: int, clip_length: int, stride: int, num_clips: int = 1, pad: Padding = "loop"
) -> Int64[np.ndarray, "clips T"]:
    """Picks the frames of evenly spaced clips, as Scenic's test-time pipeline does.

    Several clips start at evenly spaced offsets, the first at frame 0 and the last as late as the clip still
    fits. A single clip lies in the middle. `pad` says what follows the last frame of a video that is shorter than a
    clip: `loop` starts again at the first frame (Scenic), `clamp` repeats the last one.

    Source: Scenic and DMVR (`sample_linspace_sequence`, `sample_sequence` with `random=False`).
    """
    _check(num_frames, clip_length, stride, num_clips)
    room = max(0, num_frames - clip_length * stride)
    indices = _offsets(room, num_clips)[:, None] + np.arange(clip_length) * stride
    return indices % num_frames if pad == "loop" else np.minimum(indices, num_frames - 1)


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

    Source: VideoMAE, `VideoClsDataset` in mode `test`.
    """
    _check(num_frames, clip_length, stride, num_clips)
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

    Source: VideoMAE, `SSVideoClsDataset` in mode `test`.
    """
    _check(num_frames, clip_length, num_clips)
    part = num_frames / clip_length
    within = part * np.arange(num_clips) / num_clips
    return (within[:, None] + part * np.arange(clip_length)).astype(np.int64)


def _check(*numbers: int) -> None:
    if min(numbers) < 1:
        raise ValueError(f"expected positive numbers, got {numbers}")


def clip_start(num_frames: float, clip_size: float, clip: float, num_clips: int) -> float:
    """Says where a clip that spans `clip_size` frames begins: clip k of K at k/K of the room that there is.

    So a single one begins at the first frame, and none ends at the last.

    Source: PySlowFast, `get_start_end_idx` without `use_offset`, as in all published configurations.
    """
    return max(num_frames - clip_size, 0) * clip / num_clips


def video_clip(
    num_frames: int,
    fps: float,
    clip_length: int,
    rate: int,
    clip: float = 0,
    num_clips: int = 1,
    *,
    rate_fps: float = 30.0,
    ends_at_last_frame: bool = False,
) -> Int64[np.ndarray, " T"]:
    """Picks a clip's frames from a video file, as the Kinetics data sets do with PyAV.

    Only a window around the clip is decoded, and the clip is picked from what has been decoded: frames that would lie
    after the window become its last. The window is as long as the clip (TimeSformer, Motionformer), or shorter and
    `ends_at_last_frame` of it (the paper's code).

    Source: PySlowFast, `pyav_decode` and `decode`, with the frames' time stamps evenly spaced.
    """
    clip_size = rate * clip_length / rate_fps * fps
    window = math.ceil(rate * (clip_length - 1) / rate_fps * fps) if ends_at_last_frame else clip_size
    start = clip_start(num_frames, window, clip, num_clips)
    first = min(math.ceil(int(start * _TICKS) / _TICKS), num_frames - 1)
    # One frame after the window is decoded too: only from it does the decoding loop learn that it is done.
    stop = min(int((start + window - 1) * _TICKS) // _TICKS + 2, num_frames)
    return first + _spaced(0, clip_size, clip_length, max(stop - first, 1))


def epic_clip(
    num_frames: int,
    fps: float,
    clip_length: int,
    rate: int,
    clip: float = 0,
    num_clips: int = 1,
    *,
    rate_fps: float = 30.0,
) -> Int64[np.ndarray, " T"]:
    """Picks a clip's frames from an action's pictures, as the EPIC-KITCHENS data sets do.

    The data sets number an action's frames so that number 0 is the one before its first picture. Numbers run from 1
    to `num_frames - 1`, so the action's last picture is never used. Here picture 0 is the action's first; an action of
    a single picture, where the data sets take the one before it, repeats it.

    Source: PySlowFast's descendants, `pack_frames_to_video_clip`.
    """
    clip_size = clip_length * rate * fps / rate_fps
    start = clip_start(num_frames, clip_size, clip, num_clips)
    return np.maximum(_spaced(start + 1, clip_size, clip_length, num_frames) - 1, 0)


def segment_middles(num_frames: int, clip_length: int) -> Int64[np.ndarray, " T"]:
    """Picks the middles of T equal parts of a video, as the Something-Something data sets do.

    Source: PySlowFast, `get_seq_frames` in mode `test`.
    """
    bounds = segment_bounds(num_frames, clip_length)
    return (bounds[:-1] + bounds[1:]) // 2


def segment_bounds(num_frames: int, clip_length: int) -> Int64[np.ndarray, " T+1"]:
    """Divides a video into T equal parts, whose bounds belong to both; halves are rounded to the even neighbour."""
    return np.round((num_frames - 1) / clip_length * np.arange(clip_length + 1)).astype(np.int64)


def _spaced(start: float, clip_size: float, clip_length: int, num_frames: int) -> Int64[np.ndarray, " T"]:
    """Evenly spaced frames of a clip, rounded down and kept inside the video."""
    places = _torch_linspace(start, start + clip_size - 1, clip_length)
    return np.clip(places, 0, num_frames - 1).astype(np.int64)


def _torch_linspace(first: float, last: float, count: int) -> Float32[np.ndarray, " count"]:
    """Evenly spaced numbers as PyTorch computes them, in float32 and from both ends.

    What is a whole number in exact arithmetic can come out just below it, which then rounds down to another frame.
    """
    begin, end = np.float32(first), np.float32(last)
    if count == 1:
        return np.array([begin])
    steps = np.arange(count, dtype=np.float32)
    step = (end - begin) / np.float32(count - 1)
    return np.where(steps < count // 2, begin + step * steps, end - step * steps[::-1])
