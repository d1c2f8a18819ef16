"""How a video becomes the views that a model sees."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from jax_vtm.data.decoding import decode_frames
from jax_vtm.data.pictures import decode_pictures
from jax_vtm.data.sampling import Padding, clip_indices
from jax_vtm.data.source import Pictures, VideoInfo, VideoItem
from jax_vtm.data.spatial import central_crop, normalise, resize_short_side, three_crops
from jax_vtm.errors import UserError


@dataclass(frozen=True)
class ClipProtocol:
    """Which parts of a video a model sees.

    Attributes:
        num_frames: Frames per clip, T.
        stride: Distance in frames between neighbours in a clip.
        short_side: Pixels that the shorter side of every frame is scaled to.
        crop: Side in pixels of the square cut from the scaled frames.
        num_clips: Clips per video, evenly spaced; a single one lies in the middle.
        num_crops: 1 (the centre) or 3 (along the longer side).
        pad: How a video shorter than a clip goes on: `loop` from its start, `clamp` with its last frame.
        view_average: How a video's views become one prediction (see `evaluation.views.combine_views`).
        fast_jpeg: JPEG pictures are decoded as TensorFlow does by default.

    Raises:
        UserError: A value makes no sense.
    """

    num_frames: int
    stride: int
    short_side: int
    crop: int
    num_clips: int = 1
    num_crops: int = 1
    pad: Padding = "loop"
    view_average: str = "logits"
    fast_jpeg: bool = False

    def __post_init__(self):
        for name in ("num_frames", "stride", "short_side", "crop", "num_clips"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise UserError(f"clip protocol: {name} is {value!r}, expected an integer of at least 1")
        if self.num_crops not in (1, 3):
            raise UserError(f"clip protocol: num_crops is {self.num_crops!r}, expected 1 or 3")
        if self.pad not in ("loop", "clamp"):
            raise UserError(f"clip protocol: pad is {self.pad!r}, expected 'loop' or 'clamp'")
        if self.crop > self.short_side:
            raise UserError(
                f"clip protocol: crop is {self.crop}, larger than short_side {self.short_side}; "
                "make the crop smaller or the short side larger"
            )

    @property
    def num_views(self) -> int:
        """Views per video: clips times crops."""
        return self.num_clips * self.num_crops

    @property
    def views_shape(self) -> tuple[int, int, int, int, int]:
        """Shape of a video's views: [views, T, H, W, 3]."""
        return self.num_views, self.num_frames, self.crop, self.crop, 3

    def normalise(self, grey_levels: Shaped[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
        """Turns grey levels 0..255 into what the model takes."""
        return normalise(grey_levels)

    def describe(self) -> str:
        """One sentence for reports."""
        clips = "1 clip from the middle" if self.num_clips == 1 else f"{self.num_clips} evenly spaced clips"
        crops = "the central crop" if self.num_crops == 1 else f"{self.num_crops} crops along the longer side"
        stride = "consecutive frames" if self.stride == 1 else f"frames at stride {self.stride}"
        after = "from their start" if self.pad == "loop" else "with their last frame"
        return (
            f"{clips} of {self.num_frames} {stride}, short side {self.short_side} pixels, {crops} of "
            f"{self.crop}x{self.crop} pixels: {self.num_views} view{'s' if self.num_views > 1 else ''} "
            f"per video; shorter videos go on {after}."
        )


def load_views(item: VideoItem, protocol: ClipProtocol) -> Float32[np.ndarray, "views T H W 3"]:
    """Decodes a video and prepares its views for a model.

    Returns:
        Pixels in -1..1. Views are in Scenic's order: number `crop * num_clips + clip`.

    Raises:
        VideoError: The video cannot be decoded.
    """
    return protocol.normalise(load_grey_levels(item, protocol))


def load_grey_levels(item: VideoItem, protocol: ClipProtocol) -> UInt8[np.ndarray, "views T H W 3"]:
    """`load_views` before normalisation, in a quarter of the memory."""

    def select(info: VideoInfo):
        return clip_indices(
            info.num_frames, protocol.num_frames, protocol.stride, protocol.num_clips, protocol.pad
        ).reshape(-1)

    def transform(frame):
        return resize_short_side(frame, protocol.short_side)

    if isinstance(item.video, Pictures):
        frames = decode_pictures(item.video, select, fast_jpeg=protocol.fast_jpeg, transform=transform, name=item.id)
    else:
        frames = decode_frames(item.video, select, span=item.span, transform=transform, name=item.id)
    clips = frames.reshape(protocol.num_clips, protocol.num_frames, *frames.shape[1:])
    if protocol.num_crops == 1:
        return central_crop(clips, protocol.crop)
    return np.concatenate(three_crops(clips, protocol.crop))
