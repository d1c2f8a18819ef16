"""Decodes the frames that a protocol chooses of a video, and makes them the views that a model sees."""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64, Shaped, UInt8

from jax_vtm.data.decoding import decode_frames
from jax_vtm.data.protocol import ClipProtocol
from jax_vtm.data.source import VideoError, VideoInfo, VideoItem
from jax_vtm.data.spatial import GEOMETRIES, crop_corners
from jax_vtm.errors import UserError

# A picture of one line could otherwise be scaled until it fills the memory.
_MOST_ELONGATED = 64


def load_views(item: VideoItem, protocol: ClipProtocol) -> Float32[np.ndarray, "views T H W 3"]:
    """Decodes a video and prepares its views for a model.

    Returns:
        Normalised pixels. Views are in Scenic's order: number `crop * num_clips + clip`.

    Raises:
        VideoError: The video cannot be decoded, or the protocol has to know its frame rate and that is not known.
    """
    return protocol.normalise(load_frames(item, protocol))


def load_frames(
    item: VideoItem, protocol: ClipProtocol, out: Shaped[np.ndarray, "views T H W 3"] | None = None
) -> Shaped[np.ndarray, "views T H W 3"]:
    """`load_views` before normalisation: values 0..255, uint8 or, where they are not rounded, float32.

    `out` is where they are put, if not in a new array: contiguous, of the protocol's `frame_dtype`. After an error
    anything may be in it.
    """

    def select(info: VideoInfo) -> Int64[np.ndarray, " frames"]:
        try:
            return protocol.frame_numbers(info).reshape(-1)
        except UserError as error:
            raise VideoError(item.id, str(error)) from error

    framing = Framing(item.id, protocol)
    views = np.empty(protocol.views_shape, protocol.frame_dtype) if out is None else out
    crops = views.reshape(protocol.num_crops, -1, *protocol.views_shape[2:])
    decode_frames(
        item.video,
        select,
        span=item.span,
        fast_jpeg=protocol.fast_jpeg,
        transform=framing,
        combine=functools.partial(framing.crops, out=crops),
        name=item.id,
    )
    if protocol.channels == "bgr":
        views[...] = views[..., ::-1]
    return views


def check_elongation(shape: tuple[int, int], name: str) -> None:
    """Raises `VideoError` for frames (height, width) that are a mere line."""
    if max(shape) > _MOST_ELONGATED * min(shape):
        raise VideoError(
            name,
            f"its frames have {shape[1]} x {shape[0]} pixels; one side may be {_MOST_ELONGATED} times the other, "
            "since the shorter is scaled to a size and the longer with it",
        )


class Framing:
    """Scales and crops the frames of one video, called `name` in error messages. It belongs to one thread.

    Frames are scaled one by one, and of each only what ends up in a crop; crops are cut from all of them at once. So
    crops that overlap share their pixels up to the last moment.
    """

    def __init__(self, name: str, protocol: ClipProtocol):
        self._name, self._protocol = name, protocol
        self._frame_shape: tuple[int, int] | None = None

    def __call__(self, frame: UInt8[np.ndarray, "H W 3"]) -> Shaped[np.ndarray, "h w 3"]:
        """Returns a frame scaled, without what is outside all crops. It may be a part of the frame's memory.

        Raises:
            VideoError: The frame is not as large as the one before, or a mere line.
        """
        shape = frame.shape[:2]
        if self._frame_shape is None:
            self._prepare(shape)
        elif shape != self._frame_shape:
            raise VideoError(self._name, "the size of its frames changes on the way")
        return self._resize(frame)

    def crops(
        self, scaled: Sequence[Shaped[np.ndarray, "h w 3"]], out: Shaped[np.ndarray, "crops n size size 3"]
    ) -> Shaped[np.ndarray, "crops n size size 3"]:
        """Cuts the crops out of scaled frames, and puts them into `out`."""
        size = self._protocol.crop
        if len(out) == 1:
            # There is nothing outside of it.
            np.stack(scaled, out=out[0])
            return out
        for number, frame in enumerate(scaled):
            for crop, (y, x) in zip(out, self._corners, strict=True):
                crop[number] = frame[y : y + size, x : x + size]
        return out

    def _prepare(self, shape: tuple[int, int]) -> None:
        protocol, geometry = self._protocol, GEOMETRIES[self._protocol.resize]
        scaled = geometry.shape(*shape, protocol.short_side)
        check_elongation(shape, self._name)
        corners = crop_corners(scaled, protocol.crop, protocol.num_crops, geometry, protocol.single_crop)
        top, left = (min(places) for places in zip(*corners, strict=True))
        bottom, right = (max(places) + protocol.crop for places in zip(*corners, strict=True))
        self._resize = geometry.resizer(shape, scaled, (slice(top, bottom), slice(left, right)))
        self._corners = [(y - top, x - left) for y, x in corners]
        self._frame_shape = shape
