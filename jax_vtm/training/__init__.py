"""Model and clips -> weights: losses, optax schedules, and a loop that continues after a stop."""

from jax_vtm.training.loop import train
from jax_vtm.training.losses import classification_loss
from jax_vtm.training.optimizer import TrainingSettings, create_optimizer, learning_rate_schedule

__all__ = [
    "TrainingSettings",
    "classification_loss",
    "create_optimizer",
    "learning_rate_schedule",
    "train",
]
