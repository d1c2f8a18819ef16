"""A bias per key as more channels of queries and keys, for fused kernels that know no bias of this shape.

The product of the extra channels is the bias: queries hold ones there, keys the bias, divided by the scale that the
kernel multiplies scores by. A narrow type would round it, so a key holds it in three parts that add up to its float32
value: the nearest number of that type, the nearest one to the rest, and to the rest of that. Kernels add products up
in float32.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

NUM_PARTS = 3


def with_bias_channels(
    query: Float[Array, "B T H D"],
    key: Float[Array, "B S H D"],
    key_bias: Float[Array, "B S"],
    scale: float,
) -> tuple[Float[Array, "B T H E"], Float[Array, "B S H E"]]:
    """Returns queries and keys with E = D + 3 channels, whose scaled products have the bias in them.

    Args:
        query: Queries.
        key: Keys.
        key_bias: What is to be added to the scaled scores of each key; finite.
        scale: What the kernel multiplies products by.
    """
    ones = jnp.ones((*query.shape[:-1], NUM_PARTS), query.dtype)
    parts = _parts(key_bias.astype(jnp.float32) / scale, key.dtype)
    parts = jnp.broadcast_to(parts[:, :, None, :], (*key.shape[:-1], NUM_PARTS)).astype(key.dtype)
    return jnp.concatenate([query, ones], axis=-1), jnp.concatenate([key, parts], axis=-1)


def pad_channels(x: Float[Array, "B N H E"], multiple: int) -> Float[Array, "B N H F"]:
    """Appends channels of zeros up to a multiple."""
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, -x.shape[-1] % multiple)))


def _parts(x: Float[Array, "B S"], dtype) -> Float[Array, "B S 3"]:
    kind = jnp.finfo(dtype)
    parts = []
    for _ in range(NUM_PARTS):
        # Not a conversion there and back, which the compiler takes the liberty to leave out.
        part = jax.lax.reduce_precision(x, exponent_bits=kind.nexp, mantissa_bits=kind.nmant)
        parts.append(part)
        x = x - part
    return jnp.stack(parts, axis=-1)
