"""Attention that holds one tile of scores at a time, made for CPUs.

A tile is of a single head as long as that fills it: XLA's products on a CPU are fast for a few hundred queries of one
head, and slow for the few queries of all heads that would take the same memory. Where heads are small, as after much
merging, a tile is of several. docs/benchmarks.md has what else was tried.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax_vtm.models.attention.plain import attend_scaled

# Scores of one tile, in float32: small enough for a core's share of the caches, large enough for efficient products.
TILE_BYTES = 4 * 2**20

_tile = jax.checkpoint(attend_scaled)


def chunked_attention(
    query: Float[Array, "B T H D"],
    key: Float[Array, "B S H D"],
    value: Float[Array, "B S H D"],
    key_bias: Float[Array, "B S"] | None = None,
) -> Float[Array, "B T H D"]:
    """Attends; arguments as of `attend`. Tiles are recomputed in the backward pass."""
    batch, num_queries, heads, width = query.shape
    num_keys = key.shape[1]
    if key_bias is None:
        key_bias = jnp.zeros((batch, num_keys), jnp.float32)
    # Every head of every clip by itself.
    query, key, value = (
        part.swapaxes(1, 2).reshape(batch * heads, -1, width) for part in (query * width**-0.5, key, value)
    )
    key_bias = jnp.repeat(key_bias, heads, axis=0)
    bytes_per_head = num_queries * num_keys * 4
    if bytes_per_head <= TILE_BYTES:
        attended = _several_heads_at_a_time(query, key, value, key_bias, TILE_BYTES // max(bytes_per_head, 1))
    else:
        attended = _a_part_of_a_head_at_a_time(query, key, value, key_bias, max(1, TILE_BYTES // (num_keys * 4)))
    return attended.reshape(batch, heads, num_queries, width).swapaxes(1, 2)


def _several_heads_at_a_time(query, key, value, key_bias, at_most: int):
    count = len(query)
    together = next(size for size in range(min(at_most, count), 0, -1) if count % size == 0)
    if together == count:
        return _tile(query, key, value, key_bias)
    groups = [part.reshape(-1, together, *part.shape[1:]) for part in (query, key, value, key_bias)]
    return jax.lax.map(lambda group: _tile(*group), groups).reshape(query.shape)


def _a_part_of_a_head_at_a_time(query, key, value, key_bias, at_most: int):
    _, num_queries, width = query.shape
    num_parts = math.ceil(num_queries / at_most)
    size = math.ceil(num_queries / num_parts)
    padded = jnp.pad(query, ((0, 0), (0, num_parts * size - num_queries), (0, 0)))

    def one_head(head):
        query, key, value, key_bias = head
        parts = query.reshape(num_parts, size, width)
        return jax.lax.map(lambda part: _tile(part, key, value, key_bias), parts).reshape(-1, width)

    return jax.lax.map(one_head, (padded, key, value, key_bias))[:, :num_queries]
