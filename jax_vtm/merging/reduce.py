"""What happens to the tokens' content once a matching is decided: merge, replace (hybrid), drop, and back.

All sums are carried in float32 whatever the tokens' type. Indexing is per clip (`take_along_axis`, `vmap`), so that
nothing here needs to talk to another device when the batch is spread over several.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jax_vtm.errors import UserError
from jax_vtm.merging.adding import add_at
from jax_vtm.merging.matching import Matching
from jax_vtm.merging.shapes import check_shapes

How = Literal["sum", "mean", "max"]


def drop(matching: Matching, x: Float[Array, "B N C"]) -> Float[Array, "B K C"]:
    """Keeps the survivors as they are; the removed tokens vanish."""
    check_shapes(matching.lengths, x=(x, "B N C"))
    return take_tokens(x, matching.survivors)


def merge(
    matching: Matching,
    x: Float[Array, "B N C"],
    how: How = "mean",
    *,
    emptied: Bool[Array, "B K"] | None = None,
    formulation: str = "auto",
) -> Float[Array, "B K C"]:
    """Reduces every removed token into its target; the target itself takes part.

    Args:
        matching: The layer's decision.
        x: Tokens.
        how: "sum", "mean" (of the group's tokens, unweighted) or "max" (elementwise).
        emptied: Survivors whose own content is set to zero first (see `emptied_survivors`, hybrid mode). They still
            count as one token of the mean, as in the reference.
        formulation: How sums are computed (see `adding.add_at`).
    """
    known = check_shapes(matching.lengths, x=(x, "B N C"))
    if emptied is not None:
        check_shapes(known, emptied=(emptied, "B K"))
    own = take_tokens(x, matching.survivors)
    arriving = take_tokens(x, matching.removed)
    if emptied is not None:
        own = jnp.where(emptied[..., None], 0, own)
    if how == "sum":
        return add_at(own, matching.target, arriving, formulation).astype(x.dtype)
    if how == "mean":
        total = add_at(own, matching.target, arriving, formulation)
        own_count, arriving_count = (jnp.ones((*part.shape[:2], 1)) for part in (own, arriving))
        counts = add_at(own_count, matching.target, arriving_count, formulation)
        return (total / counts).astype(x.dtype)
    if how == "max":
        return jax.vmap(lambda o, t, a: o.at[t].max(a))(own, matching.target, arriving)
    raise UserError(f"how is {how!r}; known are sum, mean, max.")


def merge_weighted(
    matching: Matching,
    x: Float[Array, "B N C"],
    size: Float[Array, "B N"],
    *,
    emptied: Bool[Array, "B K"] | None = None,
    formulation: str = "auto",
) -> tuple[Float[Array, "B K C"], Float[Array, "B K"]]:
    """Averages tokens weighted by how many initial tokens each stands for, and adds these sizes up.

    Args:
        matching: The layer's decision.
        x: Tokens.
        size: Initial tokens that each token stands for.
        emptied: Survivors whose own content and size are replaced by what arrives (hybrid mode).
        formulation: How sums are computed (see `adding.add_at`).

    Returns:
        The merged tokens in x's dtype, and their sizes in float32.
    """
    check_shapes(matching.lengths, x=(x, "B N C"), size=(size, "B N"))
    weights = size.astype(jnp.float32)[..., None]
    weighted = jnp.concatenate([x.astype(jnp.float32) * weights, weights], axis=-1)
    summed = merge(matching, weighted, "sum", emptied=emptied, formulation=formulation)
    total, new_size = summed[..., :-1], summed[..., -1:]
    return (total / new_size).astype(x.dtype), new_size[..., 0]


def emptied_survivors(matching: Matching, threshold: float) -> Bool[Array, "B K"]:
    """Says which survivors lose their own content in the hybrid mode: those that receive an edge below the threshold.

    All arriving tokens, from good and bad edges alike, are then added as in a merge, so an emptied survivor is
    replaced by what arrives. Survivors without an edge are untouched. `merge` and `drop` never use this.
    """
    _ = matching.lengths
    bad = matching.score < threshold
    empty = jnp.zeros(matching.survivors.shape, bool)
    return jax.vmap(lambda e, t, b: e.at[t].max(b))(empty, matching.target, bad)


def unmerge(matching: Matching, y: Float[Array, "B K C"]) -> Float[Array, "B N C"]:
    """Gives every input token the content of the output token that it went into, at its own input position.

    Tokens that a matching discards (`kth_bipartite_matching`) are zero. Unlike the reference, the order of a
    matching with a distillation token is undone correctly.
    """
    check_shapes(matching.lengths, y=(y, "B K C"))
    empty = jnp.zeros((y.shape[0], matching.num_tokens, y.shape[2]), y.dtype)

    def place(e, survivors, values, removed, copies):
        return e.at[survivors].set(values).at[removed].set(copies)

    copies = take_tokens(y, matching.target)
    return jax.vmap(place)(empty, matching.survivors, y, matching.removed, copies)


def take_tokens(x: Float[Array, "B N C"], index: Int[Array, "B K"]) -> Float[Array, "B K C"]:
    """Gathers tokens per clip."""
    return jnp.take_along_axis(x, index[..., None], axis=1)
