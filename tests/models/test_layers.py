import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from tiny_models import PRESET_OF, random_params, tiny

from jax_vtm.models.layers import DropLayer, MultiHeadDotProductAttention
from jax_vtm.models.patch_embedding import PatchEmbedding, cut_patches, folded
from jax_vtm.models.transformer import layer_fields
from jax_vtm.models.video import sampled_frames


def test_attention_equals_flax():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 12)), jnp.float32)
    theirs = nn.MultiHeadDotProductAttention(num_heads=3)
    variables = jax.jit(theirs.init)(jax.random.key(0), x)
    attended, keys = jax.jit(MultiHeadDotProductAttention(3, 12).apply)(variables, x)
    np.testing.assert_allclose(attended, jax.jit(theirs.apply)(variables, x), rtol=1e-5, atol=1e-6)
    kernel = variables["params"]["key"]["kernel"]
    np.testing.assert_allclose(keys, np.einsum("bnc,chd->bnhd", x, kernel), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(2, 4, 3), (1, 4, 4), (4, 3)])
def test_patches_are_projected_as_by_a_convolution(size):
    """Values, parameters and what they start as; what does not fill a patch is left out."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 9, 10, 3)), jnp.float32)
    theirs = nn.Conv(7, size, strides=size, padding="VALID")
    variables = jax.jit(theirs.init)(jax.random.key(0), x)
    ours = PatchEmbedding(7, size)
    patches = cut_patches(x, size)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(ours.init)(jax.random.key(0), patches), variables)
    variables["params"]["bias"] += np.arange(7)
    expected = jax.jit(theirs.apply)(variables, x)
    np.testing.assert_allclose(jax.jit(ours.apply)(variables, patches), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(cut_patches(x.reshape(folded(x.shape)), size), patches)


@pytest.mark.parametrize("kind", PRESET_OF)
def test_models_take_columns_and_colours_in_one_axis(kind):
    model = tiny(kind, image_size=(16, 18))
    params, apply = random_params(model), jax.jit(model.apply)
    video = np.random.default_rng(0).normal(size=(2, *model.input_shape)).astype(np.float32)
    np.testing.assert_array_equal(apply(params, video.reshape(folded(video.shape))), apply(params, video))
    for wrong in (video[:, 1:], video.reshape(2, *model.input_shape[:2], -1)[..., :-3]):
        with pytest.raises(ValueError, match=r"The model takes clips of shape \[B, \d+, 16, 18, 3\]"):
            model.apply(params, wrong)


def test_dropped_layers_are_whole_examples_and_not_rescaled():
    branch = jnp.ones((64, 3, 2))
    dropped = DropLayer(0.5).apply({}, branch, train=True, rngs={"dropout": jax.random.key(0)})
    values = np.asarray(dropped).reshape(64, -1)
    assert set(values.flat) == {0, 1}
    assert (values == values[:, :1]).all()
    assert 16 < values[:, 0].sum() < 48
    np.testing.assert_array_equal(DropLayer(0.5).apply({}, branch), branch)
    rescaled = DropLayer(0.2, rescale=True).apply({}, branch, train=True, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_allclose(sorted(set(np.asarray(rescaled).flat)), [0, 1.25])


@pytest.mark.parametrize("kind", PRESET_OF)
def test_layers_are_dropped_more_often_further_on(kind):
    model = tiny(kind, num_layers=3, droplayer_rate=0.4, dropout_rate=0.1)
    fields = [layer_fields(model, layer) for layer in range(3)]
    np.testing.assert_allclose([one["droplayer_rate"] for one in fields], [0, 0.2, 0.4])
    assert {one["dropout_rate"] for one in fields} == {0.1}
    assert layer_fields(tiny(kind, num_layers=1, droplayer_rate=0.4), 0)["droplayer_rate"] == 0


@pytest.mark.parametrize(
    ("frames", "sampled", "expected"),
    [(8, 3, [2, 4, 6]), (32, 3, [8, 16, 24]), (8, 8, range(8)), (4, 9, range(4)), (10, 3, [2, 5, 8])],
)
def test_sampled_frames(frames, sampled, expected):
    np.testing.assert_array_equal(sampled_frames(frames, sampled), list(expected))
