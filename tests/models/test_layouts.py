"""What `layout="fixed"` corrects, model by model, and what the reference's layout does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recorded import FRAMES, LOGITS, RECORDED

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction

TIMESFORMER, MOTIONFORMER, VIDEOMAE = (RECORDED[kind] for kind in ("timesformer", "motionformer", "videomae"))


def test_timesformer_merges_the_same_tokens_in_the_first_layer_and_keeps_their_order():
    states = {}
    for layout in ("reference", "fixed"):
        (_, trace), _ = TIMESFORMER.run(Reduction(r=(3, 0, 0, 0), layout=layout))
        states[layout] = np.asarray(trace.membership[:, 1:]).reshape(-1, FRAMES, 16)
    same_group = {layout: m[..., :, None] == m[..., None, :] for layout, m in states.items()}
    np.testing.assert_array_equal(same_group["fixed"], same_group["reference"])
    within_frame = states["fixed"] - 1 - np.arange(FRAMES)[None, :, None] * 13
    # Destinations (odd places) are in every frame where they are in all others: behind the five kept sources.
    np.testing.assert_array_equal(within_frame[..., 1::2], np.broadcast_to(5 + np.arange(8), (2, FRAMES, 8)))
    for sources in within_frame[..., ::2].reshape(-1, 8):
        np.testing.assert_array_equal(sources[sources < 5], np.arange(5))


def test_timesformers_patches_are_one_frame_deep():
    with pytest.raises(UserError, match=r"patch_size is \(2, 8, 8\).*one frame deep"):
        TIMESFORMER.model().clone(patch_size=(2, 8, 8)).apply({}, jnp.asarray(TIMESFORMER.video))


def test_motionformers_layouts_are_the_same_model_without_merging():
    (logits, _), _ = MOTIONFORMER.run(Reduction(r=0, layout="fixed"))
    np.testing.assert_allclose(logits, MOTIONFORMER.arrays["base/raw_logits"], **LOGITS)


def test_videomaes_proportional_attention_is_off_unless_asked_for():
    def logarithms(**settings):
        model = VIDEOMAE.model(Reduction(r=6, **settings))
        return " log " in str(jax.make_jaxpr(model.apply)(VIDEOMAE.variables, jnp.asarray(VIDEOMAE.video)))

    assert not logarithms()
    assert logarithms(proportional_attention=True)


def test_videomae_weighs_the_mean_by_size():
    # One merge, so that the order of tokens plays no part.
    (logits, trace), captured = VIDEOMAE.run(Reduction(r=(6, 0, 0, 0), layout="fixed"))
    tokens, _ = captured["encoderblock_3"]["__call__"][0]
    params = VIDEOMAE.variables["params"]
    pooled = np.average(tokens, axis=1, weights=np.broadcast_to(trace.sizes[..., None], tokens.shape))
    centred = pooled - pooled.mean(-1, keepdims=True)
    normed = centred / np.sqrt(pooled.var(-1, keepdims=True) + 1e-6)
    normed = normed * params["pooled_norm"]["scale"] + params["pooled_norm"]["bias"]
    expected = normed @ params["output_projection"]["kernel"] + params["output_projection"]["bias"]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    (plain, _), _ = VIDEOMAE.run(Reduction(r=(6, 0, 0, 0)))
    assert np.abs(plain - logits).max() > 1e-3
