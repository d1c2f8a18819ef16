"""Which tokens stay, which go, and where to: a matching is a pytree of index arrays, not a closure.

Bipartite soft matching, as in ToMe (Bolya et al., "Token Merging: Your ViT But Faster", 2023) and "Video, How Do Your
Tokens Merge?" (Pollard & Wray, 2025): tokens at even positions are sources, those at odd positions destinations. Each
source has one edge, to the destination that it resembles most (`backends.best_match`), and the r edges with the highest
scores are taken. The scores are an argument, so that recorded ones can be replayed and the cosine replaced.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Key

from jax_vtm.errors import UserError
from jax_vtm.merging.backends.best_match import BestMatch
from jax_vtm.merging.backends.order import split_by_score
from jax_vtm.merging.schedule import HEAD_AGGREGATIONS, clamp_r
from jax_vtm.merging.shapes import check_shapes


@struct.dataclass
class Matching:
    """One layer's decision for B clips: N tokens become K.

    Attributes:
        kept: Input position of every output token, in output order.
        src: Input positions of the removed tokens, by falling score.
        dst: Output position that each removed token joins (or, in the drop modes, resembles most).
        score: Score of each of these edges, float32.
        num_tokens: N. Positions that are neither kept nor removed are discarded (`kth_bipartite_matching` only).
    """

    kept: Int[Array, "B K"]
    src: Int[Array, "B R"]
    dst: Int[Array, "B R"]
    score: Float[Array, "B R"]
    num_tokens: int = struct.field(pytree_node=False)

    @property
    def lengths(self) -> dict[str, int]:
        """B, N, K and R.

        Raises:
            UserError: The arrays do not go together.
        """
        edges = {"src": (self.src, "B R"), "dst": (self.dst, "B R"), "score": (self.score, "B R")}
        return check_shapes({"N": self.num_tokens}, kept=(self.kept, "B K"), **edges)


def metric_from_keys(
    keys: Float[Array, "B N H D"], head_aggregation: str, *, platform: str | None = None
) -> Float[Array, "B N M"]:
    """Returns what tokens are compared by (paper, section 3), one feature per token in float32.

    Args:
        keys: The keys of every head of attention.
        head_aggregation: "mean" over the heads (M = D), or "concat", all heads (M = H * D).
        platform: For which the program is made; None is the one that JAX runs on.
    """
    lengths = check_shapes(keys=(keys, "B N H D"))
    if head_aggregation == "mean" and lengths["H"] > 1 and (platform or jax.default_backend()) == "tpu":
        # Heads lie side by side in one axis, along which a TPU's sum of every 64th number moves all of them. A product
        # with ones and zeros, exact at this precision, takes an eighth of that by the compiler's account.
        of_channel = jnp.tile(jnp.eye(lengths["D"], dtype=keys.dtype), (lengths["H"], 1))
        added = jnp.dot(
            keys.reshape(*keys.shape[:2], -1),
            of_channel,
            precision=jax.lax.Precision.HIGHEST,
            preferred_element_type=jnp.float32,
        )
        return added / lengths["H"]
    if head_aggregation == "mean":
        return jnp.mean(keys, axis=2, dtype=jnp.float32)
    if head_aggregation == "concat":
        return keys.reshape(*keys.shape[:2], -1).astype(jnp.float32)
    raise UserError(f"head_aggregation is {head_aggregation!r}; known are {', '.join(HEAD_AGGREGATIONS)}.")


def uniform_scores(key: Key[Array, ""], batch: int, num_tokens: int) -> Float[Array, "B S T"]:
    """Returns the scores of the random modes, uniform numbers in [0, 1) in float32.

    Args:
        key: Of `jax.random`.
        batch: B.
        num_tokens: N; there are S = ceil(N / 2) sources and T = floor(N / 2) destinations.
    """
    return jax.random.uniform(key, (batch, (num_tokens + 1) // 2, num_tokens // 2))


def match(
    best: BestMatch, r: int, *, class_token: bool = False, ascending: bool = False, platform: str | None = None
) -> Matching:
    """Removes the r sources that resemble a destination most, several of which may share one; K = N - r.

    The output is [kept sources, all destinations]. Order is part of the algorithm: it decides which tokens are sources
    in the next layer. Equal scores are decided for the lowest position.

    Args:
        best: Each source's one edge, with protection applied.
        r: Tokens to remove, clamped to half of the unprotected tokens; 0 or less gives the identity.
        class_token: Token 0 is never removed.
        ascending: Kept sources stay in ascending position, as they do with a class token; else by falling score.
        platform: For which the program is made; None is the one that JAX runs on.
    """
    lengths = check_shapes(score=(best.score, "B S"), destination=(best.destination, "B S"))
    batch, num_sources, num_destinations = lengths["B"], lengths["S"], best.num_destinations
    num_tokens = num_sources + num_destinations
    r = clamp_r(num_tokens, r, int(class_token))
    if r == 0:
        return identity_matching(batch, num_tokens)
    src, dst, kept = split_by_score(
        best.score, best.destination, r, ascending=class_token or ascending, platform=platform
    )
    destinations = jnp.broadcast_to(2 * jnp.arange(num_destinations) + 1, (batch, num_destinations))
    return Matching(
        kept=jnp.concatenate([2 * kept, destinations], axis=-1),
        src=2 * src,
        dst=num_sources - r + dst,
        score=jnp.take_along_axis(best.score, src, axis=-1),
        num_tokens=num_tokens,
    )


def match_by_importance(
    importance: Float[Array, "B N"],
    best: BestMatch | None,
    r: int,
    *,
    class_token: bool = False,
    ascending: bool = False,
    platform: str | None = None,
) -> Matching:
    """Removes the r sources of least importance; otherwise as `match`.

    Args:
        importance: Of every token.
        best: Each source's one edge, along which it goes; None where removed tokens vanish.
        r: Tokens to remove; this and the others as of `match`.
        class_token: Token 0 is never removed.
        ascending: Order of the kept sources.
        platform: For which the program is made.

    Returns:
        A matching whose scores are those of the edges; without edges, minus the importance, and destinations 0.
    """
    num_tokens = check_shapes(importance=(importance, "B N"))["N"]
    # Which tokens go has no gradient.
    rank = -jax.lax.stop_gradient(importance[:, ::2].astype(jnp.float32))
    if class_token:
        rank = jnp.where(jnp.arange(rank.shape[1]) == 0, -jnp.inf, rank)
    destination = jnp.zeros(rank.shape, jnp.int32) if best is None else best.destination
    edges = BestMatch(rank, destination, num_tokens // 2)
    matching = match(edges, r, class_token=class_token, ascending=ascending, platform=platform)
    if best is None:
        return matching
    return dataclasses.replace(matching, score=jnp.take_along_axis(best.score, matching.src // 2, axis=-1))


def identity_matching(batch: int, num_tokens: int) -> Matching:
    """Returns the matching that removes no token and keeps their order.

    Args:
        batch: B, clips.
        num_tokens: N, tokens of each.
    """
    nothing = jnp.zeros((batch, 0), jnp.int32)
    kept = jnp.broadcast_to(jnp.arange(num_tokens), (batch, num_tokens))
    return Matching(kept, nothing, nothing, jnp.zeros((batch, 0), jnp.float32), num_tokens)
