"""Weighted means of merged tokens by a kernel for TPUs: rows are taken and added where they lie in fast memory.

Gathers of rows and products that add them up take a TPU's compiler seconds for every layer; this kernel takes it a
tenth of that, and a pass over the tokens is all that it moves. Tests run it by its interpreter.
"""

import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas
from jaxtyping import Array, Bool, Float, Int

# What tokens take of a core's fast memory at most; kinds of TPU that have little have 16 MiB of it.
MOST_BYTES = 12 * 2**20
LANES = 128
# Rows of one stretch of code.
UNROLLED = 8


def channels_at_a_time(num_tokens: int, r: int, channels: int) -> int:
    """Returns as many channels as fit into fast memory for all tokens, before and after, twice; 0 if none do."""
    if channels % LANES:
        widths = [channels]
    else:
        widths = [width for width in range(channels, 0, -LANES) if channels % width == 0]
    most = MOST_BYTES // (2 * 4 * (2 * num_tokens - r))
    return next((width for width in widths if math.ceil(width / LANES) * LANES <= most), 0)


def merged_on_tpu(
    x: Float[Array, "B N C"],
    size: Float[Array, "B N"],
    kept: Int[Array, "B K"],
    src: Int[Array, "B R"],
    dst: Int[Array, "B R"],
    replaced: Bool[Array, "B K"] | None = None,
    *,
    interpret: bool = False,
) -> tuple[Float[Array, "B K C"], Float[Array, "B K"]]:
    """Returns the tokens' means and the sums of their sizes, in float32; arguments as of `merge.merge_weighted`.

    A token that nothing arrives at is left as it is, and not multiplied and divided by its size.

    Args:
        x: Tokens in float32, for which `channels_at_a_time` are not none.
        size: Of each, in float32.
        kept: Which of them stay.
        src: Which of them go.
        dst: The kept token that each of these joins.
        replaced: Kept tokens whose own content and size do not count; something arrives at each.
        interpret: Runs the kernel step by step on whatever there is, slowly.
    """
    # Here, so that without a TPU nothing of it is imported.
    from jax.experimental.pallas import tpu

    batch, num_tokens, channels = x.shape
    num_kept, width = kept.shape[1], channels_at_a_time(num_tokens, src.shape[1], channels)

    def numbers(count: int) -> pallas.BlockSpec:
        return pallas.BlockSpec((None, 1, count), lambda clip, part: (clip, 0, 0), memory_space=tpu.SMEM)

    def tokens(count: int) -> pallas.BlockSpec:
        return pallas.BlockSpec((None, count, width), lambda clip, part: (clip, 0, part))

    scalars = [size, *(index.astype(jnp.int32) for index in (kept, src, dst))]
    if replaced is not None:
        scalars.append(replaced.astype(jnp.int32))
    merged, new_size = pallas.pallas_call(
        _kernel,
        grid=(batch, channels // width),
        in_specs=[*(numbers(one.shape[1]) for one in scalars), tokens(num_tokens)],
        out_specs=[tokens(num_kept), numbers(num_kept)],
        out_shape=[
            jax.ShapeDtypeStruct((batch, num_kept, channels), jnp.float32),
            jax.ShapeDtypeStruct((batch, 1, num_kept), jnp.float32),
        ],
        scratch_shapes=[tpu.SMEM((1, num_kept), jnp.int32)],
        interpret=interpret,
        # Parts of a clip's channels follow each other, since all write its sizes.
        compiler_params=None if interpret else tpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
        name="merge_rows",
    )(*(one[:, None] for one in scalars), x)
    return merged, new_size[:, 0]


def _kernel(size, kept, src, dst, *others):
    *replaced, x, merged, new_size, added_up = others
    num_kept, num_removed = kept.shape[1], src.shape[1]

    def own_size(row):
        own = size[0, kept[0, row]]
        return jnp.where(replaced[0][0, row] == 0, own, 0.0) if replaced else own

    def keep(row, _):
        merged[pallas.ds(row, 1)] = x[pallas.ds(kept[0, row], 1)]

    def keep_size(row, _):
        new_size[0, row] = own_size(row)

    def begin(edge, _):
        row = dst[0, edge]
        new_size[0, row], added_up[0, row] = own_size(row), 0

    def arrive(edge, _):
        row, of_token = dst[0, edge], src[0, edge]
        weight, there = size[0, of_token], new_size[0, row]
        own = merged[pallas.ds(row, 1)] * jnp.where(added_up[0, row] == 0, there, 1.0)
        merged[pallas.ds(row, 1)] = own + x[pallas.ds(of_token, 1)] * weight
        new_size[0, row], added_up[0, row] = there + weight, 1

    def divide(edge, _):
        row = dst[0, edge]
        # Several edges may lead to it.
        total = jnp.where(added_up[0, row] == 0, 1.0, new_size[0, row])
        merged[pallas.ds(row, 1)] = merged[pallas.ds(row, 1)] / total
        added_up[0, row] = 0

    # Other parts of the channels find the sizes there, and add up again what arrives.
    pallas.when(pallas.program_id(1) == 0)(lambda: _each(num_kept, keep_size))
    _each(num_kept, keep)
    _each(num_removed, begin)
    _each(num_removed, arrive)
    _each(num_removed, divide)


def _each(count, do):
    whole = count // UNROLLED * UNROLLED
    jax.lax.fori_loop(0, whole, do, None, unroll=UNROLLED)
    for left in range(whole, count):
        do(left, None)
