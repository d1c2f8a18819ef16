"""One evaluation step on every device: views in, logits out."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from jax_vtm.data.source import SINGLE_HEAD
from jax_vtm.data.spatial import HALF, RGB, normalise
from jax_vtm.evaluation.data_parallel import DeviceStep
from jax_vtm.models import VideoClassifier


def head_names(model: VideoClassifier) -> dict[str, int]:
    """Returns the model's heads with their numbers of classes, a single one under the name "label"."""
    return {name or SINGLE_HEAD: classes for name, classes in model.heads}


def by_head(logits: Any) -> dict[str, Any]:
    """Returns a model's output as a dict over heads, also where there is only one."""
    return logits if isinstance(logits, dict) else {SINGLE_HEAD: logits}


def pixels(frames: Shaped[Array, "*any"], mean: RGB, std: RGB) -> Float[Array, "*any"]:
    """Normalises frames on the device, to the same bits as on the host; uint8 frames are a quarter of the bytes."""
    return normalise(frames, mean, std, rounded=jax.lax.optimization_barrier)


@functools.cache
def create_eval_step(
    model: VideoClassifier, random_seed: int = 0, clips_at_once: int = 0, mean: RGB = HALF, std: RGB = HALF
) -> DeviceStep:
    """Returns the step of a model for one device; the same arguments give the same step, so it is compiled once.

    The step maps (params, frames [B, V, T, H, W * 3] or [B, V, T, H, W, 3] of 0 to 255, indices [B]) to logits {head:
    float32 [B, V, K]}. Random reductions draw from the seed and each video's index, so that results depend neither on
    the batch nor on the number of devices.

    Args:
        model: The model.
        random_seed: For the random reductions.
        clips_at_once: Bounds the memory: so many clips, of whichever videos, go through the model at a time, one group
            after the other; 0 takes all of the batch at once.
        mean: Of the pixel values / 255 per colour.
        std: The same for the standard deviation.
    """

    def step(params, frames, indices):
        def apply(clips, rngs):
            return by_head(model.apply({"params": params}, pixels(clips, mean, std), rngs=rngs))

        logits = map_views(apply, frames, indices, random_seed if model.reduction.draws else None, clips_at_once)
        return {head: leaf.astype(jnp.float32) for head, leaf in logits.items()}

    return step


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
