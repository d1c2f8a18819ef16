"""Which merged tokens come from more than one part of a clip: two sides of a splice, or several times.

The parts are anything that the initial tokens can be divided into. What chance would do is said too: groups of the
same sizes, filled with tokens drawn at random.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Float32, Int

from jax_vtm.merging.shapes import check_shapes


@struct.dataclass
class Mixing:
    """Counts of every clip: a merged group holds two initial tokens or more, a mixed one such of several parts.

    Attributes:
        merged_groups: Merged groups.
        mixed_groups: Mixed ones among them.
        merged_tokens: Initial tokens in merged groups.
        mixed_tokens: Those of them in mixed groups.
        chance_groups: Mixed groups to expect where chance fills groups of the same sizes.
        chance_tokens: Initial tokens in mixed groups to expect then.
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
        membership: Group of every initial token, from 0 to `num_groups` - 1; -1 if discarded, which is of no group.
        part: Part of every initial token, from 0.
        num_groups: Groups there may be; some may hold none of the tokens.
        part_sizes: Initial tokens of each part, the same in all clips.
    """
    check_shapes({"N": sum(part_sizes)}, membership=(membership, "B N"), part=(part, "B N"))
    num_parts = len(part_sizes)
    chance = jnp.asarray(chance_of_mixing(part_sizes))

    def one_clip(membership, part):
        # Discarded tokens go where nobody counts.
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
    """Returns, for every group size, the chance that tokens drawn at random without replacement are of several parts.

    For a group of s of N tokens that is 1 - sum over parts of C(M, s) / C(N, s), M being the part's tokens.

    Args:
        part_sizes: Tokens of each part.

    Returns:
        One number per group size from 0 to N, the sum of the parts.
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
    # Nothing and a single token are of one part at most.
    pure[:2] = 1.0
    return np.clip(1.0 - pure, 0.0, 1.0).astype(np.float32)
