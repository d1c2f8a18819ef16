"""Attention by the flash kernel for TPUs that JAX ships, in bfloat16.

The kernel takes whole tiles of tokens, and a bias only as a matrix of all queries and keys. Both a bias per key and
the keys that fill the last tile up go through extra channels; those keys have so low a bias that their weight is
exactly zero. Channels are filled up to the width of the TPU's registers, which they take anyway.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jax_vtm.models.attention.extra_channels import pad_channels, with_bias_channels

TILE = 128
LANES = 128
# Far below every score, and far from overflowing when it is divided by the scale.
FILLING_BIAS = -1e9


def tpu_flash_attention(
    query: Float[Array, "B T H D"],
    key: Float[Array, "B S H D"],
    value: Float[Array, "B S H D"],
    key_bias: Float[Array, "B S"] | None = None,
) -> Float[Array, "B T H D"]:
    """Attends; arguments as of `attend`."""
    # Here, so that without a TPU nothing experimental of JAX is imported.
    from jax.experimental.pallas.ops.tpu.flash_attention import flash_attention

    num_queries, width = query.shape[1], query.shape[-1]
    query, key, value, scale = prepare(query, key, value, key_bias)
    attended = flash_attention(query, key, value, sm_scale=scale)
    return attended.swapaxes(1, 2)[:, :num_queries, :, :width]


def prepare(
    query: Float[Array, "B T H D"],
    key: Float[Array, "B S H D"],
    value: Float[Array, "B S H D"],
    key_bias: Float[Array, "B S"] | None,
) -> tuple[Float[Array, "B H U E"], Float[Array, "B H V E"], Float[Array, "B H V E"], float]:
    """Returns queries, keys, values and scale for a kernel without a bias that takes whole tiles."""
    batch, num_keys, _, width = key.shape
    scale = width**-0.5
    filling = -num_keys % TILE
    if key_bias is None and filling:
        key_bias = jnp.zeros((batch, num_keys), jnp.float32)
    query, key, value = (_fill_tiles(part) for part in (query, key, value))
    if key_bias is not None:
        key_bias = jnp.pad(key_bias, ((0, 0), (0, filling)), constant_values=FILLING_BIAS)
        query, key = with_bias_channels(query, key, key_bias, scale)
    query, key = pad_channels(query, LANES), pad_channels(key, LANES)
    value = pad_channels(value, query.shape[-1])
    query, key, value = (part.swapaxes(1, 2) for part in (query, key, value))
    return query, key, value, scale


def _fill_tiles(x: Float[Array, "B N H D"]) -> Float[Array, "B M H D"]:
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % TILE), (0, 0), (0, 0)))
