"""Scaled dot-product attention with a bias per key; one place chooses how it is computed."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax_vtm.errors import UserError

BACKENDS = ("auto", "xla", "chunked")

# Scores of one chunk, in float32: small enough to stay in a core's cache, large enough for efficient products.
CHUNK_BYTES = 2 * 2**20


def attend(
    query: Float[Array, "*B T H D"],
    key: Float[Array, "*B S H D"],
    value: Float[Array, "*B S H D"],
    key_bias: Float[Array, "*B S"] | None = None,
    *,
    backend: str = "auto",
) -> Float[Array, "*B T H D"]:
    """Returns softmax(query key^T / sqrt(D) + key_bias) value per head, the softmax in float32.

    Args:
        query: Queries.
        key: Keys.
        value: Values.
        key_bias: Added to every query's score of a key, for example log(size) in proportional attention.
        backend: "xla" writes all scores [*B, H, T, S] to memory; "chunked" holds those of a few queries at a time,
            which is faster on a CPU; "auto" takes "chunked" on CPUs and "xla" elsewhere.

    Raises:
        UserError: An unknown backend.
    """
    if backend not in BACKENDS:
        raise UserError(f"attention is {backend!r}; known are {', '.join(BACKENDS)}.")
    if backend == "auto":
        backend = "chunked" if jax.default_backend() == "cpu" else "xla"
    if key_bias is None:
        key_bias = jnp.zeros((*key.shape[:-3], key.shape[-3]), jnp.float32)
    # Heads move in front of tokens once, so that every product below is a plain batched matrix product.
    query, key, value = (part.swapaxes(-3, -2) for part in (query * query.shape[-1] ** -0.5, key, value))
    attended = _chunked(query, key, value, key_bias) if backend == "chunked" else _plain(query, key, value, key_bias)
    return attended.swapaxes(-3, -2)


def _plain(query, key, value, key_bias):
    """Attention of [*B, H, T, D] queries over [*B, H, S, D] keys with the whole score matrix at once."""
    scores = jnp.einsum("...td,...sd->...ts", query, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores + key_bias[..., None, None, :], axis=-1)
    return jnp.einsum("...ts,...sd->...td", weights.astype(value.dtype), value)


def _chunked(query, key, value, key_bias):
    """The same, one clip and one chunk of queries after the other; recomputed in the backward pass."""
    *batch, heads, num_queries, width = query.shape
    num_keys = key.shape[-2]
    num_chunks = math.ceil(heads * num_queries * num_keys * 4 / CHUNK_BYTES)
    chunk = math.ceil(num_queries / num_chunks)
    num_chunks = math.ceil(num_queries / chunk)

    @jax.checkpoint
    def one_clip(clip):
        query, key, value, key_bias = clip
        if num_chunks == 1:
            return _plain(query, key, value, key_bias)
        padded = jnp.pad(query, ((0, 0), (0, num_chunks * chunk - num_queries), (0, 0)))
        chunks = padded.reshape(heads, num_chunks, chunk, width).swapaxes(0, 1)
        attended = jax.lax.map(lambda some: _plain(some, key, value, key_bias), chunks)
        return attended.swapaxes(0, 1).reshape(heads, -1, width)[:, :num_queries]

    flat = [part.reshape(-1, *part.shape[len(batch) :]) for part in (query, key, value, key_bias)]
    return jax.lax.map(one_clip, tuple(flat)).reshape(*batch, heads, num_queries, width)
