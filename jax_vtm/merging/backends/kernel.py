"""Each source's most similar destination by one fused kernel, for GPUs (Triton) and TPUs (Mosaic).

Scores are multiplied tile by tile, and only each source's best so far is kept: of S x T scores nothing but 2 S numbers
reach the memory. Tests run the kernel by its interpreter and lower it for both platforms.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas
from jaxtyping import Array, Float, Int

from jax_vtm.errors import UserError

# Sources of one program, destinations of one step of it, and features multiplied at a time. With 64 sources an H100's
# registers do not hold them (benchmark.what=compile, topology h100).
TILES = {"gpu": (32, 64, 64), "tpu": (128, 128, 128)}
# All destinations of a clip lie in a TPU core's fast memory, twice, while the next clip's are fetched: together three
# quarters of it.
TPU_BYTES = 6 * 2**20
# Narrower features are filled up to this, the least that matrix units take.
LEAST_FEATURES = 16


def nearest_by_kernel(
    sources: Float[Array, "B S M"],
    destinations: Float[Array, "B T M"],
    *,
    platform: str,
    interpret: bool = False,
) -> tuple[Float[Array, "B S"], Int[Array, "B S"]]:
    """Returns each source's highest product with a destination, and whose that is: the first, where several are equal.

    Args:
        sources: Vectors in float32.
        destinations: Vectors in float32, at least one.
        platform: "gpu" or "tpu", for which the kernel is made.
        interpret: Runs the kernel step by step on whatever there is, slowly.

    Raises:
        UserError: More destinations than a TPU core's fast memory takes.
    """
    batch, num_sources, width = sources.shape
    num_destinations = destinations.shape[1]
    source_tile, destination_tile, features = TILES[platform]
    # Triton wants powers of two.
    features = min(features, max(LEAST_FEATURES, 2 ** math.ceil(math.log2(width))))
    sources = _filled(sources, source_tile, features)
    destinations = _filled(destinations, destination_tile, features)
    if platform == "tpu" and destinations[0].size * 4 > TPU_BYTES:
        raise UserError(
            f"matching is 'pallas', but {num_destinations} destinations with {width} features do not fit into a TPU "
            "core's fast memory. Use 'xla' or 'chunked', or the mean over heads."
        )
    kernel = functools.partial(
        _kernel, num_destinations=num_destinations, destination_tile=destination_tile, features=features
    )
    rows = pallas.BlockSpec((None, 1, source_tile), lambda clip, tile: (clip, 0, tile))
    score, destination = pallas.pallas_call(
        kernel,
        grid=(batch, sources.shape[1] // source_tile),
        in_specs=[
            pallas.BlockSpec((None, source_tile, sources.shape[2]), lambda clip, tile: (clip, tile, 0)),
            pallas.BlockSpec((None, *destinations.shape[1:]), lambda clip, tile: (clip, 0, 0)),
        ],
        out_specs=[rows, rows],
        out_shape=[
            jax.ShapeDtypeStruct((batch, 1, sources.shape[1]), jnp.float32),
            jax.ShapeDtypeStruct((batch, 1, sources.shape[1]), jnp.int32),
        ],
        interpret=interpret,
        compiler_params=None if interpret else _compiler_params(platform),
        name="nearest_destination",
    )(sources, destinations)
    return score[:, 0, :num_sources], destination[:, 0, :num_sources]


def _kernel(sources, destinations, score, destination, *, num_destinations, destination_tile, features):
    source_tile, width = sources.shape

    def step(tile, best):
        best_score, best_destination = best
        first = tile * destination_tile
        found = jnp.zeros((destination_tile, source_tile), jnp.float32)
        for start in range(0, width, features):
            # One row per destination, so that what is left of a column lies as it is stored.
            found += jax.lax.dot_general(
                destinations[pallas.ds(first, destination_tile), start : start + features],
                sources[:, start : start + features],
                (((1,), (1,)), ((), ())),
                precision=jax.lax.Precision.HIGHEST,
                preferred_element_type=jnp.float32,
            )
        position = first + jax.lax.broadcasted_iota(jnp.int32, found.shape, 0)
        found = jnp.where(position < num_destinations, found, -jnp.inf)
        highest = jnp.max(found, axis=0, keepdims=True)
        lowest_position = jnp.min(jnp.where(found == highest, position, num_destinations - 1), axis=0, keepdims=True)
        # An equal score further on does not win.
        better = highest > best_score
        return jnp.where(better, highest, best_score), jnp.where(better, lowest_position, best_destination)

    nothing = jnp.full((1, source_tile), -jnp.inf), jnp.zeros((1, source_tile), jnp.int32)
    best_score, best_destination = jax.lax.fori_loop(0, math.ceil(num_destinations / destination_tile), step, nothing)
    score[...] = best_score
    destination[...] = best_destination


def _filled(x: Float[Array, "B N M"], tokens: int, features: int) -> Float[Array, "B K L"]:
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % tokens), (0, -x.shape[2] % features)))


def _compiler_params(platform: str):
    if platform == "gpu":
        from jax.experimental.pallas import triton

        return triton.CompilerParams(num_warps=4, num_stages=2)
    from jax.experimental.pallas import tpu

    return tpu.CompilerParams(dimension_semantics=("parallel", "parallel"))
