"""From a config to `TrainingSettings`, with the values of a published recipe."""

import dataclasses
from typing import Any

import jax

from jax_vtm.config import Config
from jax_vtm.data.augmentation.recipes import published
from jax_vtm.errors import UserError
from jax_vtm.training.settings import TrainingSettings

# Where Scenic's config of a model says another one than that of its family.
_LEARNING_RATES = {("vivit_b_16x2_fe", "kinetics400"): 0.05, ("vivit_l_16x2_fe", "kinetics600"): 0.05}

# What a recipe says of the model while it is trained.
MODEL_FIELDS = ("dropout_rate", "droplayer_rate")


def published_recipe(recipe: str, family: str, dataset: str, model: str = "") -> dict[str, Any]:
    """Looks up how a model was trained: keys of `config.train`.

    Args:
        recipe: "standard", of the model's authors, or "paper".
        family: Of the model.
        dataset: As `config.data.name` calls it; for data that nobody has published on, the recipe is that of Kinetics.
        model: The preset's name.

    Raises:
        UserError: There is no such recipe.
    """
    found = published("train", recipe, family, dataset)
    other_rate = _LEARNING_RATES.get((model, dataset)) if recipe == "standard" else None
    return {**found, "learning_rate": other_rate} if other_rate else dict(found)


def training_settings(config: Config, family: str, clips_per_epoch: int) -> tuple[TrainingSettings, dict[str, Any]]:
    """Reads `config.train`: the recipe's values, but for those that are set; epochs become steps.

    Args:
        config: The config.
        family: Of the model.
        clips_per_epoch: Of the training videos, with their repeats; an epoch has as many steps as whole batches. A
            batch may have more, where nothing is counted in epochs: it goes on into the next one.

    Returns:
        The settings, and the fields that the model has while it is trained.

    Raises:
        UserError: A value that cannot be, or one that is missing.
    """
    values = {}
    if recipe := config.train.recipe:
        values = published_recipe(recipe, family, config.data.name, config.model.name)
    values |= {key: value for key, value in config.train.items() if value is not None}
    if per_host := values.get("batch_size_per_host"):
        if config.train.batch_size is not None:
            raise UserError("config.train.batch_size and batch_size_per_host are both set; give one of them.")
        values["batch_size"] = per_host * jax.process_count()
    names = {field.name for field in dataclasses.fields(TrainingSettings)}
    fields = {key: values[key] for key in MODEL_FIELDS if key in values}
    for key in ("batch_size", "learning_rate"):
        if key not in values:
            raise UserError(f"config.train.{key} is not set, and there is no recipe: give --config.train.{key}=NUMBER.")
    per_epoch = clips_per_epoch // values["batch_size"]
    counted = {"epochs": "steps", "warmup_epochs": "warmup_steps", "milestones": ""}
    counted = [key for key, instead in counted.items() if values.get(key) and instead not in values]
    if not per_epoch and counted:
        raise UserError(
            f"config.train.batch_size is {values['batch_size']}; an epoch has only {clips_per_epoch} clips to train "
            f"on, so that {' and '.join(counted)} cannot be counted. Give a smaller batch, or steps and warmup_steps "
            "in their place."
        )
    if "steps" not in values:
        if "epochs" not in values:
            raise UserError(
                "config.train.epochs is not set, and there is no recipe: give --config.train.epochs=NUMBER."
            )
        values["steps"] = int(values["epochs"] * per_epoch)
    if "warmup_steps" not in values:
        warmup = values.get("warmup_epochs", 0.0) * per_epoch
        # Scenic's configs take whole steps, but for that of Kinetics-600, which is exact as a file of Scenic's.
        values["warmup_steps"] = int(warmup) if values.get("schedule") == "scenic" else warmup
    values["milestones"] = tuple((epoch * per_epoch, factor) for epoch, factor in values.get("milestones", ()))
    return TrainingSettings(**{key: value for key, value in values.items() if key in names}), fields
