"""Dense features: each patch has the content of the token that it ended in."""

import jax
import numpy as np
import pytest

import jax_vtm
from jax_vtm.benchmarks.inputs import random_params
from jax_vtm.data import moving_digits
from jax_vtm.models import FactorisedAttentionViViT

TINY = {"image_size": 32, "num_frames": 4, "hidden_size": 16, "num_heads": 2, "mlp_dim": 16, "num_classes": 5}
SPATIAL = {"spatial_layers": 2, "spatial_heads": 2, "spatial_mlp_dim": 16, "temporal_layers": 1, "temporal_heads": 2}
MODELS = {
    "vivit": ("vivit_b_16x2", {**TINY, "num_layers": 2}),
    "gap": ("vivit_b_16x2", {**TINY, "num_layers": 2, "classifier": "gap"}),
    "factorised": (
        "vivit_b_16x2_fe",
        {k: v for k, v in TINY.items() if k not in ("num_heads", "mlp_dim")} | SPATIAL | {"temporal_mlp_dim": 16},
    ),
    "timesformer": ("timesformer_b_8", {**TINY, "num_layers": 2}),
    "motionformer": ("motionformer_b_16", {**TINY, "num_layers": 2}),
    "videomae": ("videomae_b_16", {**TINY, "num_layers": 2}),
}


def created(kind, reduction):
    preset, fields = MODELS[kind]
    depth = 1 if kind == "timesformer" else 2
    return jax_vtm.create_model(preset, **fields, patch_size=(depth, 8, 8), reduction=reduction)


def classified(variables, pooled):
    head = variables["params"]["output_projection"]
    return pooled @ head["kernel"] + head["bias"]


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    model = created(request.param, None)
    video = jax.random.normal(jax.random.key(0), (2, *model.input_shape))
    return request.param, {"params": random_params(model)}, video


@pytest.mark.parametrize(("mode", "layout"), [("merge", "reference"), ("drop", "fixed")])
def test_patches_of_one_group_share_its_token_and_dropped_ones_are_zero(case, mode, layout):
    kind, variables, video = case
    model = created(kind, jax_vtm.Reduction(mode=mode, r=3, layout=layout))
    call = jax.jit(model.apply, static_argnames=("trace", "features"))
    logits, trace, features = call(variables, video, trace=True, features=True)
    assert features.shape == (2, *model.grid, 16)
    if mode == "merge":
        # Logits and features are the same without the trace.
        np.testing.assert_allclose(call(variables, video, features=True)[1], features, atol=1e-5)
        np.testing.assert_allclose(call(variables, video), logits, atol=1e-5)

    membership = np.asarray(trace.membership)[..., int(model.has_class_token) :]
    flat = np.asarray(features).reshape(*membership.shape, 16)
    if membership.ndim == 2:
        membership, flat = membership[:, None], flat[:, None]
    for groups, rows in zip(
        membership.reshape(-1, membership.shape[-1]), flat.reshape(-1, *flat.shape[2:]), strict=True
    ):
        kept = groups >= 0
        assert not rows[~kept].any()
        _, inverse = np.unique(groups[kept], return_inverse=True)
        distinct = len(np.unique(rows[kept], axis=0))
        assert distinct == inverse.max() + 1
        for group in range(distinct):
            assert (rows[kept][inverse == group] == rows[kept][inverse == group][0]).all()
    assert (membership < 0).any() == (mode == "drop")


def test_without_merging_the_features_are_the_tokens_that_the_prediction_reads(case):
    kind, variables, video = case
    model = created(kind, None)
    logits, features = jax.jit(model.apply, static_argnames="features")(variables, video, features=True)
    if kind == "gap":
        expected = classified(variables, features.mean((1, 2, 3)))
        np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert np.isfinite(features).all()


def test_factorised_attention_has_features_too():
    model = FactorisedAttentionViViT(**TINY, num_layers=1, patch_size=(2, 8, 8))
    video = jax.random.normal(jax.random.key(0), (2, *model.input_shape))
    variables = {"params": random_params(model)}
    logits, features = jax.jit(model.apply, static_argnames="features")(variables, video, features=True)
    assert features.shape == (2, 2, 4, 4, 16)
    np.testing.assert_allclose(logits, classified(variables, features.mean((1, 2, 3))), atol=1e-5)


def test_a_linear_probe_finds_the_digit_nearly_as_well_on_restored_features():
    """Which patches the digit covers, by a linear probe; the merged model ends with 60 of 513 tokens."""
    video, _, _ = moving_digits.training_batch(7, 0, 24)
    ink = video.mean(-1).reshape(24, 8, 2, 8, 8, 8, 8).max((2, 4, 6)).ravel() > 0.2
    assert 0.05 < ink.mean() < 0.5
    found = {}
    for mode in ("none", "merge"):
        model = jax_vtm.create_model("vivit_moving_digits", reduction=jax_vtm.Reduction(mode=mode, r=138))
        variables = jax_vtm.load_checkpoint("embedded:moving_digits", model)
        _, features = jax.jit(model.apply, static_argnames="features")(variables, video, features=True)
        rows = np.concatenate([np.asarray(features).reshape(ink.size, -1), np.ones((ink.size, 1))], axis=1)
        train, test = np.split(np.arange(ink.size), [ink.size * 2 // 3])
        weights = np.linalg.lstsq(rows[train], 2.0 * ink[train] - 1, rcond=None)[0]
        right = (rows[test] @ weights > 0) == ink[test]
        found[mode] = (right[ink[test]].mean() + right[~ink[test]].mean()) / 2
    print(found)
    assert found["none"] > 0.8
    assert found["merge"] > found["none"] - 0.05
