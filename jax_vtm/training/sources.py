"""From a config to the clips that a model is trained on."""

import contextlib
import copy
import dataclasses

import jax

from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, Failure, VideoSource, moving_digits, source_digest
from jax_vtm.data.augmentation.settings import Augmentation, published_augmentation
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.models import VideoClassifier
from jax_vtm.regular_file import as_path
from jax_vtm.training.clips import ClipBatch, TrainingClips


class EmbeddedDigits:
    """The embedded digits in the form of `TrainingClips`: drawn as they are asked for, so that none can fail."""

    def __init__(self, seed: int, host: int, num_hosts: int):
        self._seed, self._host, self._num_hosts = seed, host, num_hosts
        self.failures: dict[str, Failure] = {}
        self.per_epoch = len(moving_digits.digits(test=False)[1]) * len(moving_digits.VERBS)

    def __call__(self, step: int, batch_size: int) -> ClipBatch:
        """Returns this host's part of one step's batch."""
        rows = batch_size // self._num_hosts
        part = slice(self._host * rows, (self._host + 1) * rows)
        batch = ClipBatch(*moving_digits.training_batch(self._seed, step, batch_size))
        return jax.tree.map(lambda leaf: leaf[part], batch)

    def close(self) -> None:
        """Does nothing: there is nothing that prepares what comes next."""


def open_training_clips(
    config: Config, model: VideoClassifier, protocol: ClipProtocol
) -> TrainingClips | EmbeddedDigits:
    """Opens the videos of `config.clips`, of which every process gets its part of each batch.

    Raises:
        UserError: No videos, those that are evaluated, or settings that do not go together.
    """
    if config.data.name == "moving_digits" and not (config.clips.path or config.data.path):
        return EmbeddedDigits(config.train.seed, jax.process_index(), jax.process_count())
    return TrainingClips(
        _videos(config, model),
        protocol,
        augmentation(config, model),
        seed=config.train.seed,
        host=jax.process_index(),
        num_hosts=jax.process_count(),
        num_threads=config.data.num_threads,
        num_workers=config.data.num_workers,
    )


def augmentation(config: Config, model: VideoClassifier) -> Augmentation:
    """Reads what is changed at random: the values of `train.recipe`, but for those that `config.clips` says."""
    clips = config.clips
    names = (field.name for field in dataclasses.fields(Augmentation))
    given = {name: clips[name] for name in names if clips[name] is not None}
    if not config.train.recipe:
        return Augmentation(**given)
    size = model.input_shape[1]
    return published_augmentation(config.train.recipe, model.family, config.data.name, crop=size, **given)


def _videos(config: Config, model: VideoClassifier) -> VideoSource:
    wanted = copy.deepcopy(config)
    wanted.data.num_videos, wanted.data.split = 0, config.clips.split
    wanted.data.path = config.clips.path or config.data.path
    # A list that is evaluated is not one to train on; a folder may have both.
    folder = config.data.annotations if _is_folder(config.data.annotations) else ""
    wanted.data.annotations = config.clips.annotations or folder
    videos = build.videos(wanted, model)
    if not videos.heads:
        raise UserError(f"{wanted.data.path}: its videos have no labels, which training takes.")
    if wanted.data.path == config.data.path and source_digest(videos) == _digest_of_evaluation(config, model):
        raise UserError(
            f"{config.data.path}: its videos are evaluated, too. Give the videos to train on by config.clips.path, or "
            "their list by config.clips.annotations."
        )
    return videos


def _digest_of_evaluation(config: Config, model: VideoClassifier) -> str:
    evaluated = copy.deepcopy(config)
    evaluated.data.num_videos = 0
    with contextlib.suppress(UserError):
        return source_digest(build.videos(evaluated, model))
    return ""


def _is_folder(path: str) -> bool:
    return bool(path) and as_path(path).is_dir()
