"""Scaled dot-product attention with a bias per key, and which backend computes it."""

import functools
from collections.abc import Callable
from typing import Any

from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jax_vtm.merging.backends.choice import Backends, Kernel, Measured
from jax_vtm.models.attention import cudnn, tpu_flash, tpu_frames, trajectories
from jax_vtm.models.attention.chunked import chunked_attention
from jax_vtm.models.attention.plain import each_with_own_queries, plain_attention, with_unbiased_queries

_COMPUTE: dict[str, Callable[..., Any]] = {
    "xla": plain_attention,
    "chunked": chunked_attention,
    "cudnn": cudnn.cudnn_attention,
    "tpu_flash": tpu_flash.tpu_flash_attention,
}
ATTENTION = Backends(
    "attention",
    ("xla", "chunked"),
    on_cpu="chunked",
    elsewhere="xla",
    kernels={
        "cudnn": Kernel(("gpu",), "an NVIDIA GPU", ("bfloat16", "float16")),
        "tpu_flash": Kernel(("tpu",), "a TPU", ("bfloat16",)),
    },
)
BACKENDS = ATTENTION.names
# With fewer queries or keys most of a kernel's tile is filling, and scores in memory are few.
KERNEL_TOKENS = 64


def choose_backend(
    asked: str | Measured,
    platform: str | None = None,
    *,
    dtype: DTypeLike | None = None,
    shape: tuple[int, ...] = (),
) -> str:
    """Returns the backend of one attention, or, without a shape, that of a model's long attentions.

    "auto" is the platform's kernel, where it has one for the type: it never writes scores, which by the compiler's
    account (an estimate; docs/benchmarks.md) take most of the time otherwise. Short attentions are computed without a
    kernel, even if one is asked for, and longer ones than "tpu_flash" takes in tiles.

    Args:
        asked: One of `BACKENDS`, or what was measured.
        platform: "cpu", "gpu" or "tpu"; None is the one that JAX runs on.
        dtype: Type in which it computes; None is float32.
        shape: (T, S, H, D): queries, keys, heads and their width.

    Raises:
        UserError: An unknown name, or a kernel that this platform or type does not have.
    """
    if isinstance(asked, Measured):
        asked = asked.nearest(shape)
    chosen = ATTENTION.choose(asked, platform, dtype=dtype)
    if asked == "auto":
        chosen = ATTENTION.kernel(platform, dtype) or chosen
    if not shape or chosen not in ATTENTION.kernels:
        return chosen
    queries, keys, _, width = shape
    too_wide = asked == "auto" and chosen == "cudnn" and width > cudnn.MAX_WIDTH
    if min(queries, keys) < KERNEL_TOKENS or too_wide:
        return ATTENTION.elsewhere
    return "chunked" if chosen == "tpu_flash" and keys > tpu_flash.MAX_KEYS else chosen


def choose_over_frames(
    asked: str | Measured,
    platform: str | None = None,
    *,
    dtype: DTypeLike | None = None,
    shape: tuple[int, ...],
) -> str:
    """Returns the backend of attention over time: as `choose_backend`, but "tpu_flash" has a kernel for few frames.

    Args:
        asked: One of `BACKENDS`, or what was measured.
        platform: For which the program is made.
        dtype: Type in which it computes.
        shape: (F, F, H, D), of the sequence at one place.
    """
    if isinstance(asked, Measured):
        asked = asked.nearest(shape)
    frames, _, heads, width = shape
    if choose_backend(asked, platform, dtype=dtype) == "tpu_flash" and tpu_frames.suits(frames, heads, width):
        return "tpu_flash"
    return choose_backend(asked, platform, dtype=dtype, shape=shape)


def choose_along_trajectories(
    asked: str | Measured,
    platform: str | None = None,
    *,
    dtype: DTypeLike | None = None,
    shape: tuple[int, ...],
) -> str:
    """Returns "tpu_flash", which has a kernel for summaries of frames, or else "xla", which takes products.

    Args:
        asked: One of `BACKENDS`, or what was measured.
        platform: For which the program is made.
        dtype: Type in which it computes.
        shape: (1, F, H, D), of one patch.
    """
    if isinstance(asked, Measured):
        asked = asked.nearest(shape)
    by_kernel = choose_backend(asked, platform, dtype=dtype) == "tpu_flash" and trajectories.suits(*shape[1:])
    return "tpu_flash" if by_kernel else "xla"


def attend(
    query: Float[Array, "*A T H D"],
    key: Float[Array, "*B S H D"],
    value: Float[Array, "*B S H D"],
    key_bias: Float[Array, "*B S"] | None = None,
    *,
    unbiased: int = 0,
    backend: str | Measured = "auto",
    platform: str | None = None,
) -> Float[Array, "*B T H D"]:
    """Returns softmax(query key^T / sqrt(D) + key_bias) value per head, the softmax in float32.

    Args:
        query: Queries. With one axis less than keys, *B but for its last, they attend to each of several rows of keys.
        key: Keys.
        value: Values.
        key_bias: Added to every query's score of a key, for example log(size) in proportional attention. Finite.
        unbiased: To the scores of so many first queries it is not added.
        backend: "xla" writes all scores [*B, H, T, S] to memory; "chunked" holds a tile of them at a time, which is
            faster on a CPU; "cudnn" and "tpu_flash" are fused kernels that never write any, in bfloat16; "auto" as
            `choose_backend` says.
        platform: For which the program is made; None is the one that JAX runs on.

    Raises:
        UserError: An unknown backend, or one that this platform or type does not have.
    """
    shape = (query.shape[-3], *key.shape[-3:])
    chosen = choose_backend(backend, platform, dtype=query.dtype, shape=shape)
    if unbiased and chosen != "tpu_flash":
        each = functools.partial(attend, backend=backend, platform=platform)
        return with_unbiased_queries(each, unbiased, query, key, value, key_bias)
    batch = key.shape[:-3]
    query, key, value = (part.reshape(-1, *part.shape[-3:]) for part in (query, key, value))
    if key_bias is not None:
        key_bias = key_bias.reshape(-1, key_bias.shape[-1])
    own = (unbiased,) if chosen == "tpu_flash" else ()
    query = query if own else each_with_own_queries(query, key)
    attended = _COMPUTE[chosen](query, key, value, key_bias, *own)
    return attended.reshape(*batch, *attended.shape[1:])


def attend_over_frames(
    query: Float[Array, "*B F P H D"],
    key: Float[Array, "*B F P H D"],
    value: Float[Array, "*B F P H D"],
    *,
    backend: str | Measured = "auto",
    platform: str | None = None,
) -> Float[Array, "*B F P H D"]:
    """Attends among the F tokens of every place; arguments as of `attend`.

    For "tpu_flash" by a kernel of its own, which takes places as they lie; it has none for many frames.
    """
    frames, _, heads, width = query.shape[-4:]
    parts = query, key, value
    chosen = choose_over_frames(backend, platform, dtype=query.dtype, shape=(frames, frames, heads, width))
    if chosen == "tpu_flash" and tpu_frames.suits(frames, heads, width):
        flat = (part.reshape(-1, *part.shape[-4:]) for part in parts)
        return tpu_frames.tpu_attention_over_frames(*flat).reshape(query.shape)
    places_first = (part.swapaxes(-4, -3) for part in parts)
    return attend(*places_first, backend=chosen, platform=platform).swapaxes(-4, -3)


def attend_along_trajectories(
    query: Float[Array, "B N H D"],
    summaries: Float[Array, "B F N C"],
    kernel: Float[Array, "C H D"],
    *,
    backend: str | Measured = "auto",
    platform: str | None = None,
) -> Float[Array, "B N H D"]:
    """Attends over every patch's summaries, in which all heads lie side by side.

    Args:
        query: Of every patch, with the scale in it.
        summaries: Of every patch, one per frame; the values.
        kernel: Projects summaries to keys. A bias would add the same to all frames' scores.
        backend: As of `attend`.
        platform: For which the program is made.
    """
    shape = (1, summaries.shape[1], *query.shape[2:])
    chosen = choose_along_trajectories(backend, platform, dtype=query.dtype, shape=shape)
    return (trajectories.by_kernel if chosen == "tpu_flash" else trajectories.by_products)(query, summaries, kernel)
