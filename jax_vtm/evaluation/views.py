"""How the views of a video become one prediction."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from jax_vtm.errors import UserError

VIEW_AVERAGES = ("logits", "softmax", "max", "max_from_zero")


def combine_views(logits: Float[np.ndarray, "n V K"], how: str) -> Float[np.ndarray, "n K"]:
    """Combines the logits of every video's V views into its scores.

    - `logits`: their mean. Scenic averages so, and the PyTorch reference sums, which ranks the same.
    - `softmax`: the mean of the views' probabilities.
    - `max`: the highest of each class.
    - `max_from_zero`: the same, but no score is below zero. The reference takes the maximum so, from an
      accumulator of zeros: of classes whose logits are all negative, it no longer knows which was best.

    Raises:
        UserError: `how` is none of `VIEW_AVERAGES`.
    """
    if how == "logits":
        return np.mean(logits, axis=1)
    if how == "softmax":
        return np.mean(_softmax(logits), axis=1)
    if how == "max":
        return np.max(logits, axis=1)
    if how == "max_from_zero":
        return np.maximum(np.max(logits, axis=1), 0)
    raise UserError(f"view_average is {how!r}; known are {', '.join(VIEW_AVERAGES)}.")


def combine_heads(logits: Mapping[str, Float[np.ndarray, "n V _"]], how: str) -> dict[str, Float[np.ndarray, "n _"]]:
    """`combine_views` of every head."""
    return {head: combine_views(values, how) for head, values in logits.items()}


def as_probabilities(scores: Float[np.ndarray, "n K"], how: str) -> Float[np.ndarray, "n K"]:
    """Turns what `combine_views` returned for `how` into probabilities over the classes.

    Averaged probabilities are such already; all others are taken for logits.
    """
    return scores if how == "softmax" else _softmax(scores)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return powers / np.sum(powers, axis=-1, keepdims=True)
