"""Which frames of a video a training clip has, drawn at random, by the code that each model was trained with."""

import numpy as np
from jaxtyping import Int64

from jax_vtm.data.protocol import ClipProtocol
from jax_vtm.data.sampling import Padding, segment_bounds
from jax_vtm.data.source import VideoInfo


def random_frames(protocol: ClipProtocol, info: VideoInfo, rng: np.random.Generator) -> Int64[np.ndarray, " T"]:
    """Draws the frames of one clip, in the way that belongs to the protocol's `sampling`.

    Clips that are measured in time start anywhere in the room that there is; of segments any frame is taken.

    Raises:
        UserError: Clips are measured in time, and the video's frame rate is not known.
    """
    count, length, stride = info.num_frames, protocol.num_frames, protocol.stride or 0
    match protocol.sampling:
        case "scenic":
            start = int(rng.integers(strided_starts(count, length, stride)))
            return strided_clip(count, length, stride, start, protocol.pad)
        case "videomae":
            return dense_clip(count, length, stride, int(rng.integers(dense_starts(count, length, stride))))
        case "videomae_segments":
            return whole_segments(count, length, rng.integers(max(count // length, 1), size=length))
        case "slowfast_segments":
            bounds = segment_bounds(count, length)
            return rng.integers(bounds[:-1], bounds[1:], endpoint=True)
    return protocol.timed_clip(info, rng.uniform())


def strided_starts(num_frames: int, clip_length: int, stride: int) -> int:
    """Counts the frames that `strided_clip` may start at: those from which a clip fits, and always the first."""
    return max(num_frames - (clip_length - 1) * stride, 1)


def strided_clip(
    num_frames: int, clip_length: int, stride: int, start: int, pad: Padding = "loop"
) -> Int64[np.ndarray, " T"]:
    """Picks every `stride`-th frame from `start` on; `pad` says how a shorter video goes on.

    Source: DMVR, `sample_sequence` with `random=True`, which loops.
    """
    frames = start + np.arange(clip_length) * stride
    return frames % num_frames if pad == "loop" else np.minimum(frames, num_frames - 1)


def dense_starts(num_frames: int, clip_length: int, stride: int) -> int:
    """Counts the frames that `dense_clip` may start at; the video's last frame never ends a clip."""
    return max(num_frames - clip_length * stride, 1)


def dense_clip(num_frames: int, clip_length: int, stride: int, start: int) -> Int64[np.ndarray, " T"]:
    """Spreads T frames over `T * stride`, end included, so that the steps are a little longer than `stride`.

    A video that is not longer than that gives every `stride`-th frame, spread over all of it, and then its last.

    Source: VideoMAE, `VideoClsDataset.loadvideo_decord` in mode `train`.
    """
    span = clip_length * stride
    if num_frames > span:
        return np.minimum(np.linspace(start, start + span, clip_length), start + span - 1).astype(np.int64)
    frames = np.full(clip_length, num_frames - 1)
    there = np.linspace(0, num_frames, num_frames // stride)
    frames[: len(there)] = np.minimum(there, num_frames - 1)
    return frames


def whole_segments(num_frames: int, clip_length: int, offsets: Int64[np.ndarray, " T"]) -> Int64[np.ndarray, " T"]:
    """Picks the frame at `offsets` of each of T segments of `num_frames // T` frames; of a shorter video the first.

    Source: VideoMAE, `SSVideoClsDataset.loadvideo_decord` in mode `train`.
    """
    length = num_frames // clip_length
    return np.arange(clip_length) * length + offsets if length else np.zeros(clip_length, np.int64)
