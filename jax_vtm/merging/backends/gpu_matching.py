"""Each source's most similar destination by a kernel for GPUs (Triton).

Scores are multiplied tile by tile, and only each source's best so far is kept: of S x T scores nothing but 2 S numbers
reach the memory. Tests run the kernel by its interpreter and lower it.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas
from jaxtyping import Array, Float, Int

# Sources of one program, destinations of one step of it, and features multiplied at a time. With 64 sources an H100's
# registers do not hold them (benchmark.what=compile, topology h100).
SOURCES, DESTINATIONS, FEATURES = 32, 64, 64
# Narrower features are filled up to this, the least that matrix units take.
LEAST_FEATURES = 16


def nearest_on_gpu(
    sources: Float[Array, "B S M"], destinations: Float[Array, "B T M"], *, interpret: bool = False
) -> tuple[Float[Array, "B S"], Int[Array, "B S"]]:
    """Returns each source's highest product with a destination, and whose that is: the first, where several are equal.

    Args:
        sources: Vectors in float32.
        destinations: Vectors in float32, at least one.
        interpret: Runs the kernel step by step on whatever there is, slowly.
    """
    # Here, so that without a GPU nothing of it is imported.
    from jax.experimental.pallas import triton

    batch, num_sources, width = sources.shape
    num_destinations = destinations.shape[1]
    # Triton wants powers of two.
    features = min(FEATURES, max(LEAST_FEATURES, 2 ** math.ceil(math.log2(width))))
    sources = _filled(sources, SOURCES, features)
    destinations = _filled(destinations, DESTINATIONS, features)
    rows = pallas.BlockSpec((None, 1, SOURCES), lambda clip, tile: (clip, 0, tile))
    score, destination = pallas.pallas_call(
        functools.partial(_kernel, num_destinations=num_destinations, features=features),
        grid=(batch, sources.shape[1] // SOURCES),
        in_specs=[
            pallas.BlockSpec((None, SOURCES, sources.shape[2]), lambda clip, tile: (clip, tile, 0)),
            pallas.BlockSpec((None, *destinations.shape[1:]), lambda clip, tile: (clip, 0, 0)),
        ],
        out_specs=[rows, rows],
        out_shape=[
            jax.ShapeDtypeStruct((batch, 1, sources.shape[1]), jnp.float32),
            jax.ShapeDtypeStruct((batch, 1, sources.shape[1]), jnp.int32),
        ],
        interpret=interpret,
        compiler_params=None if interpret else triton.CompilerParams(num_warps=4, num_stages=2),
        name="nearest_destination",
    )(sources, destinations)
    return score[:, 0, :num_sources], destination[:, 0, :num_sources]


def _kernel(sources, destinations, score, destination, *, num_destinations, features):
    width = sources.shape[1]

    def step(tile, best):
        best_score, best_destination = best
        first = tile * DESTINATIONS
        found = jnp.zeros((DESTINATIONS, SOURCES), jnp.float32)
        for start in range(0, width, features):
            # One row per destination, so that what is left of a column lies as it is stored.
            found += jax.lax.dot_general(
                destinations[pallas.ds(first, DESTINATIONS), start : start + features],
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

    nothing = jnp.full((1, SOURCES), -jnp.inf), jnp.zeros((1, SOURCES), jnp.int32)
    best_score, best_destination = jax.lax.fori_loop(0, math.ceil(num_destinations / DESTINATIONS), step, nothing)
    score[...] = best_score
    destination[...] = best_destination


def _filled(x: Float[Array, "B N M"], tokens: int, features: int) -> Float[Array, "B K L"]:
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % tokens), (0, -x.shape[2] % features)))
