"""One clip through a model that tells which tokens it merged."""

import dataclasses
import functools

import jax
import numpy as np
from jaxtyping import Float

from jax_vtm.evaluation.evaluator import Variant
from jax_vtm.evaluation.step import by_head, view_keys
from jax_vtm.models import PatchGroups, VideoClassifier, patch_groups


@dataclasses.dataclass(frozen=True)
class TracedClip:
    """What a model says of a clip, and how it came to it.

    Attributes:
        logits: By head, a single one under the name "label".
        groups: Which patches became one, after every layer.
    """

    logits: dict[str, Float[np.ndarray, " _"]]
    groups: PatchGroups


def trace_clip(
    variant: Variant,
    clip: Float[np.ndarray, "T H W 3"],
    *,
    random_seed: int = 0,
    video: int = 0,
    view: int = 0,
    num_views: int = 1,
) -> TracedClip:
    """Applies a model that merges to one clip.

    Args:
        variant: The model, and its parameters.
        clip: Pixels as the model takes them.
        random_seed: Of the random reductions, which draw the same as in an evaluation of this video with this seed.
        video: Number of the clip's video in its source.
        view: Which of the video's views the clip is, from 0.
        num_views: How many there are.
    """
    key = view_keys(random_seed, np.array([video]), num_views)[0, view]
    logits, trace = _tracer(variant.model)(variant.params, clip, key)
    named = {head: np.asarray(values[0], np.float32) for head, values in by_head(logits).items()}
    return TracedClip(named, patch_groups(variant.model, trace))


def clip_logits(variant: Variant, clip: Float[np.ndarray, "T H W 3"]) -> dict[str, Float[np.ndarray, " _"]]:
    """Applies a model that merges nothing to one clip; returns logits by head."""
    logits = by_head(_plain(variant.model)(variant.params, clip))
    return {head: np.asarray(values[0], np.float32) for head, values in logits.items()}


@functools.cache
def _tracer(model: VideoClassifier):
    """The traced model, compiled once for all clips."""

    @jax.jit
    def apply(params, clip, key):
        return model.apply({"params": params}, clip[None], trace=True, rngs={"reduction": key})

    return apply


@functools.cache
def _plain(model: VideoClassifier):
    return jax.jit(lambda params, clip: model.apply({"params": params}, clip[None]))
