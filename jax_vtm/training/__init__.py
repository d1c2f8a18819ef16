"""Model and clips -> weights: recipes, losses and schedules, and a loop that continues after a stop."""

from jax_vtm.training.loop import train
from jax_vtm.training.losses import classification_loss
from jax_vtm.training.optimizer import create_optimizer
from jax_vtm.training.schedules import learning_rate_schedule
from jax_vtm.training.settings import TrainingSettings

__all__ = [
    "TrainingSettings",
    "classification_loss",
    "create_optimizer",
    "learning_rate_schedule",
    "train",
]
