"""Attention by a kernel of our own for TPUs, which takes projections as they lie and writes no scores to memory.

JAX's kernels want heads in front of tokens, 128 channels for each and a bias for every pair of tokens; moving queries,
keys and values there and back takes longer than projecting them. This one takes [B, N, H * D], as a projection writes
it. Heads that share the 128 lanes of a register are computed together: a product over all lanes, with the queries of
other heads set to zero, takes the matrix unit as long as one over the channels of a head. Keys and values of a clip
lie in fast memory. Scores are there a tile at a time, in float32, and the softmax is corrected from tile to tile.
Products are of bfloat16, their sums in float32.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas
from jaxtyping import Array, Float

from jax_vtm.models.attention.plain import each_with_own_queries, plain_attention, with_unbiased_queries

LANES = 128
# Queries of a tile, about, and the rows of a register, of which they are a multiple. docs/benchmarks.md has the
# compiler's schedules of other tiles.
QUERIES, ROWS = 256, 16
# Keys of a tile. The number is taken that wastes least; one more tile takes as long as some more keys.
KEYS, KEYS_OF_A_TILE = range(LANES, 6 * LANES, LANES), 32
# Tiles of keys in one stretch of code, which the compiler interleaves: all, or some at a time where they are many.
MOST_TILES, TILES_OF_MANY = 5, 2
# Keys and values of so many tokens fit into the fast memory of every kind of TPU, next to scores.
MAX_KEYS = 8192
# Keys with it have no weight at all.
FILLING_BIAS = -1e30


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def tpu_flash_attention(
    query: Float[Array, "A T H D"],
    key: Float[Array, "B S H D"],
    value: Float[Array, "B S H D"],
    key_bias: Float[Array, "B S"] | None = None,
    unbiased: int = 0,
) -> Float[Array, "B T H D"]:
    """Attends; arguments as of `attend`. Every query row serves B / A rows of keys. Gradients are the plain form's."""
    # Here, so that without a TPU nothing of it is imported.
    from jax.experimental.pallas import tpu

    batch, num_keys, heads, width = key.shape
    num_queries = query.shape[1]
    together = LANES // width if width and LANES % width == 0 else 0
    if not together or heads % together:
        # Every head has registers of its own.
        together, filling = 1, [(0, 0)] * 3 + [(0, -width % LANES)]
        query, key, value = (jnp.pad(part, filling) for part in (query, key, value))
    query, key, value = (part.reshape(*part.shape[:2], -1) for part in (query, key, value))
    lanes = key.shape[-1] // heads * together

    query_tile = _ceil(num_queries / max(1, round(num_queries / QUERIES)), ROWS)
    key_tile = min(KEYS, key=lambda keys: (math.ceil(num_keys / keys) * (keys + KEYS_OF_A_TILE), -keys))
    filled_keys = _ceil(num_keys, key_tile)
    if key_bias is None:
        key_bias, unbiased = jnp.zeros((batch, num_keys), jnp.float32), 0
    filling = ((0, 0), (0, filled_keys - num_keys))
    key_bias = jnp.pad(key_bias.astype(jnp.float32), filling, constant_values=FILLING_BIAS)[:, None]

    # Keys of one clip stay where they are while its queries pass.
    sharing = batch // len(query)
    of_keys = pallas.BlockSpec((None, filled_keys, lanes), lambda clip, heads, tile: (clip, 0, heads))
    attended = pallas.pallas_call(
        functools.partial(
            _kernel,
            scale=width**-0.5,
            width=lanes // together,
            num_keys=num_keys,
            key_tile=key_tile,
            unbiased=unbiased,
        ),
        grid=(batch, heads // together, math.ceil(num_queries / query_tile)),
        in_specs=[
            pallas.BlockSpec(
                (None, query_tile, lanes), lambda clip, heads, tile: (jax.lax.div(clip, sharing), tile, heads)
            ),
            of_keys,
            of_keys,
            pallas.BlockSpec((None, 1, filled_keys), lambda clip, heads, tile: (clip, 0, 0)),
        ],
        out_specs=pallas.BlockSpec((None, query_tile, lanes), lambda clip, heads, tile: (clip, tile, heads)),
        out_shape=jax.ShapeDtypeStruct((batch, num_queries, key.shape[-1]), value.dtype),
        compiler_params=tpu.CompilerParams(dimension_semantics=("parallel",) * 3),
        name="attention",
    )(query, key, value, key_bias)
    return attended.reshape(batch, num_queries, heads, -1)[..., :width]


def _forward(query, key, value, key_bias, unbiased):
    return tpu_flash_attention(query, key, value, key_bias, unbiased), (query, key, value, key_bias)


def _backward(unbiased, inputs, gradient):
    def plain(query, key, *others):
        return with_unbiased_queries(plain_attention, unbiased, each_with_own_queries(query, key), key, *others)

    return jax.vjp(plain, *inputs)[1](gradient)


tpu_flash_attention.defvjp(_forward, _backward)


def _kernel(query, key, value, key_bias, attended, *, scale, width, num_keys, key_tile, unbiased):
    rows, lanes = query.shape
    of_head = heads_of_lanes(lanes, width)
    queries = split(query[...], of_head, scale)
    row = pallas.program_id(2) * rows + jax.lax.broadcasted_iota(jnp.int32, (rows, 1), 0)

    def step(tile, found, *, ragged=False):
        total, highest, weight = found
        here = pallas.ds(tile * key_tile, key_tile)
        keys, values, bias = key[here], value[here], key_bias[:, here]
        if ragged:
            # Anything lies behind the last key, and zero times that may be no number.
            exists = jax.lax.broadcasted_iota(jnp.int32, (key_tile, 1), 0) < num_keys - tile * key_tile
            keys, values = (jnp.where(exists, part, jnp.zeros_like(part)) for part in (keys, values))
        if unbiased:
            column = tile * key_tile + jax.lax.broadcasted_iota(jnp.int32, (1, key_tile), 1)
            bias = jnp.where((row < unbiased) & (column < num_keys), 0.0, bias)
        # All heads' scores come first, so that one's softmax goes along with another's products.
        scores = [product(own, keys, 1) + bias for own in queries]
        higher = [jnp.maximum(*pair) for pair in zip(highest, (of_row(jnp.max, own) for own in scores), strict=True)]
        weights = [jnp.exp(own - top) for own, top in zip(scores, higher, strict=True)]
        shrink = [jnp.exp(before - top) for before, top in zip(highest, higher, strict=True)]
        weight = [sum_ * by + of_row(jnp.sum, own) for sum_, by, own in zip(weight, shrink, weights, strict=True)]
        added = [product(own.astype(values.dtype), values, 0) for own in weights]
        return total * joined(shrink, of_head) + joined(added, of_head), higher, weight

    lowest, none = ([jnp.full((rows, 1), start) for _ in queries] for start in (-jnp.inf, 0.0))
    num_tiles = math.ceil(num_keys / key_tile)
    stretch = num_tiles if num_tiles <= MOST_TILES else TILES_OF_MANY
    stretches = (num_tiles - 1) // stretch

    def several(done, found):
        return functools.reduce(lambda found, tile: step(done * stretch + tile, found), range(stretch), found)

    found = jax.lax.fori_loop(0, stretches, several, (jnp.zeros((rows, lanes)), lowest, none))
    for tile in range(stretches * stretch, num_tiles):
        found = step(tile, found, ragged=num_keys < (tile + 1) * key_tile)
    total, _, weight = found
    attended[...] = (total / joined(weight, of_head)).astype(attended.dtype)


def heads_of_lanes(lanes: int, width: int) -> list[jax.Array]:
    """Returns for every head which lanes [1, L] are its channels."""
    lane = jax.lax.broadcasted_iota(jnp.int32, (1, lanes), 1)
    return [(first <= lane) & (lane < first + width) for first in range(0, lanes, width)]


def split(query: jax.Array, of_head: list[jax.Array], scale: float) -> list[jax.Array]:
    """Returns scaled queries [T, L] for every head, zero in the lanes of others."""
    scaled = query.astype(jnp.float32) * scale
    return [jnp.where(own, scaled, 0).astype(query.dtype) for own in of_head]


def joined(parts: list[jax.Array], of_head: list[jax.Array]) -> jax.Array:
    """Returns every head's own lanes of what was computed for it."""
    found = parts[0]
    for own, part in zip(of_head[1:], parts[1:], strict=True):
        found = jnp.where(own, part, found)
    return found


def of_row(reduce, x: jax.Array) -> jax.Array:
    """Reduces every row, [T, S] to [T, 1]."""
    return reduce(x, axis=1, keepdims=True)


def product(left: jax.Array, right: jax.Array, axis: int) -> jax.Array:
    """Multiplies over the last axis of the left and one of the right, adding up in float32."""
    return jax.lax.dot_general(left, right, (((1,), (axis,)), ((), ())), preferred_element_type=jnp.float32)


def _ceil(number: float, multiple: int) -> int:
    return math.ceil(number / multiple) * multiple
