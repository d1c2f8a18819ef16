"""Predicts the classes of a video, by name."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Int, Shaped

from jax_vtm.data import ClipProtocol, VideoItem, load_frames, published_protocol
from jax_vtm.data.spatial import RGB
from jax_vtm.errors import UserError
from jax_vtm.evaluation import as_probabilities, combine_heads, create_eval_step, head_names
from jax_vtm.models import VideoClassifier
from jax_vtm.models.patch_embedding import folded
from jax_vtm.models.releases import class_list, released_classes

ClassNames = Mapping[str, Sequence[str]]


def predict(
    video: str | os.PathLike[str] | bytes,
    model: VideoClassifier,
    variables: Mapping[str, Any],
    *,
    protocol: str | ClipProtocol = "standard",
    class_names: Sequence[str] | ClassNames | None = None,
    top: int = 5,
    random_seed: int = 0,
) -> dict[str, Any]:
    """Predicts the classes of a video; the first call with a model compiles.

    Args:
        video: Path or bytes of a video file.
        model: The model with its reduction.
        variables: `{"params": ...}`, as `load_checkpoint` returns them.
        protocol: A `ClipProtocol`, or the "standard", "paper" or "scenic" protocol of the data set with the model's
            classes.
        class_names: In the order of the outputs, by head if there are several. By default those of the released
            checkpoint with as many classes, else numbers.
        top: Number of classes; 0 returns all.
        random_seed: Of the random reductions.

    Returns:
        Probability by class name, highest first; by head, if the model has several.

    Raises:
        VideoError: The video cannot be read.
        UserError: There is no such protocol, or the number of names is wrong.
    """
    if isinstance(protocol, str):
        protocol = _published(protocol, model)
    heads = head_names(model)
    if class_names is None and (found := released_classes(model)):
        class_names = class_list(found)
    names = class_names if isinstance(class_names, Mapping) else dict.fromkeys(heads, class_names or ())
    for head, given in names.items():
        if given and len(given) != heads.get(head):
            raise UserError(f"class_names has {len(given)} names for {head!r}; the model's heads are {heads}.")
    name = "video" if isinstance(video, bytes) else os.fspath(video)
    frames = load_frames(VideoItem(name, video), protocol)[None]
    found = probabilities(model, variables["params"], frames, np.zeros(1, np.int32), protocol, random_seed=random_seed)
    named = {head: dict(ranked(values[0], names.get(head, ()), top)) for head, values in found.items()}
    return named if isinstance(model.num_classes, Mapping) else next(iter(named.values()))


def probabilities(
    model: VideoClassifier,
    params: Any,
    frames: Shaped[np.ndarray, "B V T H W 3"],
    indices: Int[np.ndarray, " B"],
    protocol: ClipProtocol,
    *,
    random_seed: int = 0,
    clips_at_once: int = 0,
) -> dict[str, Float32[np.ndarray, "B _"]]:
    """Applies a model to all views of videos and averages them.

    Args:
        model: The model.
        params: Its parameters.
        frames: uint8 views of `load_frames`.
        indices: The videos' indices, which seed random reductions.
        protocol: Has the normalisation and the view average.
        random_seed: Of the random reductions.
        clips_at_once: Clips in the model at a time, to save memory; 0 takes all.

    Returns:
        Probabilities by head; a single head is "label".
    """
    seed = random_seed if model.reduction.draws else 0
    step = _compiled(model, seed, clips_at_once, protocol.mean, protocol.std)
    logits = step(params, frames.reshape(folded(frames.shape)), indices)
    scores = combine_heads({head: np.asarray(values) for head, values in logits.items()}, protocol.view_average)
    return {head: as_probabilities(values, protocol.view_average) for head, values in scores.items()}


@functools.cache
def _compiled(model: VideoClassifier, random_seed: int, clips_at_once: int, mean: RGB, std: RGB):
    return jax.jit(create_eval_step(model, random_seed, clips_at_once, mean, std))


def ranked(values: Float32[np.ndarray, " K"], names: Sequence[str], top: int) -> list[tuple[str, float]]:
    """Returns the most likely classes, by name or number, with their probabilities."""
    order = np.argsort(-values, kind="stable")[: top or None].tolist()
    return [(names[int(index)] if names else str(index), float(values[index])) for index in order]


def _published(protocol: str, model: VideoClassifier) -> ClipProtocol:
    frames, height, width, _ = model.input_shape
    # Kinetics-710 has the protocol of its largest part.
    dataset = "kinetics400" if (found := released_classes(model)).startswith("kinetics710") else found
    if not dataset or height != width:
        raise UserError(
            f"no data set is known for the protocol {protocol!r} with {model.num_classes} classes at "
            f"{height} x {width} pixels; give a jax_vtm.data.ClipProtocol."
        )
    return published_protocol(protocol, model.family, dataset, num_frames=frames, crop=height)
