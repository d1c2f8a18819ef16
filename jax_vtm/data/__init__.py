"""From a video or an annotation list to clips `[views, T, H, W, 3]` with labels and stable ids."""

from jax_vtm.data.decoding import decode_frames
from jax_vtm.data.encoding import write_h264
from jax_vtm.data.folder import VideoFolder
from jax_vtm.data.loading import Batch, Failure, batches
from jax_vtm.data.protocol import ClipProtocol, load_views
from jax_vtm.data.protocols import published_protocol
from jax_vtm.data.source import Pictures, VideoError, VideoInfo, VideoItem, VideoSource

__all__ = [
    "Batch",
    "ClipProtocol",
    "Failure",
    "Pictures",
    "VideoError",
    "VideoFolder",
    "VideoInfo",
    "VideoItem",
    "VideoSource",
    "batches",
    "decode_frames",
    "load_views",
    "published_protocol",
    "write_h264",
]
