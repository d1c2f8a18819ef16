"""What training minimises."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

# Scenic adds it to the sum of the mask, so that a batch of padded clips alone has the loss 0.
_EPSILON = 1e-8

Logits = Mapping[str, Float[Array, "B _"]]


def one_hot(labels: Mapping[str, Int[Array, " B"]], heads: Mapping[str, int]) -> dict[str, Float[Array, "B _"]]:
    """Returns each head's targets [B, classes]; `heads` has the numbers of classes."""
    return {head: jax.nn.one_hot(labels[head], classes) for head, classes in heads.items()}


def classification_loss(
    logits: Logits,
    targets: Mapping[str, Float[Array, "B _"]],
    mask: Float[Array, " B"],
    label_smoothing: float = 0.0,
) -> Float[Array, ""]:
    """Returns the softmax cross entropy, averaged over clips and over heads.

    Args:
        logits: Of each head.
        targets: Of each head: one-hot, or mixed.
        mask: Weight of each clip; 0 for a padded one.
        label_smoothing: Share of the targets that is spread over all classes of the head.
    """
    losses = []
    for head, head_logits in logits.items():
        smoothed = optax.smooth_labels(targets[head], label_smoothing)
        per_clip = optax.softmax_cross_entropy(head_logits, smoothed)
        losses.append(jnp.sum(per_clip * mask) / (jnp.sum(mask) + _EPSILON))
    return jnp.mean(jnp.stack(losses))


def squares(params: Any) -> Float[Array, ""]:
    """Returns the sum of squares of all arrays of rank 2 and more, which Scenic's `l2_decay_factor` weighs."""
    return optax.tree.norm([leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1], squared=True)
