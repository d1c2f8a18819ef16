"""Model and clips -> weights: recipes, losses and schedules, and a loop that continues after a stop."""

from jax_vtm.training.initialisation import initial_params
from jax_vtm.training.loop import BatchSource, Training, train
from jax_vtm.training.losses import classification_loss
from jax_vtm.training.optimizer import create_optimizer
from jax_vtm.training.recipes import training_settings
from jax_vtm.training.schedules import learning_rate_schedule
from jax_vtm.training.settings import TrainingSettings
from jax_vtm.training.sources import open_training_clips
from jax_vtm.training.states import States, made_of

__all__ = [
    "BatchSource",
    "States",
    "Training",
    "TrainingSettings",
    "classification_loss",
    "create_optimizer",
    "initial_params",
    "learning_rate_schedule",
    "made_of",
    "open_training_clips",
    "train",
    "training_settings",
]
