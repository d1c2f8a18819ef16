"""Attention that holds one tile of scores at a time, made for CPUs.

A tile is of many queries of one head or, where heads are small, as after much merging, of several whole heads. XLA's
products on a CPU are fast for many rows, as long as a tile stays in the cache that the cores share: outside it they are
slower by half. docs/benchmarks.md has what was measured, and what else was tried.
"""

import functools
import math
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax_vtm.models.attention.plain import attend_scaled

# Queries of a tile at least, where a head is divided. More gain nothing.
QUERIES = 768

# Where Linux says the size of that cache, such as 32768K.
LAST_CACHE = pathlib.Path("/sys/devices/system/cpu/cpu0/cache/index3/size")

# Of that cache, what a tile of scores may take; and the cache of machines that do not tell.
SHARE_OF_CACHE, UNKNOWN_CACHE_BYTES = 7 / 8, 8 * 2**20

# Caches of large machines are several, of which one thread sees one.
LARGEST_CACHE_BYTES = 32 * 2**20


class Tile(NamedTuple):
    """Scores that are held at a time.

    Attributes:
        queries: Of every head at most; fewer where all of a head's tiles are then of one size.
        heads: At most, if these are all queries that a head has; a divided head has tiles of its own.
    """

    queries: int
    heads: int = 1


_attend_tile = jax.checkpoint(attend_scaled)


def chunked_attention(
    query: Float[Array, "B T H D"],
    key: Float[Array, "B S H D"],
    value: Float[Array, "B S H D"],
    key_bias: Float[Array, "B S"] | None = None,
    *,
    tile: Tile | None = None,
) -> Float[Array, "B T H D"]:
    """Attends; arguments as of `attend`. Tiles, by default of `best_tile`, are recomputed in the backward pass."""
    batch, num_queries, heads, width = query.shape
    num_keys = key.shape[1]
    tile = tile or best_tile(num_queries, num_keys)
    if key_bias is None:
        key_bias = jnp.zeros((batch, num_keys), jnp.float32)
    # Every head of every clip by itself.
    query, key, value = (
        part.swapaxes(1, 2).reshape(batch * heads, -1, width) for part in (query * width**-0.5, key, value)
    )
    key_bias = jnp.repeat(key_bias, heads, axis=0)
    if num_queries <= tile.queries:
        attended = _several_heads_at_a_time(query, key, value, key_bias, tile.heads)
    else:
        attended = _a_part_of_a_head_at_a_time(query, key, value, key_bias, tile.queries)
    return attended.reshape(batch, heads, num_queries, width).swapaxes(1, 2)


def best_tile(num_queries: int, num_keys: int) -> Tile:
    """Returns the tile that is fastest on a CPU, as far as known."""
    most_queries = max(1, tile_bytes() // (4 * max(num_keys, 1)))
    num_parts = max(1, num_queries // QUERIES, math.ceil(num_queries / most_queries))
    return Tile(math.ceil(num_queries / num_parts), max(1, most_queries // max(num_queries, 1)))


@functools.cache
def tile_bytes() -> int:
    """Returns how much memory the scores of one tile may take, in float32, on this machine."""
    try:
        cache = int(LAST_CACHE.read_text().strip().removesuffix("K")) * 2**10
    except (OSError, ValueError):
        # Not every system has this file.
        cache = UNKNOWN_CACHE_BYTES
    return int(SHARE_OF_CACHE * min(cache, LARGEST_CACHE_BYTES))


def _several_heads_at_a_time(query, key, value, key_bias, at_most: int):
    count = len(query)
    together = next(size for size in range(min(at_most, count), 0, -1) if count % size == 0)
    if together == count:
        return _attend_tile(query, key, value, key_bias)
    groups = [part.reshape(-1, together, *part.shape[1:]) for part in (query, key, value, key_bias)]
    return jax.lax.map(lambda group: _attend_tile(*group), groups).reshape(query.shape)


def _a_part_of_a_head_at_a_time(query, key, value, key_bias, at_most: int):
    _, num_queries, width = query.shape
    num_parts = math.ceil(num_queries / at_most)
    size = math.ceil(num_queries / num_parts)
    padded = jnp.pad(query, ((0, 0), (0, num_parts * size - num_queries), (0, 0)))

    def one_head(head):
        query, key, value, key_bias = head
        parts = query.reshape(num_parts, size, width)
        return jax.lax.map(lambda part: _attend_tile(part, key, value, key_bias), parts).reshape(-1, width)

    return jax.lax.map(one_head, (padded, key, value, key_bias))[:, :num_queries]
