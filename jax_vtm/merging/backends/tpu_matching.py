"""Each source's most similar destination by a kernel for TPUs, from the tokens' features as they lie.

A strided slice of even or odd tokens takes longer to compile than this kernel, and a product in float32 goes through
the matrix unit six times with half of its rows empty, where features are 64. Here every number is split in three of
bfloat16, whose sum it is, and the six products of these that count are three of twice as many features. Sums are in
float32. Of S x T scores nothing but 2 S numbers reach the memory. Tests run the kernel by its interpreter.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas
from jaxtyping import Array, Float, Int

TILE = 128
# Features lie in the lanes of a register, of which strided reads take one. A clip's tokens, twice while the next clip's
# are fetched, and two times two parts of every destination take so much of a core's fast memory at most; kinds of TPU
# that have little have 16 MiB.
LANES = 128
MOST_BYTES = 12 * 2**20
BYTES_OF_A_TOKEN = 2 * LANES * 4 + 2 * LANES * 2


def fits_a_tpu(num_tokens: int, width: int) -> bool:
    """Whether the kernel has a place for so many tokens and features."""
    return width <= LANES and num_tokens * BYTES_OF_A_TOKEN <= MOST_BYTES


def nearest_on_tpu(
    metric: Float[Array, "B N M"], *, interpret: bool = False
) -> tuple[Float[Array, "B S"], Int[Array, "B S"]]:
    """Returns each source's highest cosine similarity with a destination, and whose that is: the first of equal ones.

    Args:
        metric: Feature per token, in float32, of at least two tokens, that `fits_a_tpu`.
        interpret: Runs the kernel step by step on whatever there is, slowly.
    """
    # Here, so that without a TPU nothing of it is imported.
    from jax.experimental.pallas import tpu

    batch, num_tokens, width = metric.shape
    num_sources, num_destinations = (num_tokens + 1) // 2, num_tokens // 2
    tiles = math.ceil(num_sources / TILE)
    rows = pallas.BlockSpec((None, 1, TILE), lambda clip, tile: (clip, 0, tile))
    parts = tpu.VMEM((math.ceil(num_destinations / TILE) * TILE, 2 * width), jnp.bfloat16)
    score, destination = pallas.pallas_call(
        functools.partial(_kernel, num_destinations=num_destinations),
        grid=(batch, tiles),
        in_specs=[
            pallas.BlockSpec((None, 2 * TILE, width), lambda clip, tile: (clip, tile, 0)),
            pallas.BlockSpec((None, num_tokens, width), lambda clip, tile: (clip, 0, 0)),
        ],
        out_specs=[rows, rows],
        out_shape=[jax.ShapeDtypeStruct((batch, 1, tiles * TILE), dtype) for dtype in (jnp.float32, jnp.int32)],
        scratch_shapes=[parts, parts],
        interpret=interpret,
        # A clip's first program splits its destinations for all others.
        compiler_params=None if interpret else tpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
        name="nearest_destination",
    )(metric, metric)
    return score[:, 0, :num_sources], destination[:, 0, :num_sources]


def _kernel(tokens, all_tokens, score, destination, high_and_middle, high_and_low, *, num_destinations):
    @pallas.when(pallas.program_id(1) == 0)
    def _():
        for first in range(0, num_destinations, TILE):
            count = min(TILE, num_destinations - first)
            high, middle, low = _unit_parts(all_tokens[pallas.ds(2 * first + 1, count, stride=2)])
            high_and_middle[first : first + count] = jnp.concatenate([high, middle], axis=1)
            high_and_low[first : first + count] = jnp.concatenate([high, low], axis=1)

    high, middle, low = _unit_parts(tokens[pallas.ds(0, TILE, stride=2)])
    twice, second, third = (
        jnp.concatenate([part, other], axis=1) for part, other in ((high, high), (middle, high), (low, middle))
    )

    def step(tile, best):
        best_score, best_destination = best
        here = pallas.ds(tile * TILE, TILE)
        # One row per destination, so that what is left of a column lies as it is stored.
        found = _product(high_and_low[here], second) + _product(high_and_middle[here], third)
        found += _product(high_and_middle[here], twice)
        position = tile * TILE + jax.lax.broadcasted_iota(jnp.int32, found.shape, 0)
        found = jnp.where(position < num_destinations, found, -jnp.inf)
        highest = jnp.max(found, axis=0, keepdims=True)
        lowest_position = jnp.min(jnp.where(found == highest, position, num_destinations - 1), axis=0, keepdims=True)
        # An equal score further on does not win.
        better = highest > best_score
        return jnp.where(better, highest, best_score), jnp.where(better, lowest_position, best_destination)

    nothing = jnp.full((1, TILE), -jnp.inf), jnp.zeros((1, TILE), jnp.int32)
    score[...], destination[...] = jax.lax.fori_loop(0, math.ceil(num_destinations / TILE), step, nothing)


def _unit_parts(metric: jax.Array) -> list[jax.Array]:
    """Returns vectors of length one, an all-zero one as it is, each as three of bfloat16 whose sum it is."""
    squared = jnp.sum(metric * metric, axis=1, keepdims=True)
    left, parts = metric * jax.lax.rsqrt(jnp.where(squared > 0, squared, 1.0)), []
    for _ in range(3):
        parts.append(left.astype(jnp.bfloat16))
        left = left - parts[-1].astype(jnp.float32)
    return parts


def _product(destinations: jax.Array, sources: jax.Array) -> jax.Array:
    return jax.lax.dot_general(destinations, sources, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
