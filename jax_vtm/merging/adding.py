"""Adding rows to rows, several to the same one where they meet: the sum at the bottom of every merge.

All of these give the same sums but for the order in which float32 adds up; which is fastest depends on the device.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jax_vtm.merging.choice import choose_merging
from jax_vtm.merging.shapes import check_shapes


def add_at(
    own: Float[Array, "B K C"],
    target: Int[Array, "B R"],
    arriving: Float[Array, "B R C"],
    how: str = "auto",
) -> Float[Array, "B K C"]:
    """Adds each arriving row to the row that it is meant for, in float32.

    Args:
        own: Rows that are there.
        target: For each arriving row, which of them it is added to; several may meet.
        arriving: Rows to add.
        how: A key of `FORMULATIONS`; "auto" is as `choose_merging` says.

    Raises:
        UserError: An unknown `how`.
    """
    check_shapes(own=(own, "B K C"), target=(target, "B R"), arriving=(arriving, "B R C"))
    add = FORMULATIONS[choose_merging(how)]
    return jax.vmap(add)(own.astype(jnp.float32), target, arriving.astype(jnp.float32))


def _scatter(own, target, arriving):
    return own.at[target].add(arriving)


def _segment(own, target, arriving):
    return own + jax.ops.segment_sum(arriving, target, len(own))


def _sorted(own, target, arriving):
    # Rows that meet follow each other, so that no two that are added at the same time contend for one place.
    order = jnp.argsort(target, stable=True)
    return own + jax.ops.segment_sum(arriving[order], target[order], len(own), indices_are_sorted=True)


def _one_hot(own, target, arriving):
    meant = target == jnp.arange(len(own))[:, None]
    # At the highest precision, else matrix units round the rows to bfloat16 or less.
    return own + jnp.dot(meant.astype(arriving.dtype), arriving, precision=jax.lax.Precision.HIGHEST)


FORMULATIONS: Mapping[str, Callable] = MappingProxyType(
    {"scatter": _scatter, "segment": _segment, "sorted": _sorted, "one_hot": _one_hot}
)
