"""Reduction before the first layer: a patch that hardly changes continues the run of the patch before it in time.

Source of the idea: "Don't Look Twice: Faster Video Transformers with Run-Length Tokenization" (Choudhury et al., 2024),
which keeps every patch whose change is above a threshold, so that every clip has another number of tokens. Here the K
patches that change most stay. K is static, and a run's length is its token's size, so that proportional attention
lets the token count for the whole run.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key

from jax_vtm.merging.merge import take_tokens
from jax_vtm.merging.schedule import InputReduction


@struct.dataclass
class KeptPatches:
    """The patches that stay, in ascending place.

    Attributes:
        places: Of every token, in the order (time, height, width).
        size: Length of its run, float32.
        membership: Token that every patch is part of, int32.
    """

    places: Int[Array, "B K"]
    size: Float[Array, "B K"]
    membership: Int[Array, "B N"]

    def with_class_token(self) -> "KeptPatches":
        """Returns the same with a class token in front, at place 0."""

        def behind(index, first):
            return jnp.concatenate([jnp.full((index.shape[0], 1), first, index.dtype), index], axis=1)

        return KeptPatches(behind(self.places + 1, 0), behind(self.size, 1), behind(self.membership + 1, 0))


def keep_patches(
    reduction: InputReduction, patches: Float[Array | np.ndarray, "B t h w P"], key: Key[Array, ""] | None = None
) -> tuple[Float[Array, "B K P"], KeptPatches]:
    """Returns the patches that stay, and their places and runs.

    A patch that goes joins the run of the last patch before it in time, at the same place, that stays. Those of the
    first time step always stay. Equal changes are decided for the earlier place.

    Args:
        reduction: How many stay, and which.
        patches: Normalised pixels.
        key: For a random choice.
    """
    batch, steps, height, width, numbers = patches.shape
    reduction.check((steps, height, width))
    patches = jnp.asarray(patches).reshape(batch, steps, -1, numbers)
    later = (batch, steps - 1, patches.shape[2])
    if reduction.by == "run_length":
        change = jnp.mean(jnp.abs(patches[:, 1:] - patches[:, :-1]), axis=-1, dtype=jnp.float32)
    elif reduction.by == "random":
        assert key is not None
        change = jax.random.uniform(key, later)
    else:
        spaced = evenly_spaced(reduction.keep - later[2], later[1], later[2])
        change = jnp.broadcast_to(spaced.astype(np.float32), later)
    change = jnp.concatenate([jnp.full((batch, 1, later[2]), jnp.inf), change], axis=1)
    # Of equal numbers, top_k takes the first.
    _, chosen = jax.lax.top_k(change.reshape(batch, -1), reduction.keep)
    places = jnp.sort(chosen, axis=-1)

    stays = jax.vmap(lambda none, index: none.at[index].set(True))(jnp.zeros((batch, steps * later[2]), bool), places)
    token = jnp.where(stays, jnp.cumsum(stays, axis=1, dtype=jnp.int32) - 1, -1).reshape(batch, steps, -1)
    # Tokens are numbered in the order of time, so the highest number up to a time is the run that goes on there.
    membership = jax.lax.cummax(token, axis=1).reshape(batch, -1)
    size = jax.vmap(lambda none, run: none.at[run].add(1))(jnp.zeros(places.shape, jnp.float32), membership)
    return take_tokens(patches.reshape(batch, -1, numbers), places), KeptPatches(places, size, membership)


def evenly_spaced(count: int, steps: int, places: int) -> Bool[np.ndarray, "steps places"]:
    """Marks so many patches, evenly spaced in time at each place and from there on to the next place."""
    chosen = np.zeros(steps * places, bool)
    chosen[(2 * np.arange(count) + 1) * chosen.size // (2 * max(count, 1))] = True
    return chosen.reshape(places, steps).T
