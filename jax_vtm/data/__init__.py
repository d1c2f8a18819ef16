"""From a video or an annotation list to clips `[views, T, H, W, 3]` with labels and stable ids."""

from jax_vtm.data.decoding import decode_frames
from jax_vtm.data.encoding import write_h264
from jax_vtm.data.loading import Batch, Failure, batches
from jax_vtm.data.protocol import ClipProtocol
from jax_vtm.data.protocols import published_protocol
from jax_vtm.data.source import (
    Pictures,
    Rearranged,
    VideoError,
    VideoInfo,
    VideoItem,
    VideoSource,
    source_digest,
    spread_evenly,
    without_spread,
)
from jax_vtm.data.sources import VideoFolder, open_videos
from jax_vtm.data.views import load_frames, load_views

__all__ = [
    "Batch",
    "ClipProtocol",
    "Failure",
    "Pictures",
    "Rearranged",
    "VideoError",
    "VideoFolder",
    "VideoInfo",
    "VideoItem",
    "VideoSource",
    "batches",
    "decode_frames",
    "load_frames",
    "load_views",
    "open_videos",
    "published_protocol",
    "source_digest",
    "spread_evenly",
    "without_spread",
    "write_h264",
]
