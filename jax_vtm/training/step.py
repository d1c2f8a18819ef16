"""One training step on every device, under `jax.pmap`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jax_vtm.evaluation import by_head
from jax_vtm.models import VideoClassifier
from jax_vtm.training.losses import classification_loss, one_hot
from jax_vtm.training.optimizer import TrainingSettings, create_optimizer


@struct.dataclass
class TrainState:
    """Everything that a continued run needs.

    Attributes:
        step: Steps done.
        params: The model's parameters.
        opt_state: The optimizer's state.
    """

    step: Any
    params: Any
    opt_state: optax.OptState


def create_state(model: VideoClassifier, settings: TrainingSettings) -> TrainState:
    """Initialises the parameters and the optimizer."""
    video = jnp.zeros((1, *model.input_shape), jnp.float32)
    params = jax.jit(model.init)(jax.random.key(settings.seed), video)["params"]
    opt_state = create_optimizer(settings).init(params)
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=opt_state)


@functools.cache
def create_train_step(model: VideoClassifier, settings: TrainingSettings):
    """Returns the pmapped step: (state, video [D, B, T, H, W, 3], labels {head: [D, B]}, mask [D, B]) to a pair.

    It is of the new state and of averages over all devices: "loss" and, per head, "<head>/accuracy". The same model and
    settings give the same step, so it is compiled once.
    """
    optimizer = create_optimizer(settings)

    def loss_and_correct(params, video, labels, mask, key):
        rngs = {"dropout": key, "reduction": key}
        logits = by_head(model.apply({"params": params}, video, train=True, rngs=rngs))
        correct = {head: jnp.sum((jnp.argmax(logits[head], axis=-1) == labels[head]) * mask) for head in logits}
        return classification_loss(logits, one_hot(labels, logits), mask, settings.label_smoothing), correct

    @functools.partial(jax.pmap, axis_name="batch", donate_argnums=0)
    def train_step(state: TrainState, video, labels, mask):
        key = jax.random.fold_in(jax.random.key(settings.seed), state.step)
        key = jax.random.fold_in(key, jax.lax.axis_index("batch"))
        differentiate = jax.value_and_grad(loss_and_correct, has_aux=True)
        (loss, correct), gradients = differentiate(state.params, video, labels, mask, key)
        gradients, loss = jax.lax.pmean((gradients, loss), "batch")
        correct, count = jax.lax.psum((correct, jnp.sum(mask)), "batch")
        metrics = {"loss": loss, **{f"{head}/accuracy": hits / count for head, hits in correct.items()}}
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(step=state.step + 1, params=params, opt_state=opt_state), metrics

    return train_step
