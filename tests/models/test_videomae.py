"""VideoMAE against the PyTorch reference's records."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recorded_transformers import Recorded

from jax_vtm.merging import Reduction
from jax_vtm.models.videomae import sinusoid_positions

VIDEOMAE = Recorded("videomae", "videomae_b_16", block_tokens=lambda outputs: outputs[0], groups=lambda x: x)


def test_without_reduction():
    VIDEOMAE.check_base()


@pytest.mark.parametrize("name", VIDEOMAE.cases)
def test_recorded_case(name):
    VIDEOMAE.check_case(name)


@pytest.mark.parametrize("prefix", ["ek_base", "ek_merge"])
def test_two_heads(prefix):
    VIDEOMAE.check_two_heads(prefix)


@pytest.mark.parametrize("name", VIDEOMAE.manifest["grad"]["cases"])
def test_recorded_gradients(name):
    VIDEOMAE.check_gradients(name)


def test_positions_are_the_recorded_sinusoid_and_no_parameter():
    np.testing.assert_array_equal(sinusoid_positions(48, 48), VIDEOMAE.arrays["aux/pos_embed"])
    assert not any("pos" in name for name in VIDEOMAE.variables["params"])


def test_proportional_attention_is_off_unless_asked_for():
    def logarithms(**settings):
        model = VIDEOMAE.model(Reduction(r=6, **settings))
        return " log " in str(jax.make_jaxpr(model.apply)(VIDEOMAE.variables, jnp.asarray(VIDEOMAE.video)))

    assert not logarithms()
    assert logarithms(proportional_attention=True)


def test_fixed_layout_weighs_the_mean_by_size():
    # One merge, so that the order of tokens plays no part.
    reduction = Reduction(r=(6, 0, 0, 0), layout="fixed")
    (logits, trace), captured = VIDEOMAE.run(reduction)
    tokens, _ = captured["intermediates"]["encoderblock_3"]["__call__"][0]
    params = VIDEOMAE.variables["params"]
    pooled = np.average(tokens, axis=1, weights=np.broadcast_to(trace.sizes[..., None], tokens.shape))
    centred = pooled - pooled.mean(-1, keepdims=True)
    normed = centred / np.sqrt(pooled.var(-1, keepdims=True) + 1e-6)
    normed = normed * params["pooled_norm"]["scale"] + params["pooled_norm"]["bias"]
    expected = normed @ params["output_projection"]["kernel"] + params["output_projection"]["bias"]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    (plain, _), _ = VIDEOMAE.run(Reduction(r=(6, 0, 0, 0)))
    assert np.abs(plain - logits).max() > 1e-3
