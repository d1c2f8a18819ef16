"""Schedules, layers, mixing, losses and whole updates, as VideoMAE's own code gave them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from recorded_training import VIDEOMAE, assert_trees_close, load

from jax_vtm.checkpoints import abstract_params, from_torch_state_dict
from jax_vtm.models import create_model
from jax_vtm.models.layers import DropLayer
from jax_vtm.training import TrainingSettings, classification_loss, create_optimizer, mixing
from jax_vtm.training.mixing import mix, mixing_weights
from jax_vtm.training.schedules import learning_rate_schedule
from jax_vtm.training.step import DevicesStep, create_device_step, create_state, step_key

RECORD = load(VIDEOMAE / "videomae")
MODULES = {
    "attn.proj": ("attention", "out"),
    "attn.q_bias": ("attention", "query"),
    "attn.qkv": ("attention", "query"),
    "attn.v_bias": ("attention", "value"),
    "fc_norm": ("pooled_norm",),
    "head": ("output_projection",),
    "mlp.fc1": ("mlp", "Dense_0"),
    "mlp.fc2": ("mlp", "Dense_1"),
    "norm1": ("attention_norm",),
    "norm2": ("mlp_norm",),
    "patch_embed.proj": ("embedding",),
}
# All recipes mix whole batches; VideoMAE's mode "pair" cuts along frames and rows in place of rows and columns.
MIXUPS = {case["name"]: case for case in RECORD.settings["mixup"]["cases"] if case["mode"] == "batch"}


@pytest.mark.parametrize("name", ["k400_base", "ssv2_base", "k400_large"])
def test_learning_rates(name):
    case, arrays = RECORD.settings["schedules"][name], RECORD.arrays
    steps = case["epochs"] * case["niter_per_ep"]
    settings = TrainingSettings(
        steps=steps,
        batch_size=8,
        learning_rate=case["base_value"],
        schedule="videomae",
        warmup_steps=case["warmup_epochs"] * case["niter_per_ep"],
        final_learning_rate=case["final_value"],
    )
    found = jax.vmap(learning_rate_schedule(settings))(arrays[f"schedule/{name}/index"])
    # Recorded in float64, computed in float32.
    np.testing.assert_allclose(found, arrays[f"schedule/{name}/value"], rtol=2e-6, atol=2e-7 * case["base_value"])


@pytest.mark.parametrize(("name", "layers"), [("vit_base_default", 12), ("vit_large_default", 24)])
def test_layers_and_decay_of_every_parameter(name, layers):
    group = RECORD.settings["groups"][name]
    fields = {"hidden_size": 4, "num_layers": layers, "num_heads": 2, "mlp_dim": 8, "image_size": 16, "num_frames": 2}
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), abstract_params(create_model("videomae_b_16", **fields)))
    common = {
        "steps": 2,
        "batch_size": 1,
        "learning_rate": 1.0,
        "optimizer": "sgd",
        "layer_decay": group["layer_decay"],
    }

    def update(weight_decay):
        """What one step takes off each parameter, whose gradient is 1 and which is 1."""
        optimizer = create_optimizer(TrainingSettings(**common, weight_decay=weight_decay))
        return optimizer.update(params, optimizer.init(params), params)[0]

    scales = jax.tree.map(lambda leaf: -float(leaf.reshape(-1)[0]), update(0.0))
    decays = jax.tree.map(lambda plain, leaf: -float(leaf.reshape(-1)[0]) / plain - 1, scales, update(0.05))
    scales, decays = flatten_dict(scales), flatten_dict(decays)
    for theirs, expected in group["params"].items():
        block, module, leaf = re.fullmatch(r"(blocks\.\d+)?\.?(.*)\.(\w+)", theirs).groups()
        path = MODULES[f"{module}.{leaf}" if leaf.endswith("_bias") else module]
        kind = "bias" if leaf.endswith("bias") else "scale" if "norm" in module else "kernel"
        path = (*([block.replace("blocks.", "encoderblock_")] if block else []), *path, kind)
        assert scales[path] == pytest.approx(expected["lr_scale"], rel=1e-6), path
        assert decays[path] == pytest.approx(expected["weight_decay"], abs=2e-6), path
    assert len(group["params"]) == 13 * layers + 6


def test_stochastic_depth():
    arrays = RECORD.arrays

    def drop(branch):
        return DropLayer(0.2, rescale=True).apply({}, branch, train=True, rngs={"dropout": jax.random.key(0)})

    branch, uniform = jnp.asarray(arrays["drop_path/in"]), arrays["drop_path/uniform"]
    with pytest.MonkeyPatch.context() as patch:
        # timm keeps where 0.8 + u reaches 1.
        patch.setattr(jax.random, "bernoulli", lambda key, keep, shape: (uniform + keep >= 1).reshape(shape))
        np.testing.assert_allclose(drop(branch), arrays["drop_path/out_p0.2"], rtol=1e-6)
    for name, expected in RECORD.settings["drop_path"].items():
        rate, depth = (float(part.strip("ratedph")) for part in name.split("_"))
        np.testing.assert_allclose([rate * layer / (depth - 1) for layer in range(int(depth))], expected, rtol=1e-6)


def pixel_weights(case, height, width):
    """The weights of a recorded draw."""
    if not case["use_cutmix"]:
        return np.full((height, width), case["lam"], np.float32)
    top, bottom, left, right = case["box"]
    weights = np.ones((height, width), np.float32)
    weights[top:bottom, left:right] = 0
    return weights


@pytest.mark.parametrize("name", MIXUPS)
def test_mixup_and_cutmix(name):
    case, arrays = MIXUPS[name], RECORD.arrays
    video = arrays["mixup/in"].transpose(0, 2, 3, 4, 1)
    targets = {"": jax.nn.one_hot(arrays["mixup/target"], 7)}
    case["box"] = case.get("bboxes_yl_yh_xl_xh", [None])[0]
    mixed, found = mix(video, targets, pixel_weights(case, 12, 10))
    np.testing.assert_allclose(np.transpose(mixed, (0, 4, 1, 2, 3)), arrays[f"mixup/{name}/x"], atol=1e-6)
    smoothed = found[""] * (1 - case["smoothing"]) + case["smoothing"] / 7
    np.testing.assert_allclose(smoothed, arrays[f"mixup/{name}/target"], atol=1e-6)


def test_cutmix_draws_boxes_of_the_asked_for_area():
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = np.asarray(jax.vmap(lambda key: mixing_weights(key, 16, 16, 0.0, 1.0))(keys))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    # Beta(1, 1) is uniform; boxes that the border cuts are smaller.
    assert 0.2 < (1 - drawn).mean() < 0.5
    switched = np.asarray(jax.vmap(lambda key: mixing_weights(key, 16, 16, 0.8, 1.0))(keys))
    whole = np.isclose(switched, switched[:, :1, :1]).all((1, 2)) & (switched[:, 0, 0] < 1)
    assert 0.4 < whole.mean() < 0.6


@pytest.mark.parametrize(("mode", "draws"), [("batch", 1), ("pair", 3), ("elem", 5)])
def test_clips_mix_with_a_draw_each_per_pair_or_together(mode, draws):
    weights = mixing.weights_of_clips(mode, jax.random.key(0), 5, 4, 4, 0.8, 0.0)
    weights = np.broadcast_to(weights, (5, 4, 4))
    assert len(np.unique(weights[:, 0, 0])) == draws
    if mode == "pair":
        np.testing.assert_array_equal(weights, weights[::-1])
    rng = np.random.default_rng(0)
    video, targets = rng.random((5, 2, 4, 4, 3), np.float32), rng.random((5, 7), np.float32)
    mixed, found = mix(video, {"label": targets}, weights)
    for clip, weight in enumerate(weights[:, 0, 0]):
        partner = 4 - clip
        np.testing.assert_allclose(mixed[clip], weight * video[clip] + (1 - weight) * video[partner], atol=1e-6)
        expected = weight * targets[clip] + (1 - weight) * targets[partner]
        np.testing.assert_allclose(found["label"][clip], expected, atol=1e-6)


def test_losses():
    arrays = RECORD.arrays
    logits, mask = arrays["loss/logits"], np.ones(6, np.float32)
    hard = jax.nn.one_hot(arrays["loss/target"], 7)
    cases = {"label_smoothing_0.1": (hard, 0.1), "label_smoothing_0.3": (hard, 0.3)}
    cases["soft_target"] = (arrays["loss/soft_target_labels"], 0.0)
    for name, (targets, smoothing) in cases.items():
        loss, gradient = jax.value_and_grad(
            lambda logits, t=targets, s=smoothing: classification_loss({"": logits}, {"": t}, mask, s)
        )(logits)
        np.testing.assert_allclose(loss, arrays[f"loss/{name}"], rtol=1e-5)
        np.testing.assert_allclose(gradient, arrays[f"loss/{name}_grad"], atol=2e-6)


@pytest.mark.parametrize("name", RECORD.settings["adamw"])
def test_updates(name, monkeypatch):
    run, arrays = RECORD.settings["adamw"][name], RECORD.arrays
    model = create_model(
        "videomae_b_16",
        num_classes=5,
        image_size=16,
        num_frames=4,
        patch_size=(2, 8, 8),
        hidden_size=16,
        num_layers=3,
        num_heads=2,
        mlp_dim=32,
    )
    parts, mixed = run["update_freq"], name == "mixup"
    settings = TrainingSettings(
        steps=4,
        batch_size=4 * parts,
        learning_rate=run["lr"],
        schedule="videomae",
        warmup_steps=2,
        final_learning_rate=run["min_lr"],
        weight_decay=run["weight_decay"],
        layer_decay=run["layer_decay"],
        gradient_norm=run["clip_grad"] or 0.0,
        label_smoothing=0.1,
        mixup=0.8 if mixed else 0.0,
        cutmix=1.0 if mixed else 0.0,
        accumulate=parts,
    )
    prefix = f"adamw/{name}"
    if mixed:
        # NumPy's draws, looked up by our keys.
        keys = [jax.random.key_data(jax.random.split(step_key(settings.seed, step, 0))[1]) for step in range(4)]
        drawn = [pixel_weights({**case, "box": case.get("bbox_yl_yh_xl_xh")}, 16, 16) for case in run["mixup"]]

        def recorded(key, *_):
            found = jnp.all(jnp.stack(keys) == jax.random.key_data(key), axis=1)
            return jnp.sum(jnp.where(found[:, None, None], jnp.stack(drawn), 0), axis=0)

        monkeypatch.setattr(mixing, "mixing_weights", recorded)

    def params_of(part):
        return from_torch_state_dict({k: np.asarray(v) for k, v in flat(arrays, f"{prefix}/{part}").items()}, model)

    step = DevicesStep(create_device_step(model, settings), devices=jax.devices()[:1])
    state = create_state(jax.tree.map(jnp.asarray, params_of("param0")["params"]), settings)
    for number in range(4):
        rows = [f"{prefix}/batch{number * parts + part}" for part in range(parts)]
        video = np.concatenate([arrays[f"{row}/video"] for row in rows]).transpose(0, 2, 3, 4, 1)
        target = np.concatenate([arrays[f"{row}/target"] for row in rows])
        labels, count = {"label": target.astype(np.int32)}, len(target)
        batch = (video, labels, np.ones(count, np.float32), np.zeros(count, bool))
        state, metrics = step(step.replicate(state), step.shard(batch))
        state, metrics = step.one_of(state), step.one_of(metrics)
        losses = run["losses"][number * parts : (number + 1) * parts]
        np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-5)
        norm = [value for value in run["grad_norms"] if value is not None][number]
        np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=2e-5)
        if number in (1, 3):
            assert_trees_close(state.params, params_of(f"step{number}")["params"], rtol=0, atol=5e-6)


def flat(arrays, prefix):
    return {name.removeprefix(f"{prefix}/"): arrays[name] for name in arrays if name.startswith(f"{prefix}/")}
