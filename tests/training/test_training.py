import contextlib
import dataclasses
import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jax_vtm.data.spatial import normalise
from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models import create_model
from jax_vtm.training import States, Training, TrainingSettings, classification_loss, create_optimizer, loop
from jax_vtm.training import train as train_from
from jax_vtm.training.losses import one_hot
from jax_vtm.training.optimizer import kernels
from jax_vtm.training.step import DevicesStep, create_device_step, create_state

SETTINGS = TrainingSettings(steps=6, batch_size=16, learning_rate=3e-3, warmup_steps=1, checkpoint_every=2, log_every=3)


def tiny(**reduction):
    return create_model(
        "vivit_b_16x2",
        num_classes={"noun": 2, "verb": 3},
        image_size=8,
        num_frames=4,
        patch_size=(2, 4, 4),
        hidden_size=16,
        num_layers=1,
        num_heads=2,
        mlp_dim=32,
        reduction=Reduction(**reduction) if reduction else None,
    )


def bright_or_dark(step: int, batch_size: int):
    """Clips whose brightness is the noun and whose colour is the verb."""
    rng = np.random.default_rng(step)
    noun, verb = rng.integers(2, size=batch_size), rng.integers(3, size=batch_size)
    video = rng.normal(0, 0.1, (batch_size, 4, 8, 8, 3)) + (noun - 0.5)[:, None, None, None, None]
    video[np.arange(batch_size), ..., verb] += 0.5
    return video.astype(np.float32), {"noun": noun, "verb": verb}, np.ones(batch_size, np.float32)


def first_params(model):
    """The parameters that a model begins with; a copy, since training takes the place of what it is given."""
    return jax.tree.map(np.copy, _first_params(model.clone(reduction=no_reduction())))


@functools.cache
def _first_params(model):
    return jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *model.input_shape)))["params"]


def train(model, batches, settings, folder, **how):
    """Trains one model from its initialisation, or from the states in a folder, and returns its parameters."""
    with States(folder, {"learning_rate": settings.learning_rate}, settings.keep) as states:
        events = {name: how.pop(name) for name in ("on_start", "on_step", "evaluate") if name in how}
        training = Training([model], states, first_params(model), **events)
        return train_from([training], batches, settings, **how)[1][0]


def saved(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def leaves(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def test_training_learns_and_reports(tmp_path):
    seen = []
    settings = TrainingSettings(
        steps=40, batch_size=32, learning_rate=1e-2, warmup_steps=4, gradient_norm=1.0, b2=0.99, log_every=10
    )
    train(tiny(), bright_or_dark, settings, tmp_path, on_step=lambda step, metrics: seen.append((step, metrics)))
    assert [step for step, _ in seen] == [10, 20, 30, 40]
    assert set(seen[0][1]) == {"loss", "gradient_norm", "noun/accuracy", "verb/accuracy", "clips_per_s", "data_wait"}
    assert seen[-1][1]["loss"] < 0.5 * seen[0][1]["loss"]
    assert seen[-1][1]["noun/accuracy"] > 0.9


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run from beginning to end: its parameters, its folder, and the steps for which it asked for a batch."""
    steps, folder = [], tmp_path_factory.mktemp("whole")
    source = functools.partial(lambda seed, step, size: steps.append((seed, step)) or bright_or_dark(step, size), 7)
    return train(tiny(), source, SETTINGS, folder), folder, steps


def test_the_batch_source_gets_the_step(whole):
    assert whole[2] == [(7, step) for step in range(6)]


def test_a_stopped_run_continues_to_the_same_weights(whole, tmp_path):
    def stops_at_five(step: int, batch_size: int):
        if step == 5:
            raise KeyboardInterrupt
        return bright_or_dark(step, batch_size)

    with pytest.raises(KeyboardInterrupt):
        train(tiny(), stops_at_five, SETTINGS, tmp_path / "stopped")
    assert saved(tmp_path / "stopped") == [2, 4]
    steps = []

    def recorded(step: int, batch_size: int):
        steps.append(step)
        return bright_or_dark(step, batch_size)

    continued = train(tiny(), recorded, SETTINGS, tmp_path / "stopped")
    assert steps[0] == 4
    np.testing.assert_array_equal(leaves(continued), leaves(whole[0]))
    assert saved(tmp_path / "stopped") == [4, 6]
    finished = train(tiny(), bright_or_dark, SETTINGS, tmp_path / "stopped")
    np.testing.assert_array_equal(leaves(finished), leaves(whole[0]))


def test_trainings_on_the_same_clips_end_as_each_alone_does_and_one_may_be_ahead(tmp_path):
    models = [tiny(), tiny(mode="merge", r=2)]
    alone = [train(model, bright_or_dark, SETTINGS, tmp_path / str(i)) for i, model in enumerate(models)]
    shutil.rmtree(tmp_path / "1")
    shutil.rmtree(tmp_path / "0" / "6")
    asked = []

    def counted(step: int, batch_size: int):
        asked.append(step)
        return bright_or_dark(step, batch_size)

    with contextlib.ExitStack() as opened:
        made_of = {"learning_rate": SETTINGS.learning_rate}
        trainings = [
            Training([model], opened.enter_context(States(tmp_path / str(i), made_of, 2)), first_params(model))
            for i, model in enumerate(models)
        ]
        done, together = train_from(trainings, counted, SETTINGS)
    assert (done, asked) == (6, [*range(6)])
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(leaves(one), leaves(other))


def test_a_state_of_other_settings_or_another_model_is_refused(whole, tmp_path):
    shutil.copytree(whole[1], tmp_path, dirs_exist_ok=True)
    slower = dataclasses.replace(SETTINGS, learning_rate=1e-3)
    with pytest.raises(UserError, match=r"(?s)begun with other settings.*learning_rate was 0.003, is 0.001.*--workdir"):
        train(tiny(), bright_or_dark, slower, tmp_path)
    with pytest.raises(UserError, match=r"(?s)no training state there can be gone on from.*/6: .*--workdir"):
        train(tiny().clone(mlp_dim=48), bright_or_dark, SETTINGS, tmp_path)


def test_a_batch_must_divide_over_the_devices(tmp_path):
    settings = TrainingSettings(steps=1, batch_size=12, learning_rate=1e-3, warmup_steps=0)
    with pytest.raises(UserError, match=r"train.batch_size is 12; with 8 devices it must be a multiple of 8"):
        train(tiny(), bright_or_dark, settings, tmp_path)


@pytest.mark.parametrize("mode", ["hybrid", "random_drop"])
def test_models_also_train_while_reducing(tmp_path, mode):
    before = first_params(tiny())
    settings = TrainingSettings(steps=2, batch_size=8, learning_rate=1e-2, warmup_steps=0, log_every=1)
    after = train(tiny(mode=mode, r=2, threshold=0.5), bright_or_dark, settings, tmp_path)
    assert np.isfinite(leaves(after)).all()
    assert np.abs(leaves(after) - leaves(before)).max() > 1e-4


def test_the_loss_averages_heads_and_leaves_padded_clips_out():
    logits = {
        "noun": jnp.log(jnp.array([[0.5, 0.5], [0.9, 0.1]])),
        "verb": jnp.log(jnp.array([[0.25, 0.75], [0.6, 0.4]])),
    }
    targets = one_hot({"noun": jnp.array([0, 1]), "verb": jnp.array([1, 0])}, {"noun": 2, "verb": 2})
    mask = jnp.array([1.0, 0.0])
    expected = -(np.log(0.5) + np.log(0.75)) / 2
    assert classification_loss(logits, targets, mask) == pytest.approx(expected, rel=1e-5)
    smoothed = -(np.log(0.5) + 0.9 * np.log(0.75) + 0.1 * np.log(0.25)) / 2
    assert classification_loss(logits, targets, mask, 0.2) == pytest.approx(smoothed, rel=1e-5)
    assert classification_loss(logits, targets, 0 * mask) == 0


def test_kernels_alone_are_decayed_and_the_schedule_warms_up_and_falls_to_zero():
    params = {"dense": {"kernel": np.ones((2, 2)), "bias": np.ones(2)}, "cls": np.ones((1, 1, 2))}
    assert kernels(params) == {"dense": {"kernel": True, "bias": False}, "cls": False}
    settings = TrainingSettings(steps=10, batch_size=8, learning_rate=0.1, warmup_steps=2, weight_decay=0.0)
    optimizer = create_optimizer(settings)
    state = optimizer.init(params)
    sizes = []
    for _ in range(11):
        updates, state = optimizer.update(jax.tree.map(np.ones_like, params), state, params)
        sizes.append(np.abs(leaves(updates)).max())
    assert sizes[0] == 0
    assert np.argmax(sizes) == 2
    assert sizes[10] == pytest.approx(0, abs=1e-6)


def test_devices_that_are_told_to_stop_save_their_state_and_go_on_from_it(whole, tmp_path):
    seen = []
    how = {"told_to_stop": lambda: len(seen) > 0, "on_step": lambda step, metrics: seen.append(step)}
    settings = dataclasses.replace(SETTINGS, log_every=1)
    train(tiny(), bright_or_dark, settings, tmp_path / "stopped", **how)
    (_, newest) = ([0, *saved(tmp_path / "stopped")])[-2:]
    assert 0 < newest < 6
    continued = train(tiny(), bright_or_dark, settings, tmp_path / "stopped")
    np.testing.assert_array_equal(leaves(continued), leaves(whole[0]))


@functools.cache
def compiled_step(devices, settings, backend, model):
    return DevicesStep(create_device_step(model, settings), backend, jax.devices()[:devices])


@functools.cache
def steps_on(devices, settings, backend="pmap", model=None, batches=bright_or_dark, count=2):
    """Parameters after some steps on so many devices."""
    model = model or tiny()
    step = compiled_step(devices, settings, backend, model)
    state = step.replicate(create_state(first_params(model), settings))
    for number in range(count):
        batch = batches(number, settings.batch_size)
        state, _ = step(state, step.shard((*batch, np.zeros(len(batch[0]), bool))))
    return step.one_of(state)


def padded(step, size):
    video, labels, mask = bright_or_dark(step, size)
    mask[-3:] = 0
    video[-3:] = np.nan if step < 0 else 7.0
    return video, labels, mask


PLAIN = TrainingSettings(steps=4, batch_size=16, learning_rate=1e-2, optimizer="sgd", gradient_norm=1.0, ema=0.5)


@pytest.mark.parametrize("backend", ["pmap", "shard_map"])
def test_eight_devices_train_as_one(backend):
    one, eight = steps_on(1, PLAIN, batches=padded), steps_on(8, PLAIN, backend, batches=padded)
    np.testing.assert_allclose(leaves(eight.params), leaves(one.params), atol=2e-6)
    np.testing.assert_allclose(leaves(eight.ema), leaves(one.ema), atol=2e-6)


def test_parts_of_a_batch_one_after_the_other_train_as_the_whole_of_it():
    parts = dataclasses.replace(PLAIN, accumulate=4)
    np.testing.assert_allclose(
        leaves(steps_on(2, parts, batches=padded).params), leaves(steps_on(2, PLAIN, batches=padded).params), atol=2e-6
    )


def test_masked_clips_change_nothing():
    def without(step, size):
        video, labels, mask = padded(step, size)
        video[-3:] = -5.0
        return video, {head: np.where(mask > 0, values, 0) for head, values in labels.items()}, mask

    found, expected = steps_on(1, PLAIN, batches=without), steps_on(1, PLAIN, batches=padded)
    np.testing.assert_array_equal(leaves(found.params), leaves(expected.params))


def test_the_average_of_the_weights_and_computing_again_in_the_backward_pass():
    state = steps_on(1, PLAIN, count=1)
    first = first_params(tiny())
    np.testing.assert_allclose(leaves(state.ema), 0.5 * leaves(first) + 0.5 * leaves(state.params), atol=1e-6)
    assert state.result is state.ema
    again = steps_on(1, dataclasses.replace(PLAIN, remat=True), count=1)
    np.testing.assert_allclose(leaves(again.params), leaves(state.params), atol=1e-6)


def test_weights_stay_float32_where_the_model_computes_in_bfloat16():
    state = steps_on(1, PLAIN, model=tiny().clone(dtype=jnp.bfloat16), count=1)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype(np.float32)}
    assert np.abs(leaves(state.params) - leaves(steps_on(1, PLAIN, count=1).params)).max() < 0.02


def test_uint8_frames_are_normalised_in_the_step():
    def frames(step, size):
        video, labels, mask = bright_or_dark(step, size)
        return np.clip((video + 1) * 127, 0, 255).astype(np.uint8), labels, mask

    def pixels(step, size):
        video, labels, mask = frames(step, size)
        return normalise(video), labels, mask

    np.testing.assert_allclose(
        leaves(steps_on(1, PLAIN, batches=frames).params), leaves(steps_on(1, PLAIN, batches=pixels).params), atol=1e-6
    )


def test_reductions_take_turns_and_nothing_is_traced_again(tmp_path):
    models = [tiny(mode="merge", r=r) for r in (0, 2)]
    settings = TrainingSettings(steps=6, batch_size=8, learning_rate=1e-3, log_every=6)
    with States(tmp_path, {}, 1) as states, pytest.MonkeyPatch.context() as patch:
        traced = []
        original = loop.create_device_step

        def counting(model, *how):
            step = original(model, *how)

            def counted(*arguments):
                traced.append(model.reduction.r)
                return step(*arguments)

            return counted

        patch.setattr(loop, "create_device_step", counting)
        train_from([Training(models, states, first_params(models[0]))], bright_or_dark, settings)
    assert sorted(traced) == [0, 2]


def test_the_step_calls_nothing_on_the_host():
    settings = dataclasses.replace(PLAIN, mixup=0.3, cutmix=1.0)
    model = tiny(mode="merge", r=2).clone(droplayer_rate=0.1)
    step = create_device_step(model, settings)
    batch = (*bright_or_dark(0, 4), np.zeros(4, bool))
    traced = jax.make_jaxpr(step, axis_env=[("batch", 1)])(create_state(first_params(model), settings), *batch)
    assert "callback" not in str(traced)


@pytest.mark.parametrize("mode", ["merge", "hybrid"])
def test_gradients_through_sizes_and_means(mode):
    model = tiny(mode=mode, r=2, threshold=0.5, proportional_attention=True).clone(num_layers=2)
    params = first_params(model)
    video, labels, mask = bright_or_dark(0, 2)

    def loss(params):
        logits = model.apply({"params": params}, video)
        return classification_loss(logits, one_hot(labels, {"noun": 2, "verb": 3}), mask)

    # The head starts at zero, so that nothing below it would have a gradient.
    params = {**params, "output_projection": jax.tree.map(lambda leaf: leaf + 0.3, params["output_projection"])}
    params["output_projection"]["kernel"] *= jnp.linspace(-1, 1, 5)
    kernel = ("Transformer", "encoderblock_0", "MultiHeadDotProductAttention_0", "value", "kernel")
    gradient = functools.reduce(lambda tree, key: tree[key], kernel, jax.jit(jax.grad(loss))(params))
    direction = jax.random.normal(jax.random.key(1), gradient.shape)

    def moved(step):
        flat = flatten_dict(params)
        return float(jax.jit(loss)(unflatten_dict({**flat, kernel: flat[kernel] + step * direction})))

    # Which tokens merge does not change on so short a way, and the loss is smooth there.
    expected = (moved(1e-2) - moved(-1e-2)) / 2e-2
    assert float(jnp.sum(gradient * direction)) == pytest.approx(expected, rel=0.02, abs=1e-4)
