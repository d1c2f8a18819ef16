"""One evaluation step on every device: views in, logits out."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jax_vtm.data.source import SINGLE_HEAD
from jax_vtm.data.spatial import RGB, normalise
from jax_vtm.evaluation.data_parallel import DeviceStep
from jax_vtm.models import VideoClassifier


def head_names(model: VideoClassifier) -> dict[str, int]:
    """Returns the model's heads with their numbers of classes, a single one under the name "label"."""
    return {name or SINGLE_HEAD: classes for name, classes in model.heads}


def by_head(logits: Any) -> dict[str, Any]:
    """Returns a model's output as a dict over heads, also where there is only one."""
    return logits if isinstance(logits, dict) else {SINGLE_HEAD: logits}


@functools.cache
def normaliser(mean: RGB, std: RGB) -> Callable[[jax.Array], jax.Array]:
    """Returns `normalise` compiled, which gives the same bits where the frames lie as on the host.

    uint8 frames are a quarter of the bytes that have to go to the devices.
    """
    return jax.jit(functools.partial(normalise, mean=mean, std=std, rounded=jax.lax.optimization_barrier))


@functools.cache
def create_eval_step(model: VideoClassifier, random_seed: int = 0, clips_at_once: int = 0) -> DeviceStep:
    """Returns the step of a model for one device; the same arguments give the same step, so it is compiled once.

    The step maps (params, views [B, V, T, H, W, 3], indices [B]) to logits {head: float32 [B, V, K]}. Random reductions
    draw from the seed and each video's index, so that results depend neither on the batch nor on the number of devices.
    `clips_at_once` bounds the memory: so many clips, of whichever videos, go through the model at a time, one group
    after the other; 0 takes all of the batch at once.
    """

    def step(params, views, indices):
        return view_logits(model, random_seed, params, views, indices, clips_at_once)

    return step


def view_logits(
    model: VideoClassifier,
    random_seed: int,
    params,
    views: Float[Array, "B V T H W 3"],
    indices: Int[Array, " B"],
    clips_at_once: int = 0,
) -> dict[str, Float[Array, "B V _"]]:
    """Applies the model to every view of every video."""

    def apply(clips, rngs):
        return by_head(model.apply({"params": params}, clips, rngs=rngs))

    logits = map_views(apply, views, indices, random_seed if model.reduction.is_random else None, clips_at_once)
    return {head: leaf.astype(jnp.float32) for head, leaf in logits.items()}


def map_views(
    function: Callable[[Any, dict[str, Array] | None], Any],
    views: Any,
    indices: Int[Array, " B"],
    random_seed: int | None,
    clips_at_once: int = 0,
) -> Any:
    """Applies a function of clips to every view of every video.

    Args:
        function: (tree of arrays [n, ...], random streams) -> tree of arrays [n, ...].
        views: Tree of arrays [B, V, ...].
        indices: The videos' numbers.
        random_seed: Each video draws from this and its number; None where nothing is random.
        clips_at_once: Clips that the function gets at a time, to save memory; 0 gives it all of them.

    Returns:
        Tree of arrays [B, V, ...].
    """
    batch, num_views = jax.tree.leaves(views)[0].shape[:2]
    clips = jax.tree.map(lambda leaf: leaf.reshape(batch * num_views, *leaf.shape[2:]), views)
    keys = None
    if random_seed is not None:
        keys = view_keys(random_seed, indices, num_views).reshape(-1)

    def one_clip(clip_and_key):
        clip, key = clip_and_key
        rngs = None if key is None else {"reduction": key}
        return jax.tree.map(lambda leaf: leaf[0], function(jax.tree.map(lambda leaf: leaf[None], clip), rngs))

    if 0 < clips_at_once < batch * num_views:
        found = jax.lax.map(one_clip, (clips, keys), batch_size=clips_at_once)
    elif keys is not None:
        found = jax.vmap(one_clip)((clips, keys))
    else:
        found = function(clips, None)
    return jax.tree.map(lambda leaf: leaf.reshape(batch, num_views, *leaf.shape[1:]), found)


def view_keys(random_seed: int, indices: Int[Array | np.ndarray, " B"], num_views: int) -> jax.Array:
    """Returns a random key for every view of every video, [B, V], from the videos' numbers in their source."""
    video_keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(random_seed), jnp.asarray(indices))
    return jax.vmap(lambda key: jax.random.split(key, num_views))(video_keys)
