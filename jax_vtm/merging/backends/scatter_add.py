"""Adding rows to rows, several to the same one where they meet: the sum at the bottom of every merge.

All of these give the same sums but for the order in which float32 adds up; which is fastest depends on the device.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jax_vtm.merging.backends.choice import Backends, Kernel, Measured
from jax_vtm.merging.backends.tpu_merging import channels_at_a_time
from jax_vtm.merging.shapes import check_shapes


def scatter_add(
    own: Float[Array, "B K C"],
    dst: Int[Array, "B R"],
    arriving: Float[Array, "B R C"],
    backend: str = "auto",
) -> Float[Array, "B K C"]:
    """Adds each arriving row to the row that it is meant for.

    Args:
        own: Rows that are there.
        dst: For each arriving row, which of them it is added to; several may meet.
        arriving: Rows to add.
        backend: As `choose_merging` takes it.

    Returns:
        The sums, in float32.

    Raises:
        UserError: An unknown backend.
    """
    check_shapes(own=(own, "B K C"), dst=(dst, "B R"), arriving=(arriving, "B R C"))
    # A kernel is of whole merges (`merge.merge_weighted`).
    add = BACKENDS.get(choose_merging(backend), _one_hot)
    return jax.vmap(add)(own.astype(jnp.float32), dst, arriving.astype(jnp.float32))


def _scatter(own, dst, arriving):
    return own.at[dst].add(arriving)


def _sorted(own, dst, arriving):
    # Rows that meet follow each other, so that no two that are added at the same time contend for one place.
    order = jnp.argsort(dst, stable=True)
    return own + jax.ops.segment_sum(arriving[order], dst[order], len(own), indices_are_sorted=True)


def _one_hot(own, dst, arriving):
    meant = dst == jnp.arange(len(own))[:, None]
    # At the highest precision, else matrix units round the rows to bfloat16 or less.
    return own + jnp.dot(meant.astype(arriving.dtype), arriving, precision=jax.lax.Precision.HIGHEST)


BACKENDS: Mapping[str, Callable] = MappingProxyType({"scatter": _scatter, "sorted": _sorted, "one_hot": _one_hot})
# A scatter is fastest on a CPU. Elsewhere, float32 scatter-add is a loop of retries on GPUs with some versions of
# jaxlib (0.10.2 to 0.11.0), and may be a loop over single rows on TPUs. Neither was measured here.
MERGING = Backends(
    "merging",
    tuple(BACKENDS),
    on_cpu="scatter",
    elsewhere="one_hot",
    on_tpu="pallas",
    kernels={"pallas": Kernel(("tpu",), "a TPU")},
)
MERGINGS = MERGING.names


def choose_merging(asked: str | Measured, platform: str | None = None, *, shape: tuple[int, ...] = ()) -> str:
    """Returns the backend of a merge of so many tokens; without a shape, that of most.

    "auto" on a TPU is the kernel, which is compiled ten times as fast as the others and moves less. What it has no
    place for is merged by products, even if it is asked for.

    Args:
        asked: One of `MERGINGS`, or what was measured.
        platform: "cpu", "gpu" or "tpu"; None is the one that JAX runs on.
        shape: (N, R, C): tokens, those of them that are removed, and channels.

    Raises:
        UserError: An unknown name, or a kernel that this platform does not have.
    """
    chosen = MERGING.choose(asked, platform, shape=shape)
    return MERGING.elsewhere if chosen == "pallas" and shape and not channels_at_a_time(*shape) else chosen
