"""Which group each initial token ended in: one int vector per clip, composed layer by layer.

-1 marks a discarded token. The reference's 0/1 matrix is derived on demand; the vector costs next to nothing.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jax_vtm.merging.matching import Matching
from jax_vtm.merging.shapes import check_shapes

DISCARDED = -1


def initial_membership(batch: int, num_tokens: int) -> Int[Array, "B N"]:
    """Every token is a group of its own."""
    return jnp.broadcast_to(jnp.arange(num_tokens, dtype=jnp.int32), (batch, num_tokens))


def membership_of(
    matching: Matching, *, dropped: bool = False, emptied: Bool[Array, "B K"] | None = None
) -> Int[Array, "B N"]:
    """Returns the output position of every input token of one layer.

    Args:
        matching: The layer's decision.
        dropped: The removed tokens vanish instead of joining their targets (drop modes).
        emptied: Survivors whose own content is discarded (hybrid mode).
    """
    known = matching.lengths
    if emptied is not None:
        check_shapes(known, emptied=(emptied, "B K"))
    batch, num_survivors = matching.survivors.shape
    own = jnp.broadcast_to(jnp.arange(num_survivors, dtype=jnp.int32), (batch, num_survivors))
    if emptied is not None:
        own = jnp.where(emptied, DISCARDED, own)
    joined = jnp.full_like(matching.target, DISCARDED) if dropped else matching.target
    start = jnp.full((batch, matching.num_tokens), DISCARDED, jnp.int32)

    def place(group, survivors, own, removed, joined):
        return group.at[survivors].set(own).at[removed].set(joined.astype(jnp.int32))

    return jax.vmap(place)(start, matching.survivors, own, matching.removed, joined)


def compose(earlier: Int[Array, "B N0"], later: Int[Array, "B N"]) -> Int[Array, "B N0"]:
    """Follows each initial token through one more layer; a discarded token stays discarded."""
    check_shapes(earlier=(earlier, "B N0"), later=(later, "B N"))
    followed = jnp.take_along_axis(later, jnp.maximum(earlier, 0), axis=1)
    return jnp.where(earlier == DISCARDED, DISCARDED, followed)


def source_matrix(membership: Int[Array, "B N0"], num_groups: int) -> Float[Array, "B K N0"]:
    """Returns the reference's 0/1 matrix: entry [k, n] is 1 where initial token n ended in group k."""
    check_shapes(membership=(membership, "B N0"))
    return (membership[:, None, :] == jnp.arange(num_groups)[None, :, None]).astype(jnp.float32)
