"""Attention with the whole score matrix in memory, as XLA makes of it what it can."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def plain_attention(
    query: Float[Array, "B T H D"],
    key: Float[Array, "B S H D"],
    value: Float[Array, "B S H D"],
    key_bias: Float[Array, "B S"] | None = None,
) -> Float[Array, "B T H D"]:
    """Attends; arguments as of `attend`."""
    # Heads move in front of tokens once, so that every product below is a plain batched matrix product.
    query, key, value = (part.swapaxes(1, 2) for part in (query * query.shape[-1] ** -0.5, key, value))
    if key_bias is not None:
        key_bias = key_bias[:, None]
    return attend_scaled(query, key, value, key_bias).swapaxes(1, 2)


def attend_scaled(
    query: Float[Array, "*R T D"],
    key: Float[Array, "*R S D"],
    value: Float[Array, "*R S D"],
    key_bias: Float[Array, "*#R S"] | None = None,
) -> Float[Array, "*R T D"]:
    """Attends with queries that the scale is already in, every head by itself; the softmax is in float32."""
    scores = jnp.einsum("...td,...sd->...ts", query, key, preferred_element_type=jnp.float32)
    if key_bias is not None:
        scores = scores + key_bias[..., None, :]
    weights = jax.nn.softmax(scores, axis=-1)
    return jnp.einsum("...ts,...sd->...td", weights.astype(value.dtype), value)


def each_with_own_queries(query: Float[Array, "A T H D"], key: Float[Array, "B S H D"]) -> Float[Array, "B T H D"]:
    """Repeats queries that several rows of keys share."""
    # Not by `len`: an exported program has any number of clips.
    if key.shape[0] == query.shape[0]:
        return query
    return jnp.repeat(query, key.shape[0] // query.shape[0], axis=0)


def with_unbiased_queries(
    attention: Callable[..., Float[Array, "*B T H D"]],
    unbiased: int,
    query: Float[Array, "*A T H D"],
    key: Float[Array, "*B S H D"],
    value: Float[Array, "*B S H D"],
    key_bias: Float[Array, "*B S"] | None,
) -> Float[Array, "*B T H D"]:
    """Attends by a function that has one bias for all queries, of which so many first ones are to have none."""
    if not unbiased or key_bias is None:
        return attention(query, key, value, key_bias)
    first = attention(query[..., :unbiased, :, :], key, value)
    others = attention(query[..., unbiased:, :, :], key, value, key_bias)
    return jnp.concatenate([first, others], axis=-3)
