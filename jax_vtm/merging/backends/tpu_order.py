"""Which sources have the highest scores, by a kernel for TPUs, which is compiled ten times as fast as two sorts.

A source's place is the number of those that come before it, counted over all pairs, 128 by 128 at a time; what has a
place is found by comparing all places with it. Tests run the kernel by its interpreter.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas
from jaxtyping import Array, Int

TILE = 128
# Numbers of so many sources, one to a row of a register, are what the kernel holds in a core's fast memory.
MOST_SOURCES = 4096
# Behind every key of a number.
_LAST = jnp.iinfo(jnp.int32).max - 1


def split_on_tpu(
    key: Int[Array, "B S"], destination: Int[Array, "B S"], r: int, *, ascending: bool, interpret: bool = False
) -> tuple[Int[Array, "B R"], Int[Array, "B R"], Int[Array, "B K"]]:
    """Splits sources as `order.split_by_score` does, by rising keys; equal ones in order.

    Args:
        key: Whole numbers of at most `MOST_SOURCES` sources.
        destination: A number that goes along with each.
        r: How many come first; neither none nor all.
        ascending: The others come in the order of their positions.
        interpret: Runs the kernel step by step on whatever there is, slowly.
    """
    # Here, so that without a TPU nothing of it is imported.
    from jax.experimental.pallas import tpu

    batch, count = key.shape

    def row(length: int) -> pallas.BlockSpec:
        return pallas.BlockSpec((None, 1, _filled(length)), lambda clip: (clip, 0, 0))

    lengths = (r, r, count - r)
    found = pallas.pallas_call(
        functools.partial(_kernel, count=count, r=r, ascending=ascending),
        grid=(batch,),
        in_specs=[row(count)] * 2,
        out_specs=[row(length) for length in lengths],
        out_shape=[jax.ShapeDtypeStruct((batch, 1, length), jnp.int32) for length in lengths],
        scratch_shapes=[tpu.VMEM((_filled(count), TILE), jnp.int32)] * 3,
        interpret=interpret,
        compiler_params=None if interpret else tpu.CompilerParams(dimension_semantics=("parallel",)),
        name="split_by_score",
    )(*(numbers.astype(jnp.int32)[:, None] for numbers in (key, destination)))
    src, of_src, kept = (one[:, 0] for one in found)
    return src, of_src, kept


def _filled(length: int) -> int:
    return math.ceil(length / TILE) * TILE


def _kernel(key, destination, src, of_src, kept, keys, destinations, places, *, count, r, ascending):
    tiles = math.ceil(count / TILE)
    row, column = (jax.lax.broadcasted_iota(jnp.int32, (TILE, TILE), axis) for axis in (0, 1))
    lane = jax.lax.broadcasted_iota(jnp.int32, (1, TILE), 1)
    nothing = jnp.zeros((TILE, TILE), jnp.int32)

    def key_of(tile):
        # Anything lies behind the last source; what is put there comes last.
        return jnp.where(tile * TILE + lane < count, key[:, _tile(tile)], _LAST)

    def lay_out(tile, _):
        keys[_tile(tile)] = _one_to_a_row(key_of(tile))
        destinations[_tile(tile)] = _one_to_a_row(destination[:, _tile(tile)])

    def place(tile, removed_before):
        own, others = key_of(tile), keys[_tile(tile)]
        equal_before = jnp.where((others == own) & (row < column), 1, 0)

        def add(other, found):
            # In tiles before this one, equal keys come before as well.
            return found + jnp.where(keys[_tile(other)] < own + jnp.where(other < tile, 1, 0), 1, 0)

        rank = _one_to_a_row(_sum(jax.lax.fori_loop(0, tiles, add, equal_before)))
        if ascending:
            removed = jnp.where(rank < r, 1, 0)
            before_in_tile = _sum(jnp.where(row < column, removed, 0))
            stays = tile * TILE + lane - removed_before - before_in_tile
            rank = jnp.where(rank < r, rank, r + _one_to_a_row(stays))
            removed_before += _sum(removed)
        places[_tile(tile)] = rank
        return removed_before

    def who_has(wanted):
        def add(tile, found):
            there = places[_tile(tile)] == wanted
            positions, others = found
            positions += jnp.where(there, tile * TILE + row, 0)
            return positions, others + jnp.where(there, destinations[_tile(tile)], 0)

        return map(_sum, jax.lax.fori_loop(0, tiles, add, (nothing, nothing)))

    def write_removed(tile, _):
        src[:, _tile(tile)], of_src[:, _tile(tile)] = who_has(tile * TILE + lane)

    def write_kept(tile, _):
        kept[:, _tile(tile)], _ = who_has(r + tile * TILE + lane)

    jax.lax.fori_loop(0, tiles, lay_out, None)
    jax.lax.fori_loop(0, tiles, place, jnp.zeros((1, TILE), jnp.int32))
    jax.lax.fori_loop(0, math.ceil(r / TILE), write_removed, None)
    jax.lax.fori_loop(0, math.ceil((count - r) / TILE), write_kept, None)


def _tile(number):
    return pallas.ds(pallas.multiple_of(number * TILE, TILE), TILE)


def _one_to_a_row(numbers: jax.Array) -> jax.Array:
    """Returns rows of one number each, [1, L] to [L, L]."""
    return jnp.broadcast_to(numbers, (TILE, TILE)).T


def _sum(numbers: jax.Array) -> jax.Array:
    return jnp.sum(numbers, axis=0, keepdims=True)
