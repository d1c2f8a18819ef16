import jax
import numpy as np
import pytest

from jax_vtm.data.spatial import normalise
from jax_vtm.evaluation import Variant, clip_logits, trace_clip
from jax_vtm.evaluation.step import create_eval_step


@pytest.mark.parametrize("mode", ["merge", "random_merge"])
def test_a_traced_clip_merges_and_predicts_as_in_an_evaluation(mode, tiny_model, tiny_params):
    model = tiny_model(r=6, mode=mode)
    views = np.random.default_rng(0).integers(256, size=(1, 3, *model.input_shape), dtype=np.uint8)
    evaluated = jax.jit(create_eval_step(model, 7))(tiny_params, views, np.array([5]))
    clip = normalise(views[0, 1])
    traced = trace_clip(Variant("", model, tiny_params), clip, random_seed=7, video=5, view=1, num_views=3)
    for head in ("noun", "verb"):
        np.testing.assert_allclose(traced.logits[head], evaluated[head][0, 1], atol=1e-5)
    assert [len(size) for size in traced.groups.sizes] == [33, 27, 21]


def test_the_plain_model_is_the_same_with_and_without_a_trace(tiny_model, tiny_params):
    model = tiny_model(mode="none")
    clip = np.random.default_rng(0).normal(size=model.input_shape).astype(np.float32)
    expected = jax.jit(model.apply)({"params": tiny_params}, clip[None])
    for head, logits in clip_logits(Variant("", model, tiny_params), clip).items():
        np.testing.assert_allclose(logits, expected[head][0], atol=1e-5)
