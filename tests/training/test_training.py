import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction
from jax_vtm.models import create_model
from jax_vtm.training import TrainingSettings, classification_loss, create_optimizer, train
from jax_vtm.training.losses import one_hot
from jax_vtm.training.optimizer import kernels
from jax_vtm.training.resume import saved_states

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


def leaves(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def test_training_learns_and_reports(tmp_path):
    seen = []
    settings = TrainingSettings(
        steps=40, batch_size=32, learning_rate=1e-2, warmup_steps=4, gradient_norm=1.0, b2=0.99, log_every=10
    )
    train(tiny(), bright_or_dark, settings, tmp_path, on_step=lambda step, metrics: seen.append((step, metrics)))
    assert [step for step, _ in seen] == [10, 20, 30, 40]
    assert set(seen[0][1]) == {"loss", "gradient_norm", "noun/accuracy", "verb/accuracy", "data_wait"}
    assert seen[-1][1]["loss"] < 0.5 * seen[0][1]["loss"]
    assert seen[-1][1]["noun/accuracy"] > 0.9


def test_a_stopped_run_continues_to_the_same_weights(tmp_path):
    whole = train(tiny(), bright_or_dark, SETTINGS, tmp_path / "whole")

    def stops_at_five(step: int, batch_size: int):
        if step == 5:
            raise KeyboardInterrupt
        return bright_or_dark(step, batch_size)

    with pytest.raises(KeyboardInterrupt):
        train(tiny(), stops_at_five, SETTINGS, tmp_path / "stopped")
    assert saved_states(tmp_path / "stopped")[-1].name == "checkpoint_4"
    steps = []

    def recorded(step: int, batch_size: int):
        steps.append(step)
        return bright_or_dark(step, batch_size)

    continued = train(tiny(), recorded, SETTINGS, tmp_path / "stopped")
    assert steps[0] == 4
    np.testing.assert_array_equal(leaves(continued), leaves(whole))
    assert len(saved_states(tmp_path / "stopped")) == 2
    finished = train(tiny(), bright_or_dark, SETTINGS, tmp_path / "stopped")
    np.testing.assert_array_equal(leaves(finished), leaves(whole))


def test_another_models_state_is_refused(tmp_path):
    train(tiny(), bright_or_dark, SETTINGS, tmp_path)
    other = tiny().clone(mlp_dim=48)
    with pytest.raises(UserError, match=r"(?s)checkpoint_6: this training state is of another model.*--workdir"):
        train(other, bright_or_dark, SETTINGS, tmp_path)


def test_a_batch_must_divide_over_the_devices(tmp_path):
    settings = TrainingSettings(steps=1, batch_size=12, learning_rate=1e-3, warmup_steps=0)
    with pytest.raises(UserError, match=r"train.batch_size is 12; with 8 devices it must be a multiple of 8"):
        train(tiny(), bright_or_dark, settings, tmp_path)


@pytest.mark.parametrize("mode", ["hybrid", "random_drop"])
def test_models_also_train_while_reducing(tmp_path, mode):
    before = tiny().init(jax.random.key(0), jnp.zeros((1, 4, 8, 8, 3)))["params"]
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


def test_the_batch_source_gets_the_step(tmp_path):
    calls = []
    source = functools.partial(lambda seed, step, size: calls.append((seed, step)) or bright_or_dark(step, size), 7)
    train(tiny(), source, SETTINGS, tmp_path)
    assert calls == [(7, step) for step in range(6)]
