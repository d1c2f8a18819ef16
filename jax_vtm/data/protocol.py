"""How a video becomes the views that a model sees."""

import functools
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32, Int64, Shaped, UInt8

from jax_vtm.data.sampling import (
    Padding,
    clip_indices,
    epic_clip,
    segment_middles,
    video_clip,
    videomae_clips,
    videomae_segments,
)
from jax_vtm.data.source import VideoInfo
from jax_vtm.data.spatial import GEOMETRIES, HALF, RGB, Resize, SingleCrop, normalise, to_frames
from jax_vtm.errors import UserError

Sampling = Literal[
    "scenic", "videomae", "videomae_segments", "slowfast", "slowfast_paper", "slowfast_epic", "slowfast_segments"
]
ViewAverage = Literal["logits", "softmax", "max", "max_from_zero"]
Channels = Literal["rgb", "bgr"]

# Samplings that measure clips in time, and samplings that spread a clip's frames over the whole video.
TIMED = ("slowfast", "slowfast_paper", "slowfast_epic")
SPREAD = ("videomae_segments", "slowfast_segments")

_CHOICES = {
    "num_crops": (1, 3),
    "pad": get_args(Padding),
    "sampling": get_args(Sampling),
    "resize": get_args(Resize),
    "single_crop": get_args(SingleCrop),
    "channels": get_args(Channels),
    "view_average": get_args(ViewAverage),
}

_VIEW_AVERAGES = {
    "logits": "the mean of their logits",
    "softmax": "the mean of their probabilities",
    "max": "the maximum of their logits",
    "max_from_zero": "the maximum of their logits and zero",
}


@dataclass(frozen=True)
class ClipProtocol:
    """Which parts of a video a model sees, and how.

    Attributes:
        num_frames: Frames per clip, T.
        stride: Distance in frames between neighbours in a clip; None where the sampling spreads the frames of a clip
            over the whole video.
        short_side: Pixels that the shorter side of every frame is scaled to.
        crop: Side in pixels of the square cut from the scaled frames.
        num_clips: Clips per video.
        num_crops: 1, or 3 along the longer side.
        pad: How a video shorter than a clip goes on: `loop` from its start, `clamp` with its last frame. Only the
            sampling `scenic` can loop.
        view_average: How a video's views become one prediction: by the mean of their `logits`, the mean of their
            `softmax`, their `max`imum, or their maximum and zero, `max_from_zero`.
        sampling: Which frames make up the clips.
            `scenic`: evenly spaced clips, from the first frame to the last; a single one in the middle.
            `videomae`: the same, laid over every `stride`-th frame of the video.
            `videomae_segments`: one frame of each of T equal parts of the video, in each clip another one.
            `slowfast`: clips measured in time, clip k of K starting at k/K of the room that there is.
            `slowfast_paper`: the same as the paper's code has it, where the last frames of a clip come too early.
            `slowfast_epic`: the same for an action's pictures.
            `slowfast_segments`: the middles of T equal parts of the video.
        rate_fps: Where clips are measured in time, `stride` is in frames of a video at this many per second; else None.
        resize: Whose arithmetic scales and crops: `scenic` (whole pixel values, truncated), `slowfast` (not rounded) or
            `videomae` (OpenCV's whole pixel values).
        single_crop: Where a single crop lies: in the `centre`, or `first`, at the left or in a portrait the top.
        mean: Of pixel values / 255, by colour in the order of `channels`.
        std: The same for the standard deviation.
        channels: Order in which the model takes colours.
        fast_jpeg: Videos stored as JPEG pictures are decoded with the fast integer transform, as TensorFlow does.

    Raises:
        UserError: A value makes no sense, or does not go with another.
    """

    num_frames: int
    stride: int | None
    short_side: int
    crop: int
    num_clips: int = 1
    num_crops: int = 1
    pad: Padding = "loop"
    view_average: ViewAverage = "logits"
    sampling: Sampling = "scenic"
    rate_fps: float | None = None
    resize: Resize = "scenic"
    single_crop: SingleCrop = "centre"
    mean: RGB = HALF
    std: RGB = HALF
    channels: Channels = "rgb"
    fast_jpeg: bool = False

    def __post_init__(self):
        for name, choices in _CHOICES.items():
            *others, last = map(repr, choices)
            self._check(name, getattr(self, name) in choices, f"expected {', '.join(others)} or {last}")
        strided = () if self.sampling in SPREAD else ("stride",)
        for name in ("num_frames", "short_side", "crop", "num_clips", *strided):
            value = getattr(self, name)
            self._check(name, isinstance(value, int) and value >= 1, "expected an integer of at least 1")
        here = f"but with sampling {self.sampling!r}"
        spread = f"{here} the frames of a clip are spread over the whole video; leave the stride out"
        self._check("stride", self.sampling not in SPREAD or self.stride is None, spread)
        one_clip = self.sampling != "slowfast_segments" or self.num_clips == 1
        self._check("num_clips", one_clip, f"{here} there is only one clip")
        if self.sampling in TIMED:
            expected = f"{here} clips are measured in time; expected frames per second, such as 30"
            self._check("rate_fps", self.rate_fps is not None and self.rate_fps > 0, expected)
        else:
            counted = (
                f"{here} frames are counted, whatever time they take; leave it out, or choose one of the samplings "
            )
            self._check("rate_fps", self.rate_fps is None, counted + ", ".join(TIMED))
        self._check("pad", self.sampling == "scenic" or self.pad == "clamp", f"{here} it can only be 'clamp'")
        larger = f"larger than short_side {self.short_side}; make the crop smaller or the short side larger"
        self._check("crop", self.crop <= self.short_side, larger)
        for name in ("mean", "std"):
            values = tuple(getattr(self, name))
            numbers = len(values) == 3 and all(isinstance(value, int | float) for value in values)
            self._check(name, numbers, "expected three numbers, one per colour")
            object.__setattr__(self, name, values)
        self._check("std", min(self.std) > 0, "expected numbers above 0")

    def _check(self, name: str, holds: bool, otherwise: str) -> None:
        if not holds:
            raise UserError(f"clip protocol: {name} is {getattr(self, name)!r}, {otherwise}")

    @property
    def num_views(self) -> int:
        """Views per video: clips times crops."""
        return self.num_clips * self.num_crops

    @property
    def views_shape(self) -> tuple[int, int, int, int, int]:
        """Shape of a video's views: [views, T, H, W, 3]."""
        return self.num_views, self.num_frames, self.crop, self.crop, 3

    @property
    def frame_dtype(self) -> type[np.generic]:
        """What `load_frames` returns: uint8, or float32 where pixel values are not rounded."""
        return np.float32 if self.resize == "slowfast" else np.uint8

    def frame_numbers(self, info: VideoInfo) -> Int64[np.ndarray, "clips T"]:
        """Chooses the frames of the clips of a video.

        Raises:
            UserError: Clips are measured in time, and the video's frame rate is not known.
        """
        count, length, stride = info.num_frames, self.num_frames, self.stride or 0
        match self.sampling:
            case "scenic":
                return clip_indices(count, length, stride, self.num_clips, self.pad)
            case "videomae":
                return videomae_clips(count, length, stride, self.num_clips)
            case "videomae_segments":
                return videomae_segments(count, length, self.num_clips)
            case "slowfast_segments":
                return segment_middles(count, length)[None]
        return np.stack([self.timed_clip(info, clip, self.num_clips) for clip in range(self.num_clips)])

    def timed_clip(self, info: VideoInfo, clip: float, num_clips: int = 1) -> Int64[np.ndarray, " T"]:
        """Picks the frames of a clip that is measured in time and starts at `clip` / `num_clips` of the room.

        Raises:
            UserError: The video's frame rate is not known.
        """
        if info.fps is None or not info.fps > 0:
            raise UserError("its frames per second are not known, and the protocol measures clips in time")
        # As the paper's code has it, the window that is decoded ends at the clip's last frame.
        paper = functools.partial(video_clip, ends_at_last_frame=True)
        pick = {"slowfast_epic": epic_clip, "slowfast_paper": paper}.get(self.sampling, video_clip)
        arguments = (info.num_frames, info.fps, self.num_frames, self.stride or 0, clip, num_clips)
        return pick(*arguments, rate_fps=self.rate_fps)

    def normalise(self, frames: Shaped[np.ndarray, "*any W 3"]) -> Float32[np.ndarray, "*any W 3"]:
        """Turns frames 0..255 into what the model takes."""
        return normalise(frames, self.mean, self.std)

    def pictures(self, pixels: Float32[np.ndarray, "*any 3"]) -> UInt8[np.ndarray, "*any 3"]:
        """Turns what the model takes back into pictures, RGB."""
        frames = to_frames(pixels, self.mean, self.std)
        return frames[..., ::-1] if self.channels == "bgr" else frames

    def describe(self) -> str:
        """Says every choice in a few sentences, for reports."""
        fast = " JPEG pictures are decoded with the fast integer transform." if self.fast_jpeg else ""
        views = f"{self.num_views} views per video, of which the prediction is {_VIEW_AVERAGES[self.view_average]}."
        views = "1 view per video." if self.num_views == 1 else views
        return f"{_frames_in_words(self)}. {_pixels_in_words(self)}.{fast} {views}"


def _frames_in_words(protocol: ClipProtocol) -> str:
    frames, clips = protocol.num_frames, protocol.num_clips
    stride = "consecutive frames" if protocol.stride == 1 else f"frames at stride {protocol.stride}"
    some_clips = "1 clip" if clips == 1 else f"{clips} clips"
    placed = "1 clip from the middle" if clips == 1 else f"{clips} evenly spaced clips"
    match protocol.sampling:
        case "scenic":
            after = "from their start" if protocol.pad == "loop" else "with their last frame"
            return f"{placed} of {frames} {stride}; shorter videos go on {after}"
        case "videomae":
            return f"{placed} of {frames} {stride}, counted from the first; shorter videos repeat the last of these"
        case "videomae_segments":
            where = "the first frame" if clips == 1 else "evenly spaced frames"
            return f"{some_clips} with {where} of {frames} equal parts of the video; short videos repeat frames"
        case "slowfast_segments":
            return f"1 clip with the middle frames of {frames} equal parts of the video; short videos repeat frames"
    assert protocol.stride
    assert protocol.rate_fps
    start = "that starts with the video" if clips == 1 else f"that start at k/{clips} of what a clip leaves free"
    end = {
        "slowfast_paper": f", and the last frames of a clip come at most {frames - 1} steps after its first",
        "slowfast_epic": ", which is the last but one of an action",
    }.get(protocol.sampling, "")
    return (
        f"{some_clips} {start}: {frames} frames over {protocol.stride * frames / protocol.rate_fps:.2f} s, "
        f"{protocol.stride}/{protocol.rate_fps:g} s apart; shorter videos repeat their last frame{end}"
    )


def _pixels_in_words(protocol: ClipProtocol) -> str:
    if protocol.num_crops == 3:
        crops = "3 crops along the longer side"
    else:
        crops = "the central crop" if protocol.single_crop == "centre" else "the left (of portraits the upper) crop"
    mean, std = (
        f"{values[0]:g}" if len(set(values)) == 1 else ", ".join(f"{value:g}" for value in values)
        for values in (protocol.mean, protocol.std)
    )
    return (
        f"Frames scaled to a short side of {protocol.short_side} pixels, {GEOMETRIES[protocol.resize].words}, {crops} "
        f"of {protocol.crop}x{protocol.crop} pixels; {protocol.channels.upper()} in 0..1, normalised with mean {mean} "
        f"and standard deviation {std}"
    )
