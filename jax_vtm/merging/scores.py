"""What makes two tokens alike: the scores between sources (even positions) and destinations (odd positions).

The scores are an argument of the matching, so that recorded scores can be replayed and the cosine replaced.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jax_vtm.errors import UserError
from jax_vtm.merging.shapes import check_shapes

HEAD_AGGREGATIONS = ("mean", "concat")


def metric_from_keys(keys: Float[Array, "B N H D"], head_aggregation: str) -> Float[Array, "B N M"]:
    """Turns attention keys into one feature per token: the mean over heads (M = D) or all heads (M = H * D)."""
    check_shapes(keys=(keys, "B N H D"))
    if head_aggregation == "mean":
        return jnp.mean(keys, axis=2, dtype=jnp.float32)
    if head_aggregation == "concat":
        return keys.reshape(*keys.shape[:2], -1).astype(jnp.float32)
    raise UserError(f"head_aggregation is {head_aggregation!r}; known are {', '.join(HEAD_AGGREGATIONS)}.")


def cosine_scores(metric: Float[Array, "B N M"]) -> Float[Array, "B S T"]:
    """Returns the cosine similarity of every source (S = ceil(N / 2)) with every destination (T = floor(N / 2)).

    Computed in float32. A token whose metric is all zero is similar to nothing (score 0); the PyTorch reference
    gives NaN there.
    """
    check_shapes(metric=(metric, "B N M"))
    unit = unit_vectors(metric)
    return jnp.einsum("bsm,btm->bst", unit[:, ::2], unit[:, 1::2], precision=jax.lax.Precision.HIGHEST)


def unit_vectors(metric: Float[Array, "*L M"]) -> Float[Array, "*L M"]:
    """Scales each vector to length one in float32; an all-zero vector stays zero."""
    metric = metric.astype(jnp.float32)
    # The squares are summed before the root so that a zero vector has a defined gradient too.
    squared = jnp.sum(metric * metric, axis=-1, keepdims=True)
    return metric * jax.lax.rsqrt(jnp.where(squared > 0, squared, 1.0))


def uniform_scores(key: Key[Array, ""], batch: int, num_tokens: int) -> Float[Array, "B S T"]:
    """Draws the scores of the random modes: uniform numbers in [0, 1)."""
    return jax.random.uniform(key, (batch, (num_tokens + 1) // 2, num_tokens // 2))


def protect(
    scores: Float[Array, "B S T"], *, class_token: bool = False, distill_token: bool = False
) -> Float[Array, "B S T"]:
    """Sets to -inf what must not match: token 0 (class) as a source, token 1 (distillation) as a destination."""
    # Chosen by position and not written over: that needs no scatter, and goes along with what reads the scores next.
    if class_token:
        scores = jnp.where(jnp.arange(scores.shape[1])[:, None] == 0, -jnp.inf, scores)
    if distill_token:
        scores = jnp.where(jnp.arange(scores.shape[2]) == 0, -jnp.inf, scores)
    return scores
