"""Datasets as they lie on disk, each a `VideoSource`."""

from jax_vtm.data.sources.folders import VideoFolder
from jax_vtm.data.sources.open_videos import KINDS, open_videos

__all__ = ["KINDS", "VideoFolder", "open_videos"]
