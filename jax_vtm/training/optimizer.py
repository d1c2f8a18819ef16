"""The optimizer: AdamW under a warm-up and cosine schedule."""

import dataclasses

import jax
import optax


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How long and how to train.

    Attributes:
        steps: Optimizer steps.
        batch_size: Clips per step, over all devices.
        learning_rate: At the end of the warm-up; falls to 0 along a cosine.
        warmup_steps: Steps of linear warm-up from 0.
        weight_decay: Of matrices; biases, normalisations and embeddings are not decayed.
        label_smoothing: Share of the label spread over all classes.
        gradient_norm: Gradients are clipped to this global norm.
        seed: Of initialisation, data and dropout.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between log lines.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float = 0.05
    label_smoothing: float = 0.0
    gradient_norm: float = 1.0
    seed: int = 0
    checkpoint_every: int = 250
    log_every: int = 25


def learning_rate_schedule(settings: TrainingSettings) -> optax.Schedule:
    """Returns the learning rate as a function of the number of steps done before."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        decay_steps=settings.steps,
    )


def create_optimizer(settings: TrainingSettings) -> optax.GradientTransformation:
    """Returns AdamW with clipped gradients."""
    return optax.chain(
        optax.clip_by_global_norm(settings.gradient_norm),
        optax.adamw(learning_rate_schedule(settings), b2=0.99, weight_decay=settings.weight_decay, mask=decayed),
    )


def decayed(params):
    """Marks the kernels, which alone are decayed."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
