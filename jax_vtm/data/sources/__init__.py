"""Datasets as they lie on disk, each a `VideoSource`."""

from jax_vtm.data.sources.class_folders import ClassFolders
from jax_vtm.data.sources.epic_kitchens import EpicKitchens
from jax_vtm.data.sources.kinetics_csv import KineticsCsv
from jax_vtm.data.sources.open_videos import KINDS, open_videos
from jax_vtm.data.sources.picture_folders import PictureFolders
from jax_vtm.data.sources.something_something import SomethingSomethingFrames, SomethingSomethingVideos
from jax_vtm.data.sources.tfds_records import TfdsVideos
from jax_vtm.data.sources.tfrecord import TFRecordVideos
from jax_vtm.data.sources.video_folder import VideoFolder
from jax_vtm.data.sources.video_list import VideoList

__all__ = [
    "KINDS",
    "ClassFolders",
    "EpicKitchens",
    "KineticsCsv",
    "PictureFolders",
    "SomethingSomethingFrames",
    "SomethingSomethingVideos",
    "TFRecordVideos",
    "TfdsVideos",
    "VideoFolder",
    "VideoList",
    "open_videos",
]
