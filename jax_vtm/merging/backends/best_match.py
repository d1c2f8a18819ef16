"""Each source's best match, the most similar destination, which is all that a matching needs of the scores.

From scores that are there, or from the metric without ever writing all scores down. Equal scores are decided for the
lowest position in every way of computing it.
"""

import math

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from jax_vtm.merging.backends.choice import Backends, Kernel, Measured
from jax_vtm.merging.backends.gpu_matching import nearest_on_gpu
from jax_vtm.merging.backends.tpu_matching import fits_a_tpu, nearest_on_tpu
from jax_vtm.merging.shapes import check_shapes

# Scores of one tile of the chunked form, in float32: they stay in a core's cache. Fewer than the other number are one
# tile, which takes a CPU's compiler half as long as a loop over several and is no slower (docs/benchmarks.md).
TILE_BYTES, ONE_TILE_BYTES = 2**20, 2**24

MATCHING = Backends(
    "matching",
    ("xla", "chunked"),
    on_cpu="chunked",
    elsewhere="xla",
    on_tpu="pallas",
    kernels={"pallas": Kernel(("gpu", "tpu"), "a GPU or a TPU")},
)
MATCHINGS = MATCHING.names


def choose_matching(asked: str | Measured, platform: str | None = None, *, shape: tuple[int, ...] = ()) -> str:
    """Returns the backend that matches so many tokens by so many features; without a shape, that of most.

    "auto" on a TPU is the kernel, which is compiled ten times as fast, and by the compiler's account (an estimate;
    docs/benchmarks.md) takes half of the time. What the kernel has no place for is matched in chunks, even if it is
    asked for.

    Args:
        asked: One of `MATCHINGS`, or what was measured.
        platform: "cpu", "gpu" or "tpu"; None is the one that JAX runs on.
        shape: (N, M): tokens and features.

    Raises:
        UserError: An unknown name, or a kernel that this platform does not have.
    """
    chosen = MATCHING.choose(asked, platform, shape=shape)
    misfit = chosen == "pallas" and shape and not fits_a_tpu(*shape)
    return "chunked" if misfit and (platform or jax.default_backend()) == "tpu" else chosen


@struct.dataclass
class BestMatch:
    """The one edge that each source has.

    Attributes:
        score: Of the edge; -inf where a source may not be removed.
        destination: Its end, counted among the destinations.
        num_destinations: T.
    """

    score: Float[Array, "B S"]
    destination: Int[Array, "B S"]
    num_destinations: int = struct.field(pytree_node=False)


def cosine_scores(metric: Float[Array, "B N M"]) -> Float[Array, "B S T"]:
    """Computes the cosine similarity of every source with every destination.

    Args:
        metric: Feature per token; the S = ceil(N / 2) even positions are sources, the T = floor(N / 2) odd ones
            destinations.

    Returns:
        Similarities in float32. A token whose metric is all zero is similar to nothing (score 0); the PyTorch reference
        gives NaN there.
    """
    check_shapes(metric=(metric, "B N M"))
    unit = unit_vectors(metric)
    return products(unit[:, ::2], unit[:, 1::2])


def nearest_by_scores(
    scores: Float[Array, "B S T"], *, class_token: bool = False, platform: str | None = None
) -> BestMatch:
    """Reduces scores that are there.

    Args:
        scores: Similarity of every source with every destination.
        class_token: Token 0, the first source, is never removed.
        platform: For which the program is made; None computes as for a CPU.

    Raises:
        UserError: There cannot be so many sources and destinations.
    """
    found = check_shapes(scores=(scores, "B S T"))
    num_tokens = found["S"] + found["T"]
    check_shapes({"S": (num_tokens + 1) // 2, "T": num_tokens // 2}, scores=(scores, "B S T"))
    if class_token:
        # Chosen by position and not written over: no scatter, and it goes along with what reads the scores next.
        scores = jnp.where(jnp.arange(found["S"])[:, None] == 0, -jnp.inf, scores)
    if platform in (None, "cpu") or not found["T"]:
        return BestMatch(*_highest(scores), found["T"])
    # One pass over the scores: where they are products of the same program, a TPU then never writes them.
    return BestMatch(jnp.max(scores, axis=-1), jnp.argmax(scores, axis=-1).astype(jnp.int32), found["T"])


def nearest_by_metric(
    metric: Float[Array, "B N M"],
    *,
    class_token: bool = False,
    how: str | Measured = "auto",
    platform: str | None = None,
) -> BestMatch:
    """Computes cosine similarities in float32 and reduces them.

    Args:
        metric: Feature per token; even positions are sources, odd ones destinations.
        class_token: Token 0 is never removed.
        how: "xla" writes all similarities to memory; "chunked" holds those of some sources at a time; "pallas" is a
            kernel that writes none; "auto" is "chunked" on a CPU, where that is fastest, "xla" on a GPU, and "pallas"
            on a TPU (see `choose_matching`).
        platform: For which the program is made; None is the one that JAX runs on.

    Raises:
        UserError: An unknown `how`, or a kernel that this platform does not have.
    """
    check_shapes(metric=(metric, "B N M"))
    how = choose_matching(how, platform, shape=metric.shape[1:])
    if how == "xla" or metric.shape[1] < 2:
        return nearest_by_scores(cosine_scores(metric), class_token=class_token, platform=platform)
    # Which tokens are most alike has no gradient, and what follows makes no other use of the scores.
    metric = jax.lax.stop_gradient(metric)
    if how == "pallas" and (platform or jax.default_backend()) == "tpu":
        score, destination = nearest_on_tpu(metric.astype(jnp.float32))
    else:
        unit = unit_vectors(metric)
        nearest = nearest_in_chunks if how == "chunked" else nearest_on_gpu
        score, destination = nearest(unit[:, ::2], unit[:, 1::2])
    if class_token:
        first = jnp.arange(score.shape[1]) == 0
        score, destination = jnp.where(first, -jnp.inf, score), jnp.where(first, 0, destination)
    return BestMatch(score, destination, metric.shape[1] // 2)


def nearest_in_chunks(
    sources: Float[Array, "B S M"], destinations: Float[Array, "B T M"]
) -> tuple[Float[Array, "B S"], Int[Array, "B S"]]:
    """Returns each source's highest product with a destination, and whose that is; some sources at a time."""
    num_sources, num_destinations = sources.shape[1], destinations.shape[1]
    if len(sources) * num_sources * num_destinations * 4 <= ONE_TILE_BYTES:
        return _highest(products(sources, destinations))
    num_chunks = math.ceil(num_sources * num_destinations * 4 / TILE_BYTES)
    size = math.ceil(num_sources / num_chunks)
    num_chunks = math.ceil(num_sources / size)
    padded = jnp.pad(sources, ((0, 0), (0, num_chunks * size - num_sources), (0, 0)))

    def one_clip(clip):
        sources, destinations = clip
        chunks = sources.reshape(num_chunks, size, -1)
        score, destination = jax.lax.map(lambda chunk: _highest(products(chunk, destinations)), chunks)
        return score.reshape(-1)[:num_sources], destination.reshape(-1)[:num_sources]

    return jax.lax.map(one_clip, (padded, destinations))


def unit_vectors(metric: Float[Array, "*L M"]) -> Float[Array, "*L M"]:
    """Scales each vector to length one in float32; an all-zero vector stays zero."""
    metric = metric.astype(jnp.float32)
    # The squares are summed before the root so that a zero vector has a defined gradient too.
    squared = jnp.sum(metric * metric, axis=-1, keepdims=True)
    return metric * jax.lax.rsqrt(jnp.where(squared > 0, squared, 1.0))


def products(sources: Float[Array, "*B S M"], destinations: Float[Array, "*B T M"]) -> Float[Array, "*B S T"]:
    """Multiplies every source with every destination, at the highest precision."""
    return jnp.einsum("...sm,...tm->...st", sources, destinations, precision=jax.lax.Precision.HIGHEST)


def _highest(scores: Float[Array, "*L T"]) -> tuple[Float[Array, "*L"], Int[Array, "*L"]]:
    """Maximum and its first position; two plain reductions, where an argmax takes a CPU several times as long."""
    best = jnp.max(scores, axis=-1, initial=-jnp.inf)
    position = jax.lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1)
    last = max(scores.shape[-1] - 1, 0)
    return best, jnp.min(jnp.where(scores == best[..., None], position, last), axis=-1, initial=last)
