"""What cuDNN is handed, and the TPU kernel by its interpreter. Nothing here runs on a GPU or TPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from float64_attention import check, draw, exact
from hypothesis import given
from hypothesis import strategies as st
from jax.experimental.pallas import tpu as pallas_tpu

from jax_vtm.errors import UserError
from jax_vtm.models.attention import attend, attend_over_frames, tpu_flash, tpu_frames
from jax_vtm.models.attention.cudnn import cudnn_attention, prepare
from jax_vtm.models.attention.extra_channels import with_bias_channels

FULL = jax.ShapeDtypeStruct((1, 3137, 12, 64), jnp.bfloat16)
FULL_BIAS = jax.ShapeDtypeStruct((1, 3137), jnp.float32)


@given(size=st.integers(1, 10**6), width=st.sampled_from([8, 64, 80]), seed=st.integers(0, 99))
def test_three_parts_are_the_bias(size, width, seed):
    query, key, _, _ = draw(seed, 2, 3, 1, width, jnp.bfloat16, batch=1)
    bias = jnp.full((1, 3), np.log(size), jnp.float32)
    scale = width**-0.5
    # Compiled, since the compiler must not leave the roundings out.
    _, extended = jax.jit(with_bias_channels, static_argnums=3)(query, key, bias, scale)
    assert extended.dtype == jnp.bfloat16
    np.testing.assert_array_equal(extended[..., :width], key)
    parts = np.asarray(extended[..., width:], np.float64).sum(-1) * scale
    np.testing.assert_allclose(parts[0, :, 0], np.log(size), rtol=2e-7)


def test_cudnn_gets_as_many_channels_as_it_takes():
    query, key, value, bias = draw(0, 9, 7, 2, 64, jnp.bfloat16)
    *parts, scale = prepare(query, key, value, bias)
    assert [part.shape for part in parts] == [(2, 9, 2, 72), (2, 7, 2, 72), (2, 7, 2, 72)]
    assert scale == 1 / 8
    *parts, _ = prepare(query, key, value, None)
    assert [part.shape[-1] for part in parts] == [64] * 3


def test_cudnn_takes_no_wider_heads():
    with pytest.raises(UserError, match=r"up to 128 channels, 3 of them.*the model's have 128"):
        prepare(*draw(0, 9, 7, 2, 128, jnp.bfloat16))


def test_cudnn_is_asked_for(monkeypatch):
    """JAX asks the installed cuDNN what it is, before anything is lowered; there is none here."""
    inputs = draw(4, 9, 7, 2, 64, jnp.bfloat16)
    plain, asked = jax.nn.dot_product_attention, []

    def in_its_place(*parts, implementation, **settings):
        asked.append(implementation)
        return plain(*parts, **settings)

    monkeypatch.setattr(jax.nn, "dot_product_attention", in_its_place)
    check(cudnn_attention(*inputs), *inputs)
    assert asked == ["cudnn"]


@pytest.fixture
def interpreted():
    """Runs TPU kernels here, with no number in memory that nothing was written to, as behind the last token."""
    params = pallas_tpu.InterpretParams(uninitialized_memory="nan", out_of_bounds_reads="uninitialized")
    with pallas_tpu.force_tpu_interpret_mode(params):
        yield


# Heads with registers of their own; two heads of a pair, several tiles of queries; four heads, several tiles of keys.
@pytest.mark.parametrize("shape", [(13, 11, 3, 5), (530, 197, 2, 64), (20, 1300, 4, 32)])
@pytest.mark.parametrize("biased", [True, False])
def test_the_tpu_kernel(interpreted, shape, biased):
    *parts, bias = draw(3, *shape, jnp.bfloat16, batch=1)
    bias = bias if biased else None
    found = tpu_flash.tpu_flash_attention(*parts, bias)
    check(found, *parts, bias)
    # As far from float64 as the plain form is, but for weights that are rounded before their sum divides them.
    error, plain = (
        np.abs(np.asarray(one, np.float64) - exact(*parts, bias)).max() for one in (found, attend(*parts, bias))
    )
    assert error <= 2 * plain + 2**-9


def test_many_tiles_of_keys(interpreted, monkeypatch):
    monkeypatch.setattr(tpu_flash, "KEYS", (128,))
    inputs = draw(5, 30, 900, 2, 64, jnp.bfloat16, batch=2)
    check(tpu_flash.tpu_flash_attention(*inputs), *inputs)


def test_queries_that_several_rows_of_keys_share(interpreted):
    query, key, value, bias = draw(6, 70, 66, 2, 64, jnp.bfloat16, batch=6)
    found = attend(
        query[:2],
        *(part.reshape(2, 3, *part.shape[1:]) for part in (key, value, bias)),
        backend="tpu_flash",
        platform="tpu",
    )
    assert found.shape == (2, 3, 70, 2, 64)
    check(found.reshape(6, 70, 2, 64), jnp.repeat(query[:2], 3, axis=0), key, value, bias)


# One tile of places, and several, the last one ragged.
@pytest.mark.parametrize("tokens", [2048, 64])
def test_the_tpu_kernel_over_frames(interpreted, monkeypatch, tokens):
    monkeypatch.setattr(tpu_frames, "TOKENS", tokens)
    parts = draw(8, 21 * 4, 21 * 4, 2, 64, jnp.bfloat16)[:3]
    over_places = [part.reshape(2, 4, 21, 2, 64) for part in parts]
    found = attend_over_frames(*over_places, backend="tpu_flash", platform="tpu")

    def by_place(part):
        return part.swapaxes(1, 2).reshape(42, 4, 2, 64)

    check(by_place(found), *(by_place(part) for part in over_places))
    plain = attend_over_frames(*over_places, backend="xla")
    check(by_place(plain), *(by_place(part) for part in over_places))


def test_many_frames_and_odd_heads_have_no_kernel_over_frames():
    assert tpu_frames.suits(32, 12, 64)
    assert not tpu_frames.suits(96, 12, 64)
    assert not tpu_frames.suits(8, 16, 80)
    assert not tpu_frames.suits(8, 3, 64)


# A key's bias is added to all queries but the first ones, in one tile of queries and keys or several, filled up.
@pytest.mark.parametrize("shape", [(70, 66, 2, 64), (530, 1300, 2, 64)])
@pytest.mark.parametrize("backend", ["tpu_flash", "xla", "chunked"])
def test_first_queries_take_no_notice_of_the_bias(interpreted, shape, backend):
    query, key, value, bias = draw(9, *shape, jnp.bfloat16, batch=1)
    found = attend(query, key, value, bias, unbiased=3, backend=backend, platform="tpu")
    check(found[:, :3], query[:, :3], key, value, None)
    check(found[:, 3:], query[:, 3:], key, value, bias)
    assert jnp.abs(found[:, :3] - attend(query[:, :3], key, value, bias)).max() > 0.05
    check(attend(query, key, value, unbiased=3, backend=backend, platform="tpu"), query, key, value, None)


@pytest.mark.parametrize("unbiased", [0, 1])
def test_gradients_of_the_tpu_kernel(interpreted, unbiased):
    inputs = draw(7, 70, 66, 2, 64, jnp.bfloat16)

    def gradients(backend):
        def loss(*inputs):
            attended = attend(*inputs, unbiased=unbiased, backend=backend, platform="tpu")
            return (attended.astype(jnp.float32) ** 2).sum()

        return jax.grad(loss, argnums=(0, 1, 2, 3))(*inputs)

    for kernel, plain in zip(gradients("tpu_flash"), gradients("xla"), strict=True):
        np.testing.assert_allclose(kernel, plain, rtol=0, atol=0.03 * float(jnp.abs(plain).max()))


def test_lowers_for_tpus():
    """Nothing is moved around the kernel: between a projection's rows and its own there are reshapes alone."""
    lowered = (
        jax.jit(tpu_flash.tpu_flash_attention).trace(FULL, FULL, FULL, FULL_BIAS).lower(lowering_platforms=("tpu",))
    )
    text = lowered.as_text()
    assert text.count("@tpu_custom_call") == 1
    assert "3137x3137" not in text
    assert "transpose" not in text
    assert "concatenate" not in text
    # Of the bias alone.
    assert text.count("stablehlo.pad") <= 1
