"""Attention over time by a kernel for TPUs: tokens at one place of every frame attend to each other.

There are few frames and many places, so a product per place would fill a sixteenth of the matrix unit, and places in
front of frames would have to be laid out. Here the tokens of 16 places and all frames, which lie together as rows of
registers, attend to each other at once, and scores of unequal places have no weight: sixteen times the arithmetic, in
a fraction of the time.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas
from jaxtyping import Array, Float

from jax_vtm.models.attention.plain import plain_attention
from jax_vtm.models.attention.tpu_flash import FILLING_BIAS, LANES, ROWS, heads_of_lanes, joined, of_row, product, split

# With more, scores of 16 places fill the fast memory, and over so many tokens there are better ways.
MAX_FRAMES = 32
# That are in fast memory at a time, at most.
TOKENS = 2048


def suits(frames: int, heads: int, width: int) -> bool:
    """Whether the kernel takes so many frames, and heads that fill registers."""
    return frames <= MAX_FRAMES and LANES % width == 0 and heads * width % LANES == 0


@jax.custom_vjp
def tpu_attention_over_frames(
    query: Float[Array, "B F P H D"], key: Float[Array, "B F P H D"], value: Float[Array, "B F P H D"]
) -> Float[Array, "B F P H D"]:
    """Attends among the F tokens of every place. Gradients are the plain form's."""
    from jax.experimental.pallas import tpu

    batch, frames, places, heads, width = query.shape
    flat = [part.reshape(batch, frames, places, heads * width) for part in (query, key, value)]
    num_tiles = math.ceil(places * frames / TOKENS)
    tile = math.ceil(places / num_tiles / ROWS) * ROWS
    block = pallas.BlockSpec((None, frames, tile, LANES), lambda clip, heads, tile: (clip, 0, tile, heads))
    attended = pallas.pallas_call(
        functools.partial(_kernel, scale=width**-0.5, width=width, num_places=places),
        grid=(batch, heads * width // LANES, math.ceil(places / tile)),
        in_specs=[block] * 3,
        out_specs=block,
        out_shape=jax.ShapeDtypeStruct(flat[0].shape, value.dtype),
        compiler_params=tpu.CompilerParams(dimension_semantics=("parallel",) * 3),
        name="attention_over_frames",
    )(*flat)
    return attended.reshape(query.shape)


def _forward(*inputs):
    return tpu_attention_over_frames(*inputs), inputs


def _backward(inputs, gradient):
    return jax.vjp(jax.vmap(plain_attention, in_axes=2, out_axes=2), *inputs)[1](gradient)


tpu_attention_over_frames.defvjp(_forward, _backward)


def _kernel(query, key, value, attended, *, scale, width, num_places):
    frames, tile, lanes = query.shape
    of_head = heads_of_lanes(lanes, width)
    row, column = (jax.lax.broadcasted_iota(jnp.int32, (frames * ROWS,) * 2, axis) for axis in (0, 1))
    same_place = (row & (ROWS - 1)) == (column & (ROWS - 1))
    place = jax.lax.broadcasted_iota(jnp.int32, (frames * ROWS, 1), 0) & (ROWS - 1)
    left = num_places - pallas.program_id(2) * tile
    for first in range(0, tile, ROWS):
        here = (slice(None), slice(first, first + ROWS))
        queries, keys, values = (part[here].reshape(frames * ROWS, lanes) for part in (query, key, value))
        # Anything lies behind the last place, and zero times that may be no number.
        values = jnp.where(place < left - first, values, jnp.zeros_like(values))
        own = [jnp.where(same_place, product(part, keys, 1), FILLING_BIAS) for part in split(queries, of_head, scale)]
        weights = [jnp.exp(scores - of_row(jnp.max, scores)) for scores in own]
        added = [product(part.astype(values.dtype), values, 0) for part in weights]
        total = joined(added, of_head) / joined([of_row(jnp.sum, part) for part in weights], of_head)
        attended[here] = total.astype(attended.dtype).reshape(frames, ROWS, lanes)
