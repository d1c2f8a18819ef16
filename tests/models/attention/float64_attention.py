"""Attention written down in float64, what it is fed with, and how far a result may be from it."""

import jax.numpy as jnp
import numpy as np


def exact(query, key, value, bias=None):
    """Attention in float64."""
    query, key, value = (np.asarray(part).astype(np.float64) for part in (query, key, value))
    scores = np.einsum("bthd,bshd->bhts", query, key) / np.sqrt(query.shape[-1])
    scores += 0 if bias is None else np.asarray(bias)[:, None, None, :]
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhts,bshd->bthd", weights / weights.sum(-1, keepdims=True), value)


def bound(query, key, value, bias=None) -> float:
    """The error that the inputs' type allows.

    A rounding of queries and scores makes a relative error of the weights, in proportion to how large the scores are;
    weights, sums and results are rounded once each.
    """
    query, key, value = (np.asarray(part).astype(np.float64) for part in (query, key, value))
    scores = np.abs(np.einsum("bthd,bshd->bhts", query, key)).max() / np.sqrt(query.shape[-1])
    scores += 0 if bias is None else np.abs(bias).max()
    return float(np.abs(value).max()) * (3 + scores)


def draw(seed, queries, keys, heads, width, dtype=jnp.float32, batch=2):
    """Queries, keys, values of a type, and the logarithms of sizes in float32."""
    rng = np.random.default_rng(seed)
    shapes = ((batch, tokens, heads, width) for tokens in (queries, keys, keys))
    parts = [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]
    sizes = np.exp(rng.uniform(0, 8, size=(batch, keys))).astype(int)
    return *parts, jnp.log(jnp.asarray(sizes, jnp.float32))


def check(found, query, key, value, bias=None):
    """Within the bound of float64, in the values' type."""
    assert found.dtype == value.dtype
    error = np.abs(np.asarray(found, np.float64) - exact(query, key, value, bias)).max()
    assert error <= bound(query, key, value, bias) * float(jnp.finfo(value.dtype).eps)
