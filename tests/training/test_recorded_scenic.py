"""Schedules, losses, mixup, stochastic depth and whole training steps, as Scenic's own code gave them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recorded_training import SCENIC, assert_trees_close, load, tree

from jax_vtm.models import from_scenic_config
from jax_vtm.training import TrainingSettings, classification_loss, mixing
from jax_vtm.training.losses import squares
from jax_vtm.training.mixing import mix, mixing_weights
from jax_vtm.training.schedules import learning_rate_schedule, scenic_schedule
from jax_vtm.training.step import DevicesStep, create_device_step, create_state, step_key

LR, LOSSES, MIXUP, DROPLAYER = (load(SCENIC / name) for name in ("lr", "losses", "mixup", "droplayer"))
RUNS = load(SCENIC / "train").settings
THERE = sorted(path.stem.removeprefix("train_") for path in SCENIC.glob("train_*.npz"))


@pytest.mark.parametrize("name", LR.settings)
def test_learning_rates(name):
    configs = LR.settings[name]["lr_configs"]
    peak = configs["base_learning_rate"]
    schedule = scenic_schedule(
        peak,
        configs["warmup_steps"],
        configs["steps_per_cycle"],
        total=configs.get("total_steps"),
        alpha=configs.get("alpha", 0.0),
        warmup_alpha=configs.get("warmup_alpha", 0.0),
    )
    found = jax.jit(jax.vmap(schedule))(LR.arrays[f"{name}/step"])
    np.testing.assert_allclose(found, LR.arrays[f"{name}/lr"], rtol=0, atol=2e-6 * peak)


@pytest.mark.parametrize("name", [name for name in LOSSES.settings if name != "l2_regularization"])
def test_losses_and_their_gradients(name):
    case, arrays = LOSSES.settings[name], LOSSES.arrays
    params = tree(arrays, "params")
    mask = arrays[f"{name}/batch_mask"] if f"{name}/batch_mask" in arrays else np.ones(len(arrays[f"{name}/logits"]))
    splits = np.cumsum(case["class_splits"] or [case["num_classes"]])[:-1]

    def cut(rows):
        return {str(head): part for head, part in enumerate(jnp.split(rows, splits, axis=-1))}

    def loss(logits, params):
        smoothing, l2 = case["label_smoothing"] or 0.0, case["l2_decay_factor"]
        value = classification_loss(cut(logits), cut(arrays[f"{name}/label"]), mask, smoothing)
        # Without a factor Scenic leaves the squares out; with 0 it computes them.
        return value if l2 is None else value + 0.5 * l2 * squares(params)

    value, (of_logits, of_params) = jax.value_and_grad(loss, (0, 1))(arrays[f"{name}/logits"], params)
    np.testing.assert_allclose(value, arrays[f"{name}/loss"], rtol=1e-5)
    np.testing.assert_allclose(of_logits, arrays[f"{name}/dlogits"], rtol=0, atol=2e-6)
    if expected := tree(arrays, f"{name}/dparams"):
        assert_trees_close(of_params, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", sorted({key.rpartition("/")[0] for key in MIXUP.arrays if key.endswith("lambda")}))
def test_mixup(name):
    arrays = MIXUP.arrays
    video, label = arrays["inputs"], arrays["label"]
    if name == "odd":
        video, label = video[:3], label[:3]
    if name.startswith("jax"):
        alpha = float(name.split("_")[1].removeprefix("a"))
        drawn = mixing_weights(jax.random.wrap_key_data(arrays[f"{name}/key"]), 4, 5, alpha)
        np.testing.assert_allclose(drawn, arrays[f"{name}/lambda"], rtol=2e-6, atol=1e-12)
    devices = np.atleast_1d(arrays[f"{name}/lambda"])
    found = [
        mix(rows, {"": labels}, jnp.full((4, 5), weight))
        for rows, labels, weight in zip(
            np.split(video, len(devices)), np.split(label, len(devices)), devices, strict=True
        )
    ]
    np.testing.assert_allclose(
        np.concatenate([v for v, _ in found]), arrays[f"{name}/inputs"].reshape(video.shape), atol=1e-6
    )
    np.testing.assert_allclose(
        np.concatenate([t[""] for _, t in found]), arrays[f"{name}/label"].reshape(label.shape), atol=1e-6
    )


def test_mixup_draws_from_scenics_distribution():
    quantiles = MIXUP.settings["quantiles"]
    for alpha, expected in MIXUP.settings["lambda_quantiles_jax_100000_draws"].items():
        keys = jax.random.split(jax.random.key(3), 4000)
        drawn = jax.vmap(lambda key, alpha=float(alpha): mixing_weights(key, 1, 1, alpha)[0, 0])(keys)
        # Quantiles of 4000 draws: where the distribution is flat they move by several hundredths.
        np.testing.assert_allclose(np.quantile(drawn, quantiles), expected, atol=0.08)


@pytest.mark.parametrize("name", ["spacetime", "fe"])
def test_droplayer(name, monkeypatch):
    arrays, case = DROPLAYER.arrays, DROPLAYER.settings[name]
    params, inputs = tree(arrays, f"{name}/param"), arrays[f"{name}/inputs"]
    depth = len(
        {key for part in ("Transformer", "SpatialTransformer") for key in params.get(part, {}) if "block" in key}
    )
    layers = {"num_heads": 2, "mlp_dim": 24, "num_layers": depth}
    if name == "fe":
        temporal = sum("block" in key for key in params["TemporalTransformer"])
        kind = {"spatial_transformer": layers, "temporal_transformer": {**layers, "num_layers": temporal}}
        kind["attention_config"] = {"type": "factorized_encoder"}
    else:
        kind = {**layers, "attention_config": {"type": "spacetime"}}
    config = {"hidden_size": 16, "patches": {"size": (4, 4, 2)}, "classifier": "token", **kind}
    config |= {"stochastic_droplayer_rate": case["rate"], "temporal_encoding_config": {"method": "3d_conv"}}
    model = from_scenic_config({"model": config}, num_classes=5, input_shape=inputs.shape[1:])
    np.testing.assert_allclose(
        jax.jit(model.apply)({"params": params}, inputs), arrays[f"{name}/logits_eval"], atol=1e-5
    )
    asked = []

    @jax.jit
    def sum_of_squares(params, masks):
        remaining = iter(masks)

        def given(key, keep, shape):
            asked.append((1 - keep, list(shape)))
            return jnp.reshape(next(remaining) == 0, shape)

        def forward(params):
            logits = model.apply({"params": params}, inputs, train=True, rngs={"dropout": jax.random.key(0)})
            return jnp.sum(logits**2), logits

        with monkeypatch.context() as patch:
            patch.setattr(jax.random, "bernoulli", given)
            return jax.grad(forward, has_aux=True)(params)

    for number in range(3):
        gradients, logits = sum_of_squares(params, arrays[f"{name}/case{number}/drop_masks"])
        np.testing.assert_allclose(logits, arrays[f"{name}/case{number}/logits"], atol=1e-5)
        _compare_some(gradients, tree(arrays, f"{name}/case{number}/grad_sum_sq_logits"))
    assert [shape for _, shape in asked] == [call["shape"] for call in case["calls"]]
    np.testing.assert_allclose([rate for rate, _ in asked], [call["p"] for call in case["calls"]], atol=1e-6)


def _compare_some(found, expected):
    for key, leaf in expected.items():
        if isinstance(leaf, dict):
            _compare_some(found[key], leaf)
        else:
            np.testing.assert_allclose(found[key], leaf, rtol=1e-4, atol=1e-5)


def recorded_run(name, backend="pmap"):
    """Runs the steps of a recording; yields its log entry, the state and the metrics after each."""
    run, arrays = RUNS[name], np.load(SCENIC / RUNS[name]["file"])
    config, devices = run["config"], jax.devices()[: run["devices"]]
    lr = config["lr_configs"]
    settings = TrainingSettings(
        steps=lr["steps_per_cycle"],
        batch_size=config["batch_size"],
        learning_rate=lr["base_learning_rate"],
        schedule="scenic",
        warmup_steps=lr["warmup_steps"],
        optimizer="sgd",
        gradient_norm=config["max_grad_norm"],
        clip_per_device=True,
        label_smoothing=config["label_smoothing"] or 0.0,
        mixup=config.get("mixup", {}).get("alpha", 0.0),
        l2=config["l2_decay_factor"],
        kernel_decay=config.get("explicit_weight_decay", 0.0),
    )
    splits = config["dataset_configs"].get("class_splits")
    names = config["dataset_configs"].get("split_names", ["label"])
    classes = dict(zip(names, splits, strict=True)) if splits else arrays["step0/label"].shape[1]
    model = from_scenic_config(config, num_classes=classes, input_shape=arrays["step0/video_uint8"].shape[1:])
    step = DevicesStep(create_device_step(model, settings), backend, devices)
    params = tree(arrays, "param0")
    state = step.replicate(create_state(jax.tree.map(jnp.asarray, params), settings))
    bounds = np.cumsum(splits)[:-1] if splits else []
    for entry in run["log"]:
        number = entry["step"]
        label, mask = arrays[f"step{number}/label"], arrays[f"step{number}/batch_mask"]
        labels = dict(zip(names, (part.argmax(1) for part in np.split(label, bounds, axis=1)), strict=True))
        batch = (arrays[f"step{number}/video_uint8"], labels, mask, np.zeros(len(mask), bool))
        state, metrics = step(state, step.shard(batch))
        yield run, arrays, entry, step.one_of(state), step.one_of(metrics)


def check_run(name, **how):
    seen = 0
    for run, arrays, entry, state, metrics in recorded_run(name, **how):
        number = entry["step"]
        np.testing.assert_allclose(metrics["loss"], np.mean(entry["loss_per_device"]), atol=1e-5)
        norm = np.mean(entry["grad_norm_per_device_before_clip"])
        np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=2e-5, atol=1e-6)
        for metric, (hits, count) in entry["metrics"].items():
            head = "label" if metric == "accuracy" else metric.removesuffix("_accuracy")
            if f"{head}/accuracy" in metrics:
                assert metrics[f"{head}/accuracy"] == pytest.approx(hits / max(count, 1), abs=1e-6)
        if number in run["param_steps"]:
            assert_trees_close(state.params, tree(arrays, f"step{number}/param"), rtol=0, atol=5e-6)
            seen += 1
        if number in run["momentum_steps"]:
            (momentum,) = [part.trace for part in state.opt_state if hasattr(part, "trace")]
            assert_trees_close(momentum, tree(arrays, f"step{number}/momentum"), rtol=0, atol=2e-5)
    assert seen == len(run["param_steps"])


@pytest.mark.parametrize("name", [name for name in THERE if "mixup" not in name])
def test_training_steps(name):
    check_run(name)


def test_training_steps_under_shard_map():
    check_run("spacetime_masked_2dev", backend="shard_map")


def test_training_steps_with_mixup(monkeypatch):
    # The key of jax 0.4 gave other draws; the recorded ones are looked up by our keys.
    run, arrays = RUNS["spacetime_mixup_2dev"], np.load(SCENIC / "train_spacetime_mixup_2dev.npz")
    places = [(entry["step"], device) for entry in run["log"] for device in range(2)]
    keys = jnp.stack([jax.random.key_data(jax.random.split(step_key(0, *place))[1]) for place in places])
    drawn = jnp.stack([arrays[f"step{step}/mixup_lambda"][device] for step, device in places])

    def recorded(key, height, width, mixup, cutmix):
        assert (mixup, cutmix) == (0.3, 0.0)
        weight = jnp.sum(jnp.where(jnp.all(keys == jax.random.key_data(key), axis=1), drawn, 0))
        return jnp.full((height, width), weight)

    monkeypatch.setattr(mixing, "mixing_weights", recorded)
    check_run("spacetime_mixup_2dev")


def test_recorded_learning_rates_of_the_runs():
    for run in RUNS.values():
        lr = run["config"]["lr_configs"]
        settings = TrainingSettings(lr["steps_per_cycle"], 4, lr["base_learning_rate"], "scenic", lr["warmup_steps"])
        schedule = learning_rate_schedule(settings)
        for entry in run["log"]:
            assert float(schedule(entry["step"])) == pytest.approx(entry["lr"], abs=1e-6)
