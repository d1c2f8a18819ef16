"""The second step of trajectory attention: products and the TPU's kernel, by its interpreter, next to float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pallas_tpu

from jax_vtm.models.attention import trajectories


def drawn(dtype, frames=4, patches=21, heads=2, width=64):
    rng = np.random.default_rng(0)
    channels = heads * width
    shapes = (2, patches, heads, width), (2, frames, patches, channels), (channels, heads, width)
    query, summaries, kernel = (rng.normal(size=shape) for shape in shapes)
    return [jnp.asarray(part, dtype) for part in (query / width**0.5, summaries, kernel / channels**0.5)]


def exact(query, summaries, kernel):
    """Every head by itself, in float64."""
    query, summaries, kernel = (np.asarray(part).astype(np.float64) for part in (query, summaries, kernel))
    keys = np.einsum("bfnc,chd->bfnhd", summaries, kernel)
    weights = np.exp(np.einsum("bnhd,bfnhd->bnhf", query, keys))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bnhf,bfnhd->bnhd", weights, summaries.reshape(keys.shape))


@pytest.fixture
def interpreted():
    """Runs TPU kernels here, with no number in memory that nothing was written to, as behind the last patch."""
    params = pallas_tpu.InterpretParams(uninitialized_memory="nan", out_of_bounds_reads="uninitialized")
    with pallas_tpu.force_tpu_interpret_mode(params):
        yield


def test_products_are_attention():
    parts = drawn(jnp.float32)
    np.testing.assert_allclose(trajectories.by_products(*parts), exact(*parts), rtol=0, atol=1e-5)


# One tile of patches, several, the last one ragged; one frame; four heads in a register.
@pytest.mark.parametrize(
    "shape", [{"patches": 16}, {"frames": 32, "patches": 69}, {"frames": 1}, {"width": 32, "heads": 8}]
)
@pytest.mark.parametrize(("dtype", "bound"), [(jnp.float32, 1e-5), (jnp.bfloat16, 0.03)])
def test_the_tpu_kernel(interpreted, shape, dtype, bound):
    parts = drawn(dtype, **shape)
    found = trajectories.by_kernel(*parts)
    assert (found.dtype, found.shape) == (dtype, parts[0].shape)
    np.testing.assert_allclose(np.asarray(found, np.float64), exact(*parts), rtol=0, atol=bound)


def test_gradients_of_the_tpu_kernel(interpreted):
    parts = drawn(jnp.float32)

    def gradients(attend):
        return jax.grad(lambda *parts: (attend(*parts) ** 2).sum(), argnums=(0, 1, 2))(*parts)

    found = gradients(trajectories.by_kernel)
    for kernel, plain in zip(found, gradients(trajectories.by_products), strict=True):
        np.testing.assert_allclose(kernel, plain, rtol=0, atol=1e-4 * float(jnp.abs(plain).max()))


def test_wide_heads_and_many_frames_have_no_kernel():
    assert trajectories.suits(8, 12, 64)
    assert not trajectories.suits(8, 16, 80)
    assert not trajectories.suits(8, 3, 64)
    assert not trajectories.suits(96, 12, 64)
