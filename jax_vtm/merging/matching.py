"""Which tokens stay, which go, and where to: a matching is a pytree of index arrays, not a closure.

Balanced bipartite soft matching and its variants, as in ToMe (Bolya et al., "Token Merging: Your ViT But Faster",
2023) and the PyTorch reference of "Video, How Do Your Tokens Merge?". Order is part of the algorithm: it decides
which tokens are sources in the next layer.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from jax_vtm.errors import UserError
from jax_vtm.merging.nearest import Nearest, nearest_by_scores
from jax_vtm.merging.schedule import clamp_r
from jax_vtm.merging.scores import unit_vectors
from jax_vtm.merging.shapes import check_bipartite, check_shapes


@struct.dataclass
class Matching:
    """One layer's decision for B clips: N tokens become K.

    Attributes:
        survivors: Input position of every output token, in output order.
        removed: Input positions of the removed tokens, by falling score.
        target: Output position that each removed token joins (or, in the drop modes, resembles most).
        score: Score of each of these edges.
        num_tokens: N. Positions that are neither survivors nor removed are discarded (`kth_bipartite_matching` only).
    """

    survivors: Int[Array, "B K"]
    removed: Int[Array, "B R"]
    target: Int[Array, "B R"]
    score: Float[Array, "B R"]
    num_tokens: int = struct.field(pytree_node=False)

    @property
    def lengths(self) -> dict[str, int]:
        """B, N, K and R.

        Raises:
            UserError: The arrays do not go together.
        """
        return check_shapes(
            {"N": self.num_tokens},
            survivors=(self.survivors, "B K"),
            removed=(self.removed, "B R"),
            target=(self.target, "B R"),
            score=(self.score, "B R"),
        )


def bipartite_soft_matching(
    scores: Float[Array, "B S T"],
    r: int,
    *,
    class_token: bool = False,
    distill_token: bool = False,
    ascending: bool = False,
) -> Matching:
    """Removes the r sources (even positions) that resemble a destination (odd position) most.

    Each source has one edge, to its best destination; the r edges with the highest scores are taken. Several sources
    may share a destination. The output is [kept sources, all destinations]; kept sources stay in ascending position
    if there is a class token and in order of falling score if not. With a distillation token, the output begins with
    the first kept source and the first destination (class, distillation), then the other sources and destinations.

    Equal scores are decided for the lowest position, in both choices.

    Args:
        scores: Similarity of sources and destinations (see `cosine_scores`); protection is applied here.
        r: Tokens to remove, clamped to half of the unprotected tokens; 0 or less gives the identity.
        class_token: Token 0 is never removed.
        distill_token: Token 1 never receives.
        ascending: Kept sources stay in ascending position without a class token too.

    Returns:
        A matching with K = N - r.
    """
    check_bipartite(scores)
    nearest = nearest_by_scores(scores, class_token=class_token, distill_token=distill_token)
    return match_nearest(nearest, r, class_token=class_token, distill_token=distill_token, ascending=ascending)


def match_nearest(
    nearest: Nearest,
    r: int,
    *,
    class_token: bool = False,
    distill_token: bool = False,
    ascending: bool = False,
) -> Matching:
    """As `bipartite_soft_matching`, from each source's one edge, in which protection is already applied."""
    check_shapes(score=(nearest.score, "B S"), destination=(nearest.destination, "B S"))
    batch, num_sources = nearest.score.shape
    num_destinations = nearest.num_destinations
    num_tokens = num_sources + num_destinations
    r = clamp_r(num_tokens, r, int(class_token) + int(distill_token))
    if r == 0:
        return identity_matching(batch, num_tokens)
    by_score = jnp.argsort(nearest.score, axis=-1, stable=True, descending=True)
    removed, kept = by_score[:, :r], by_score[:, r:]
    if class_token or ascending:
        kept = jnp.sort(kept, axis=-1)
    target = jnp.take_along_axis(nearest.destination, removed, axis=-1)
    kept, destinations = 2 * kept, 2 * jnp.arange(num_destinations) + 1
    destinations = jnp.broadcast_to(destinations, (batch, num_destinations))
    if distill_token:
        survivors = [kept[:, :1], destinations[:, :1], kept[:, 1:], destinations[:, 1:]]
    else:
        survivors = [kept, destinations]
    return Matching(
        survivors=jnp.concatenate(survivors, axis=-1),
        removed=2 * removed,
        # Behind all kept sources in either order: the distillation token, which is moved forward, never receives.
        target=num_sources - r + target,
        score=jnp.take_along_axis(nearest.score, removed, axis=-1),
        num_tokens=num_tokens,
    )


def kth_bipartite_matching(metric: Float[Array, "B N M"], k: int) -> Matching:
    """Merges every token into the most similar of the tokens at positions k-1, 2k-1, ...: N tokens become N // k.

    The trailing N mod k tokens are discarded, as in the reference: they belong to no group (membership -1), and
    `unmerge` gives zeros for them.

    Raises:
        UserError: k is not between 1 and N.
    """
    check_shapes(metric=(metric, "B N M"))
    batch, num_tokens, _ = metric.shape
    if not 1 <= k <= num_tokens:
        raise UserError(f"k is {k}; expected 1 to {num_tokens}, the number of tokens.")
    if k == 1:
        return identity_matching(batch, num_tokens)
    positions = jnp.arange(num_tokens // k * k).reshape(-1, k)
    sources, destinations = positions[:, :-1].reshape(-1), positions[:, -1]
    unit = unit_vectors(metric)
    scores = jnp.einsum("bsm,btm->bst", unit[:, sources], unit[:, destinations], precision=jax.lax.Precision.HIGHEST)
    return Matching(
        survivors=jnp.broadcast_to(destinations, (batch, destinations.size)),
        removed=jnp.broadcast_to(sources, (batch, sources.size)),
        target=jnp.argmax(scores, axis=-1),
        score=jnp.max(scores, axis=-1),
        num_tokens=num_tokens,
    )


def random_bipartite_matching(metric: Float[Array, "B N M"], order: Float[Array, "B N"], r: int) -> Matching:
    """Merges r randomly chosen tokens into the most similar of all others: no even and odd split.

    Args:
        metric: Feature per token.
        order: Uniform numbers; the r tokens with the smallest are removed, the others survive in ascending order of
            theirs.
        r: Tokens to remove, at most N - 1; 0 or less gives the identity.

    Returns:
        A matching with K = N - r.
    """
    check_shapes(metric=(metric, "B N M"), order=(order, "B N"))
    batch, num_tokens, _ = metric.shape
    r = min(r, num_tokens - 1)
    if r <= 0:
        return identity_matching(batch, num_tokens)
    permutation = jnp.argsort(order, axis=-1, stable=True)
    removed, survivors = permutation[:, :r], permutation[:, r:]
    unit = unit_vectors(metric)
    scores = jnp.einsum(
        "bsm,btm->bst",
        jnp.take_along_axis(unit, removed[..., None], axis=1),
        jnp.take_along_axis(unit, survivors[..., None], axis=1),
        precision=jax.lax.Precision.HIGHEST,
    )
    return Matching(
        survivors=survivors,
        removed=removed,
        target=jnp.argmax(scores, axis=-1),
        score=jnp.max(scores, axis=-1),
        num_tokens=num_tokens,
    )


def random_order(key: Key[Array, ""], batch: int, num_tokens: int) -> Float[Array, "B N"]:
    """Draws the uniform numbers that `random_bipartite_matching` splits the tokens by."""
    return jax.random.uniform(key, (batch, num_tokens))


def identity_matching(batch: int, num_tokens: int) -> Matching:
    """The matching that removes nothing and keeps the order."""
    nothing = jnp.zeros((batch, 0), jnp.int32)
    return Matching(
        survivors=jnp.broadcast_to(jnp.arange(num_tokens), (batch, num_tokens)),
        removed=nothing,
        target=nothing,
        score=jnp.zeros((batch, 0), jnp.float32),
        num_tokens=num_tokens,
    )
