"""What training minimises."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def classification_loss(
    logits: dict[str, Float[Array, "B _"]], labels: dict[str, Int[Array, " B"]], label_smoothing: float = 0.0
) -> Float[Array, ""]:
    """Returns the softmax cross entropy, averaged over clips and over heads."""
    losses = []
    for head, head_logits in logits.items():
        targets = jnp.eye(head_logits.shape[-1])[labels[head]]
        smoothed = optax.smooth_labels(targets, label_smoothing)
        losses.append(jnp.mean(optax.softmax_cross_entropy(head_logits, smoothed)))
    return jnp.mean(jnp.stack(losses))
