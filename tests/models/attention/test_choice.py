import jax.numpy as jnp
import pytest

from jax_vtm.errors import UserError
from jax_vtm.models.attention import choose_backend


@pytest.mark.parametrize(
    ("asked", "dtype", "platform", "chosen"),
    [
        ("auto", None, "cpu", "chunked"),
        ("auto", jnp.bfloat16, "cpu", "chunked"),
        ("auto", jnp.bfloat16, "gpu", "xla"),
        ("auto", None, "tpu", "xla"),
        ("xla", None, "cpu", "xla"),
        ("chunked", None, "gpu", "chunked"),
        ("cudnn", jnp.bfloat16, "gpu", "cudnn"),
        ("cudnn", jnp.float16, "gpu", "cudnn"),
        ("tpu_flash", jnp.bfloat16, "tpu", "tpu_flash"),
    ],
)
def test_chosen(asked, dtype, platform, chosen):
    assert choose_backend(asked, dtype, platform) == chosen


@pytest.mark.parametrize(
    ("asked", "dtype", "platform", "message"),
    [
        ("cudnn", jnp.bfloat16, None, "'cudnn', which needs an NVIDIA GPU, but JAX runs on 'cpu'.*Use 'auto', 'xla'"),
        ("cudnn", None, "gpu", "in bfloat16 or float16, but the model's dtype is float32.*Set the dtype to bfloat16"),
        ("tpu_flash", jnp.bfloat16, "gpu", "'tpu_flash', which needs a TPU, but JAX runs on 'gpu'"),
        ("tpu_flash", jnp.float16, "tpu", "computes in bfloat16, but the model's dtype is float16"),
        ("flash", None, "cpu", "'flash'; known are auto, xla, chunked, cudnn, tpu_flash"),
    ],
)
def test_refused(asked, dtype, platform, message):
    with pytest.raises(UserError, match=message):
        choose_backend(asked, dtype, platform)
