"""uint8 frames to what a model takes, on the devices: a quarter of the bytes have to go there."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jax_vtm.data.pixels import RGB, scale_and_shift


@functools.cache
def normaliser(mean: RGB, std: RGB) -> Callable[[jax.Array], jax.Array]:
    """Returns a compiled function that does what `data.pixels.normalise` does, to the bit, where the array lies."""
    scale, shift = scale_and_shift(mean, std)

    @jax.jit
    def normalise(frames: jax.Array) -> jax.Array:
        scaled = frames.astype(jnp.float32) * scale
        # Fused into one operation, product and difference would be rounded once and not twice as on the host.
        return jax.lax.optimization_barrier(scaled) - shift

    return normalise
