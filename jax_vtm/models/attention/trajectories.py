"""The second step of trajectory attention, over one summary per frame: by products, or by a kernel for TPUs.

The kernel reads summaries once, and writes neither their keys nor scores to memory. A head's sum over its channels is
a product with zeros and ones that leaves it in the lanes of all of them, so that the softmax over frames and the
weighted sum are elementwise, and nothing moves from lane to lane.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas
from jaxtyping import Array, Float

from jax_vtm.models.attention.tpu_flash import LANES, ROWS, product

# Summaries in fast memory at a time, and the frames of which there are enough for whole registers.
SUMMARIES, MAX_FRAMES = 1024, 64


def scores_by_head(query: Float[Array, "*#B C"], keys: Float[Array, "*#B C"], heads: int) -> Float[Array, "*B H"]:
    """Returns the scores of every query and its key, head by head, in float32.

    With channels of all heads in one axis, of which products with zeros and ones make sums, nothing moves on a TPU.

    Args:
        query: Of all heads, with the scale in it.
        keys: Of all heads, in as many axes; the two are broadcast.
        heads: H.
    """
    return _exact("...c,ch->...h", query * keys, _to_heads(keys, heads), preferred_element_type=jnp.float32)


def weighted_by_head(weights: Float[Array, "*B H"], values: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
    """Returns values of all heads times the weights, in the values' type."""
    return _exact("...h,ch->...c", weights.astype(values.dtype), _to_heads(values, weights.shape[-1])) * values


def _to_heads(x: Float[Array, "*B C"], heads: int) -> Float[Array, "C H"]:
    return jnp.repeat(jnp.eye(heads, dtype=x.dtype), x.shape[-1] // heads, axis=0)


def _exact(equation: str, x: jax.Array, to_heads: jax.Array, **settings) -> jax.Array:
    # Numbers of a narrow type are exact as they are.
    precision = "highest" if x.dtype == jnp.float32 else None
    return jnp.einsum(equation, x, to_heads, precision=precision, **settings)


def frame_weights(
    query: Float[Array, "B N H D"], summaries: Float[Array, "B F N C"], kernel: Float[Array, "C H D"]
) -> Float[Array, "B F N H"]:
    """Returns the weights of every patch's summaries, in float32.

    Args:
        query: Of every patch, with the scale in it.
        summaries: Of every patch, one per frame.
        kernel: Projects summaries to keys. A bias would add the same to all frames' scores.
    """
    keys = summaries @ kernel.reshape(kernel.shape[0], -1)
    scores = scores_by_head(query.reshape(*query.shape[:2], -1)[:, None], keys, query.shape[2])
    return jax.nn.softmax(scores, axis=1)


def suits(frames: int, heads: int, width: int) -> bool:
    """Whether the kernel takes so many frames, and heads that fill registers."""
    return frames <= MAX_FRAMES and LANES % width == 0 and heads * width % LANES == 0


def by_products(
    query: Float[Array, "B N H D"], summaries: Float[Array, "B F N C"], kernel: Float[Array, "C H D"]
) -> Float[Array, "B N H D"]:
    """Attends over every patch's summaries by products; arguments as of `frame_weights`."""
    weighted = weighted_by_head(frame_weights(query, summaries, kernel), summaries)
    return jnp.sum(weighted, axis=1).reshape(query.shape)


@jax.custom_vjp
def by_kernel(
    query: Float[Array, "B N H D"], summaries: Float[Array, "B F N C"], kernel: Float[Array, "C H D"]
) -> Float[Array, "B N H D"]:
    """Attends over every patch's summaries by the kernel; arguments as of `frame_weights`.

    Gradients are the plain form's.
    """
    from jax.experimental.pallas import tpu

    batch, frames, patches, channels = summaries.shape
    tile = SUMMARIES // frames // ROWS * ROWS
    of_patches = pallas.BlockSpec((None, tile, channels), lambda clip, tile: (clip, tile, 0))
    attended = pallas.pallas_call(
        functools.partial(_kernel, width=query.shape[-1]),
        grid=(batch, math.ceil(patches / tile)),
        in_specs=[
            of_patches,
            pallas.BlockSpec((None, frames, tile, channels), lambda clip, tile: (clip, 0, tile, 0)),
            pallas.BlockSpec((channels, channels), lambda clip, tile: (0, 0)),
        ],
        out_specs=of_patches,
        out_shape=jax.ShapeDtypeStruct((batch, patches, channels), summaries.dtype),
        compiler_params=tpu.CompilerParams(dimension_semantics=("parallel",) * 2),
        name="attention_along_trajectories",
    )(query.reshape(batch, patches, -1), summaries, kernel.reshape(channels, -1))
    return attended.reshape(query.shape)


def _forward(*inputs):
    return by_kernel(*inputs), inputs


def _backward(inputs, gradient):
    return jax.vjp(by_products, *inputs)[1](gradient)


by_kernel.defvjp(_forward, _backward)


def _kernel(query, summaries, kernel, attended, *, width):
    frames, tile, channels = summaries.shape
    dtype = summaries.dtype
    of_head = [jax.lax.broadcasted_iota(jnp.int32, (LANES, LANES), axis) & -width for axis in (0, 1)]
    same_head = jnp.where(of_head[0] == of_head[1], 1.0, 0.0).astype(dtype)
    rows = summaries[...].reshape(frames * tile, channels)
    for first in range(0, channels, LANES):
        here = slice(first, first + LANES)
        keys = product(rows, kernel[:, here], 0).astype(dtype).astype(jnp.float32)
        products = keys.reshape(frames, tile, LANES) * query[:, here].astype(jnp.float32)
        scores = product(products.astype(dtype).reshape(frames * tile, LANES), same_head, 0)
        scores = scores.reshape(frames, tile, LANES)
        weights = jnp.exp(scores - jnp.max(scores, axis=0))
        summed = jnp.sum(weights * summaries[:, :, here].astype(jnp.float32), axis=0)
        attended[:, here] = (summed / jnp.sum(weights, axis=0)).astype(dtype)
