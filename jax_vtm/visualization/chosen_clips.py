"""Which clips `visualize` shows: a video file's, or those of the first videos of the config's data."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, VideoError, VideoItem, load_views, moving_digits
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.models import VideoClassifier


@dataclasses.dataclass(frozen=True)
class Clip:
    """One view of a video.

    Attributes:
        id: The video's.
        index: The video's number in its source, 0 for a single file.
        pixels: As the model takes them.
        labels: Class index by head, where the source knows.
    """

    id: str
    index: int
    pixels: Float32[np.ndarray, "T H W 3"]
    labels: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class ChosenClips:
    """The clips to show, and the names of the classes by head, where they are known."""

    clips: Sequence[Clip]
    class_names: Mapping[str, Sequence[str]]


def chosen_clips(config: Config, model: VideoClassifier, protocol: ClipProtocol, workdir: pathlib.Path) -> ChosenClips:
    """Loads what `config.visualize` asks for.

    Raises:
        UserError: There is no such view, or a video cannot be read.
    """
    keys = config.visualize
    if not 1 <= keys.view <= protocol.num_views:
        raise UserError(
            f"config.visualize.view is {keys.view}; the protocol takes {protocol.num_views} "
            f"view{'s' if protocol.num_views > 1 else ''} of a video, counted from 1."
        )
    if keys.video:
        item = VideoItem(os.path.basename(keys.video), keys.video)
        try:
            clip = _clip(item, 0, protocol, keys.view)
        except VideoError as error:
            # Its name alone would not say where it was looked for.
            raise VideoError(keys.video, error.reason) from error
        return ChosenClips([clip], _class_names(config, model, workdir))
    if keys.num_videos < 1:
        raise UserError(f"config.visualize.num_videos is {keys.num_videos}; expected at least 1.")
    if not config.data.path and config.data.name != "moving_digits":
        raise UserError(
            "there is no video to show: give --config.visualize.video=FILE, or --config.data.path=FOLDER for the "
            "first videos of a folder."
        )
    source = build.videos(_with_few_embedded(config, workdir), model, workdir)
    count = min(keys.num_videos, len(source))
    clips = [_clip(source[index], index, protocol, keys.view) for index in range(count)]
    return ChosenClips(clips, source.class_names)


def _with_few_embedded(config: Config, workdir: pathlib.Path) -> Config:
    """Writes the first embedded videos alone, where no evaluation has written all: that would take a minute."""
    if config.data.path or (workdir / "videos" / "labels.csv").exists():
        return config
    folder = workdir / "visualize" / "videos"
    moving_digits.write_test_videos(folder, -(-config.visualize.num_videos // moving_digits.DIRECTIONS_PER_TEST_IMAGE))
    few = config.copy_and_resolve_references()
    few.data.path = str(folder)
    return few


def _clip(item: VideoItem, index: int, protocol: ClipProtocol, view: int) -> Clip:
    return Clip(item.id, index, load_views(item, protocol)[view - 1], item.labels)


def _class_names(config: Config, model: VideoClassifier, workdir: pathlib.Path) -> Mapping[str, Sequence[str]]:
    """What the classes are called: the data set knows, if it is there."""
    if config.data.path:
        return build.videos(config, model, workdir).class_names
    return moving_digits.CLASS_NAMES if config.data.name == "moving_digits" else {}
