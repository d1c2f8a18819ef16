import jax
import numpy as np
import pytest

from jax_vtm.evaluation import Candidate, clip_logits, trace_clip
from jax_vtm.evaluation.step import view_logits
from jax_vtm.merging import Reduction
from jax_vtm.models import create_model

FIELDS = {
    "num_classes": {"noun": 4, "verb": 3},
    "image_size": 16,
    "num_frames": 4,
    "patch_size": (2, 4, 4),
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "mlp_dim": 32,
}


@pytest.fixture(scope="module")
def params():
    model = create_model("vivit_moving_digits", **FIELDS)
    tree = model.init(jax.random.key(0), np.zeros((1, *model.input_shape), np.float32))["params"]
    tree["output_projection"]["kernel"] = jax.random.normal(jax.random.key(1), (16, 7))
    return tree


@pytest.mark.parametrize("mode", ["merge", "random_merge"])
def test_a_traced_clip_merges_and_predicts_as_in_an_evaluation(mode, params):
    model = create_model("vivit_moving_digits", reduction=Reduction(r=6, mode=mode), **FIELDS)
    views = np.random.default_rng(0).normal(size=(1, 3, *model.input_shape)).astype(np.float32)
    evaluated = jax.jit(view_logits, static_argnums=(0, 1))(model, 7, params, views, np.array([5]))
    traced = trace_clip(Candidate("", model, params), views[0, 1], random_seed=7, video=5, view=1, num_views=3)
    for head in ("noun", "verb"):
        np.testing.assert_allclose(traced.logits[head], evaluated[head][0, 1], atol=1e-5)
    assert [len(size) for size in traced.groups.sizes] == [33, 27, 21]


def test_the_plain_model_is_the_same_with_and_without_a_trace(params):
    model = create_model("vivit_moving_digits", **FIELDS)
    clip = np.random.default_rng(0).normal(size=model.input_shape).astype(np.float32)
    expected = model.apply({"params": params}, clip[None])
    for head, logits in clip_logits(Candidate("", model, params), clip).items():
        np.testing.assert_allclose(logits, expected[head][0], atol=1e-5)
