"""Counts merged tokens that mix parts of a clip, such as the two sides of a splice or several times."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Float32, Int

from jax_vtm.merging.shapes import check_shapes


@struct.dataclass
class Mixing:
    """Counts per clip.

    Attributes:
        merged_groups: Groups of two or more initial tokens.
        mixed_groups: Merged groups with tokens of several parts.
        merged_tokens: Initial tokens in merged groups.
        mixed_tokens: Initial tokens in mixed groups.
        chance_groups: Expected mixed groups if tokens were assigned at random to groups of the same sizes.
        chance_tokens: Expected tokens in mixed groups, likewise.
    """

    merged_groups: Int[Array, " B"]
    mixed_groups: Int[Array, " B"]
    merged_tokens: Int[Array, " B"]
    mixed_tokens: Int[Array, " B"]
    chance_groups: Float[Array, " B"]
    chance_tokens: Float[Array, " B"]


def mixing(
    membership: Int[Array, "B N"], part: Int[Array, "B N"], *, num_groups: int, part_sizes: Sequence[int]
) -> Mixing:
    """Counts merged and mixed groups.

    Args:
        membership: Group of every initial token, 0 to `num_groups` - 1; -1 if discarded.
        part: Part of every initial token, from 0.
        num_groups: Number of groups; groups may be empty.
        part_sizes: Initial tokens of each part, the same in all clips.
    """
    check_shapes({"N": sum(part_sizes)}, membership=(membership, "B N"), part=(part, "B N"))
    num_parts = len(part_sizes)
    chance = jnp.asarray(chance_of_mixing(part_sizes))

    def one_clip(membership, part):
        cell = jnp.where(membership < 0, num_groups * num_parts, membership * num_parts + part)
        held = jnp.zeros(num_groups * num_parts, jnp.int32).at[cell].add(1, mode="drop").reshape(num_groups, num_parts)
        size = jnp.sum(held, axis=1)
        merged = size > 1
        mixed = jnp.sum(held > 0, axis=1) > 1
        expected = chance[size]
        return Mixing(
            merged_groups=jnp.sum(merged, dtype=jnp.int32),
            mixed_groups=jnp.sum(mixed, dtype=jnp.int32),
            merged_tokens=jnp.sum(jnp.where(merged, size, 0), dtype=jnp.int32),
            mixed_tokens=jnp.sum(jnp.where(mixed, size, 0), dtype=jnp.int32),
            chance_groups=jnp.sum(expected),
            chance_tokens=jnp.sum(expected * size),
        )

    return jax.vmap(one_clip)(membership, part)


def chance_of_mixing(part_sizes: Sequence[int]) -> Float32[np.ndarray, " sizes"]:
    """Returns, per group size from 0 to all N tokens, the chance that random tokens are of several parts.

    For a group of s tokens it is 1 - sum over parts of C(M, s) / C(N, s), with M tokens in the part.
    """
    total = sum(part_sizes)
    # In float64: the logarithms are in the ten thousands, and their differences small.
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    size = np.arange(total + 1)
    pure = np.zeros(total + 1)
    for tokens in part_sizes:
        drawn = size[: tokens + 1]
        pure[: tokens + 1] += np.exp(
            log_factorial[tokens] - log_factorial[tokens - drawn] - log_factorial[total] + log_factorial[total - drawn]
        )
    pure[:2] = 1.0
    return np.clip(1.0 - pure, 0.0, 1.0).astype(np.float32)
