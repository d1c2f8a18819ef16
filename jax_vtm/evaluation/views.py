"""How the views of a video become one prediction: on the devices while they count, on the host for the results."""

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jax_vtm.errors import UserError

VIEW_AVERAGES = ("logits", "softmax", "max", "max_from_zero")

# What goes in comes out: host arrays, or those of a device, also while a step is traced.
Scores = TypeVar("Scores", np.ndarray, jax.Array)


def combine_views(logits: Scores, how: str) -> Scores:
    """Combines the logits [n, V, K] of every video's V views into its scores [n, K].

    - `logits`: their mean. Scenic averages so, and the PyTorch reference sums, which ranks the same.
    - `softmax`: the mean of the views' probabilities.
    - `max`: the highest of each class.
    - `max_from_zero`: the same, but no score is below zero. The reference takes the maximum so, from an
      accumulator of zeros: of classes whose logits are all negative, it no longer knows which was best.

    Args:
        logits: [n, V, K], numpy's or JAX's; the scores are of the same kind.
        how: One of `VIEW_AVERAGES`.

    Raises:
        UserError: There is no such way.
    """
    numpy = _namespace(logits)
    if how == "logits":
        return numpy.mean(logits, axis=1)
    if how == "softmax":
        return numpy.mean(_softmax(logits), axis=1)
    if how == "max":
        return numpy.max(logits, axis=1)
    if how == "max_from_zero":
        return numpy.maximum(numpy.max(logits, axis=1), 0)
    raise UserError(f"view_average is {how!r}; known are {', '.join(VIEW_AVERAGES)}.")


def combine_heads(logits: Mapping[str, Scores], how: str) -> dict[str, Scores]:
    """`combine_views` of every head."""
    return {head: combine_views(values, how) for head, values in logits.items()}


def as_probabilities(scores: Scores, how: str) -> Scores:
    """Turns what `combine_views` returned for `how` into probabilities over the classes, [n, K].

    Averaged probabilities are such already; all others are taken for logits.
    """
    return scores if how == "softmax" else _softmax(scores)


def _softmax(logits: Any) -> Any:
    numpy = _namespace(logits)
    powers = numpy.exp(logits - numpy.max(logits, axis=-1, keepdims=True))
    return powers / numpy.sum(powers, axis=-1, keepdims=True)


def _namespace(array: Any) -> Any:
    """The module whose functions take the array and return its kind."""
    return jnp if isinstance(array, jax.Array) else np
