"""Which clips `visualize` shows: a video file's, or those of the first videos of the config's data."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, VideoError, VideoItem, load_views, moving_digits
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.models import VideoClassifier


def chosen_clips(
    config: Config, model: VideoClassifier, protocol: ClipProtocol
) -> tuple[list[tuple[VideoItem, Float32[np.ndarray, "T H W 3"]]], Mapping[str, Sequence[str]]]:
    """Loads what `config.visualize` asks for.

    Returns:
        Videos, the first of their source, each with the pixels of one view as the model takes them; and the names of
        the classes by head, where they are known.

    Raises:
        UserError: There is no such view, or a video cannot be read.
    """
    keys, embedded = config.visualize, config.data.name == "moving_digits"
    if not 1 <= keys.view <= protocol.num_views:
        raise UserError(
            f"config.visualize.view is {keys.view}; the protocol takes {protocol.num_views} "
            f"view{'s' if protocol.num_views > 1 else ''} of a video, counted from 1."
        )
    if keys.num_videos < 1 and not keys.video:
        raise UserError(f"config.visualize.num_videos is {keys.num_videos}; expected at least 1.")
    if not (keys.video or config.data.path or embedded):
        raise UserError(
            "there is no video to show: give --config.visualize.video=FILE, or --config.data.path=FOLDER for the "
            "first videos of a folder."
        )

    def clip(item: VideoItem):
        return item, load_views(item, protocol)[keys.view - 1]

    if keys.video:
        try:
            shown = clip(VideoItem(os.path.basename(keys.video), keys.video))
        except VideoError as error:
            # Its name alone would not say where it was looked for.
            raise VideoError(keys.video, error.reason) from error
        if config.data.path:
            return [shown], build.videos(config, model).class_names
        return [shown], moving_digits.CLASS_NAMES if embedded else {}
    source = build.videos(config, model)
    return [clip(source[index]) for index in range(min(keys.num_videos, len(source)))], source.class_names
