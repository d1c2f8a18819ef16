"""One training step on every device, under `jax.pmap`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jax_vtm.evaluation import by_head
from jax_vtm.models import VideoClassifier
from jax_vtm.training.losses import classification_loss
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
    """Returns the pmapped step: (state, video [D, B, T, H, W, 3], labels {head: [D, B]}) -> (state, metrics).

    Metrics are averages over all devices: "loss" and, per head, "<head>/accuracy". The same model and settings give
    the same step, so it is compiled once.
    """
    optimizer = create_optimizer(settings)

    def loss_and_accuracy(params, video, labels, key):
        rngs = {"dropout": key, "reduction": key}
        logits = by_head(model.apply({"params": params}, video, train=True, rngs=rngs))
        accuracy = {f"{head}/accuracy": jnp.mean(jnp.argmax(logits[head], axis=-1) == labels[head]) for head in logits}
        return classification_loss(logits, labels, settings.label_smoothing), accuracy

    @functools.partial(jax.pmap, axis_name="batch", donate_argnums=0)
    def train_step(state: TrainState, video, labels):
        key = jax.random.fold_in(jax.random.key(settings.seed), state.step)
        key = jax.random.fold_in(key, jax.lax.axis_index("batch"))
        differentiate = jax.value_and_grad(loss_and_accuracy, has_aux=True)
        (loss, accuracy), gradients = differentiate(state.params, video, labels, key)
        gradients, metrics = jax.lax.pmean((gradients, {"loss": loss, **accuracy}), "batch")
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(step=state.step + 1, params=params, opt_state=opt_state), metrics

    return train_step
