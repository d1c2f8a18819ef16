"""Decodes the frames that a protocol chooses of a video, and makes them the views that a model sees."""

import functools

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from jax_vtm.data.decoding import decode_frames
from jax_vtm.data.pictures import decode_pictures
from jax_vtm.data.protocol import ClipProtocol
from jax_vtm.data.source import Pictures, VideoError, VideoInfo, VideoItem
from jax_vtm.data.spatial import Framing
from jax_vtm.errors import UserError


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

    Args:
        item: The video.
        protocol: How it becomes views.
        out: Where they are put, if not in a new array: contiguous, of the protocol's `frame_dtype`. After an error
            anything may be in it.

    Raises:
        VideoError: As of `load_views`.
    """

    def select(info: VideoInfo) -> Int64[np.ndarray, " frames"]:
        try:
            return protocol.frame_numbers(info).reshape(-1)
        except UserError as error:
            raise VideoError(item.id, str(error)) from error

    framing = Framing(
        item.id,
        short_side=protocol.short_side,
        crop=protocol.crop,
        num_crops=protocol.num_crops,
        single_crop=protocol.single_crop,
        resize=protocol.resize,
    )
    crops = np.empty(protocol.views_shape, protocol.frame_dtype) if out is None else out
    crops = crops.reshape(protocol.num_crops, -1, *protocol.views_shape[2:])
    combine = functools.partial(framing.crops, out=crops)
    if isinstance(item.video, Pictures):
        fast = protocol.fast_jpeg
        decode_pictures(item.video, select, fast_jpeg=fast, transform=framing, combine=combine, name=item.id)
    else:
        decode_frames(item.video, select, span=item.span, transform=framing, combine=combine, name=item.id)
    views = crops.reshape(protocol.views_shape)
    if protocol.channels == "bgr":
        views[...] = views[..., ::-1]
    return views
