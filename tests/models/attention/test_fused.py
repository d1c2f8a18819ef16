"""What cuDNN and the TPU kernel are handed, and that programs for their platforms are made of them.

Nothing here runs on a GPU or TPU. The TPU kernel itself is run by its interpreter.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from float64_attention import check, draw
from hypothesis import given
from hypothesis import strategies as st
from jax.experimental.pallas import tpu as pallas_tpu

from jax_vtm.errors import UserError
from jax_vtm.models.attention.cudnn import cudnn_attention, prepare
from jax_vtm.models.attention.extra_channels import with_bias_channels
from jax_vtm.models.attention.tpu_flash import tpu_flash_attention

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


def test_the_tpu_kernel_by_its_interpreter():
    inputs = draw(3, 150, 130, 1, 16, jnp.bfloat16, batch=1)
    with pallas_tpu.force_tpu_interpret_mode():
        found = tpu_flash_attention(*inputs)
    check(found, *inputs)


def test_lowers_for_tpus():
    lowered = jax.jit(tpu_flash_attention).trace(FULL, FULL, FULL, FULL_BIAS).lower(lowering_platforms=("tpu",))
    text = lowered.as_text()
    assert "@tpu_custom_call" in text
    assert "3137x3137" not in text


def test_lowers_for_nvidia_gpus(monkeypatch):
    # JAX asks the installed cuDNN and GPU what they are; there is neither here.
    from jax._src.cudnn import fused_attention_stablehlo as fused

    monkeypatch.setattr(fused, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(fused, "check_compute_capability", lambda _: True)
    monkeypatch.setattr(fused, "is_cuda_compute_capability_equal", lambda _: False)
    lowered = jax.jit(cudnn_attention).trace(FULL, FULL, FULL, FULL_BIAS).lower(lowering_platforms=("cuda",))
    text = lowered.as_text()
    assert "__cudnn$fmhaSoftmax" in text
    assert "3137x3137" not in text
