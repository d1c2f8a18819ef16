import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_vtm.errors import UserError
from jax_vtm.models import attention
from jax_vtm.models.attention import attend

RNG = np.random.default_rng(0)
QUERY, KEY, VALUE = (RNG.normal(size=(2, tokens, 3, 5)).astype(np.float32) for tokens in (13, 11, 11))
BIAS = np.log(RNG.integers(1, 9, size=(2, 11))).astype(np.float32)


def exact(query, key, value, bias=None):
    """Attention in float64."""
    query, key, value = (part.astype(np.float64) for part in (query, key, value))
    scores = np.einsum("bthd,bshd->bhts", query, key) / np.sqrt(query.shape[-1])
    scores += 0 if bias is None else bias[:, None, None, :]
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhts,bshd->bthd", weights / weights.sum(-1, keepdims=True), value)


def run(backend, bias, query=QUERY, key=KEY, value=VALUE):
    bias = None if bias is None else jnp.asarray(bias)
    args = [jnp.asarray(part) for part in (query, key, value)]
    return jax.jit(lambda *args: attend(*args, bias, backend=backend))(*args)


# One query per chunk, chunks with a ragged last one (13 = 3 * 4 + 1), and everything in one chunk.
@pytest.mark.parametrize("chunk_bytes", [1, 3 * 4 * 11 * 4, 2**20])
@pytest.mark.parametrize("bias", [None, BIAS], ids=["plain", "biased"])
def test_chunked(monkeypatch, chunk_bytes, bias):
    monkeypatch.setattr(attention, "CHUNK_BYTES", chunk_bytes)
    found = run("chunked", bias)
    np.testing.assert_allclose(found, exact(QUERY, KEY, VALUE, bias), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("bias", [None, BIAS], ids=["plain", "biased"])
@pytest.mark.parametrize("backend", ["xla", "auto"])
def test_plain(backend, bias):
    np.testing.assert_allclose(run(backend, bias), exact(QUERY, KEY, VALUE, bias), rtol=1e-5, atol=2e-6)


def test_gradients_are_equal(monkeypatch):
    monkeypatch.setattr(attention, "CHUNK_BYTES", 3 * 4 * 11 * 4)

    def gradients(backend):
        def loss(query, key, value, bias):
            return (attend(query, key, value, bias, backend=backend) ** 2).sum()

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))(*map(jnp.asarray, (QUERY, KEY, VALUE, BIAS)))

    for plain, chunked in zip(gradients("xla"), gradients("chunked"), strict=True):
        assert np.abs(plain).max() > 0
        np.testing.assert_allclose(plain, chunked, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", ["xla", "chunked"])
def test_more_batch_axes(monkeypatch, backend):
    monkeypatch.setattr(attention, "CHUNK_BYTES", 3 * 4 * 11 * 4)
    query, key, value = (np.stack([part] * 3, axis=1) for part in (QUERY, KEY, VALUE))
    found = run(backend, np.stack([BIAS] * 3, axis=1), query, key, value)
    np.testing.assert_allclose(found[:, 1], exact(QUERY, KEY, VALUE, BIAS), rtol=1e-5, atol=2e-6)


def test_a_token_of_size_two_counts_as_two():
    twice = [np.concatenate([part, part[:, :1]], axis=1) for part in (KEY, VALUE)]
    bias = np.zeros_like(BIAS)
    bias[:, 0] = np.log(2)
    np.testing.assert_allclose(run("xla", bias), exact(QUERY, *twice), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("backend", ["xla", "chunked"])
def test_bfloat16_has_its_softmax_in_float32(backend):
    parts = [part.astype(jnp.bfloat16) for part in (QUERY, KEY, VALUE)]
    found = run(backend, BIAS, *parts)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(np.float32), exact(*parts, BIAS), rtol=0.03, atol=0.03)


def test_unknown_backend():
    with pytest.raises(UserError, match="'flash'; known are auto, xla, chunked"):
        run("flash", None)
