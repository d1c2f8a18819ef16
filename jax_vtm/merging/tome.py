"""ToMe's own interface to its matchings, apart from the main line: distillation tokens, other splits, plain means.

Source: ToMe (Bolya et al., "Token Merging: Your ViT But Faster", 2023) and what the PyTorch reference of "Video, How Do
Your Tokens Merge?" has of it. No model here calls these.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jax_vtm.errors import UserError
from jax_vtm.merging.backends.best_match import nearest_by_scores, products, unit_vectors
from jax_vtm.merging.matching import Matching, identity_matching, match
from jax_vtm.merging.merge import add_up, take_tokens
from jax_vtm.merging.schedule import clamp_r
from jax_vtm.merging.shapes import check_shapes


def bipartite_soft_matching(
    scores: Float[Array, "B S T"],
    r: int,
    *,
    class_token: bool = False,
    distill_token: bool = False,
    ascending: bool = False,
) -> Matching:
    """Removes the r sources that resemble a destination most, from all scores; order and ties as in `matching.match`.

    Args:
        scores: Similarity of sources and destinations (see `cosine_scores`); protection is applied here.
        r: Tokens to remove, clamped to half of the unprotected tokens; 0 or less gives the identity.
        class_token: Token 0 is never removed.
        distill_token: Token 1 never receives. The output then begins with the first kept source and the first
            destination (class, distillation), before the other sources and destinations.
        ascending: Kept sources stay in ascending position without a class token too.

    Returns:
        A matching with K = N - r.
    """
    lengths = check_shapes(scores=(scores, "B S T"))
    r = clamp_r(lengths["S"] + lengths["T"], r, int(class_token) + int(distill_token))
    if distill_token:
        scores = jnp.where(jnp.arange(lengths["T"]) == 0, -jnp.inf, scores)
    best = nearest_by_scores(scores, class_token=class_token)
    matching = match(best, r, class_token=class_token, ascending=ascending)
    if not distill_token or r == 0:
        return matching
    kept, destinations = jnp.split(matching.kept, [lengths["S"] - r], axis=-1)
    # No edge leads to what moves: the distillation token, which comes forward, never receives.
    order = [kept[:, :1], destinations[:, :1], kept[:, 1:], destinations[:, 1:]]
    return dataclasses.replace(matching, kept=jnp.concatenate(order, axis=-1))


def kth_bipartite_matching(metric: Float[Array, "B N M"], k: int) -> Matching:
    """Merges every token into the most similar of the tokens at positions k-1, 2k-1, ...: N tokens become N // k.

    Args:
        metric: Feature per token.
        k: From 1 to N. The trailing N mod k tokens are discarded, as in the reference: they belong to no group
            (membership -1), and `unmerge` gives zeros for them.

    Returns:
        A matching with K = N // k.
    """
    lengths = check_shapes(metric=(metric, "B N M"))
    if not 1 <= k <= lengths["N"]:
        raise UserError(f"k is {k}; expected 1 to {lengths['N']}, the number of tokens.")
    if k == 1:
        return identity_matching(lengths["B"], lengths["N"])
    positions = jnp.arange(lengths["N"] // k * k).reshape(-1, k)
    src, kept = positions[:, :-1].reshape(-1), positions[:, -1]
    return _to_the_most_similar(metric, *(jnp.broadcast_to(index, (lengths["B"], index.size)) for index in (src, kept)))


def random_bipartite_matching(metric: Float[Array, "B N M"], order: Float[Array, "B N"], r: int) -> Matching:
    """Splits the tokens at random: r sources, each merged into the most similar of all other tokens.

    Args:
        metric: Feature per token.
        order: Random numbers that decide the split (`random_order`); the r tokens with the lowest ones are sources.
        r: Tokens to remove, at most N - 1.

    Returns:
        A matching with K = N - r.
    """
    lengths = check_shapes(metric=(metric, "B N M"), order=(order, "B N"))
    r = min(r, lengths["N"] - 1)
    if r <= 0:
        return identity_matching(lengths["B"], lengths["N"])
    permutation = jnp.argsort(order, axis=-1, stable=True)
    return _to_the_most_similar(metric, permutation[:, :r], permutation[:, r:])


def _to_the_most_similar(metric: Float[Array, "B N M"], src: Int[Array, "B R"], kept: Int[Array, "B K"]) -> Matching:
    unit = unit_vectors(metric)
    scores = products(take_tokens(unit, src), take_tokens(unit, kept))
    return Matching(kept, src, jnp.argmax(scores, axis=-1), jnp.max(scores, axis=-1), metric.shape[1])


def random_order(key: Key[Array, ""], batch: int, num_tokens: int) -> Float[Array, "B N"]:
    """Draws the uniform numbers, float32, that `random_bipartite_matching` splits tokens by.

    Args:
        key: Of `jax.random`.
        batch: B, clips.
        num_tokens: N, tokens of each.
    """
    return jax.random.uniform(key, (batch, num_tokens))


def merge(
    matching: Matching,
    x: Float[Array, "B N C"],
    how: Literal["sum", "mean", "max"] = "mean",
    *,
    replaced: Bool[Array, "B K"] | None = None,
    backend: str = "auto",
) -> Float[Array, "B K C"]:
    """Reduces every removed token into its destination, which takes part itself; sizes play no part.

    Args:
        matching: The layer's decision.
        x: Tokens.
        how: "sum", "mean" (of the group's tokens, unweighted) or "max" (elementwise).
        replaced: Kept tokens whose own content is set to zero first (hybrid mode). They still count as one token of
            the mean, as in the reference.
        backend: How sums are computed (see `choose_merging`).

    Returns:
        The merged tokens in x's dtype.
    """
    if how == "max":
        own = take_tokens(x, matching.kept)
        if replaced is not None:
            own = jnp.where(replaced[..., None], 0, own)
        return jax.vmap(lambda o, t, a: o.at[t].max(a))(own, matching.dst, take_tokens(x, matching.src))
    if how not in ("sum", "mean"):
        raise UserError(f"how is {how!r}; known are sum, mean, max.")
    total = add_up(matching, x, replaced=replaced, backend=backend)
    if how == "mean":
        total = total / add_up(matching, jnp.ones((*x.shape[:2], 1)), backend=backend)
    return total.astype(x.dtype)


def source_matrix(membership: Int[Array, "B N0"], num_groups: int) -> Float[Array, "B K N0"]:
    """Returns the reference's 0/1 matrix, float32: [k, n] is 1 where initial token n ended in group k.

    Args:
        membership: Group of every initial token, -1 if discarded.
        num_groups: K, rows.
    """
    check_shapes(membership=(membership, "B N0"))
    return (membership[:, None, :] == jnp.arange(num_groups)[None, :, None]).astype(jnp.float32)
