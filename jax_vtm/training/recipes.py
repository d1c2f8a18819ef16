"""From a config to `TrainingSettings`, and the published recipes, which are rows of `recipes.csv`.

Sources: Scenic's `projects/vivit/configs`; the `scripts` of VideoMAE, the `configs` of TimeSformer and Motionformer;
`configs/*/tome_train_*.yaml` of the paper's code. Where a trainer does something else than its config says, the values
are those of what it does:

- TimeSformer never reads its DROPOUT_RATE; its stochastic depth of 0.1 stands in vit.py, in the paper's code, too.
- The paper's layer decay of 0.75 for VideoMAE matches no parameter's name, so that there is none; and it decays biases
  and normalisations.
- VideoMAE's batch counts each video twice, as it repeats them; its rate of 5e-4 x 384 / 256 does not.
"""

import ast
import csv
import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from jax_vtm.config import Config
from jax_vtm.data.augmentation.settings import published_fields
from jax_vtm.errors import UserError
from jax_vtm.training.settings import TrainingSettings

# What rows have in common.
_SHARED = {
    "SCENIC": "batch_size=64 schedule=scenic warmup_epochs=2.5 optimizer=sgd gradient_norm=1.0 clip_per_device=True",
    "SLOWFAST": "optimizer=sgd nesterov=True weight_decay=1e-4 decayed=all",
    "TIMESFORMER": "SLOWFAST epochs=15.0 learning_rate=0.005 schedule=milestones milestones=((11,0.1),(14,0.01)) "
    "droplayer_rate=0.1",
    "MOTIONFORMER": "batch_size=128 learning_rate=1e-4 schedule=milestones weight_decay=0.05 decayed=all "
    "label_smoothing=0.2 droplayer_rate=0.2",
    "VIDEOMAE": "batch_size=768 learning_rate=7.5e-4 final_learning_rate=1.5e-6 schedule=videomae warmup_epochs=5.0 "
    "weight_decay=0.05 layer_decay=0.75 label_smoothing=0.1 mixup=0.8 cutmix=1.0 droplayer_rate=0.1",
}
# Where Scenic's config of a model says another one than that of its family.
_LEARNING_RATES = {("vivit_b_16x2_fe", "kinetics400"): 0.05, ("vivit_l_16x2_fe", "kinetics600"): 0.05}

# What a recipe says of the model while it is trained.
MODEL_FIELDS = ("dropout_rate", "droplayer_rate")


@functools.cache
def recipes() -> Mapping[str, Mapping[str, Mapping[str, dict[str, Any]]]]:
    """Reads keys of `config.train` by recipe, model family and data set."""
    found: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    with pathlib.Path(__file__).with_name("recipes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            families = found.setdefault(row["recipe"], {})
            families.setdefault(row["family"], {})[row["data"]] = _values(row["keys"])
    return found


def _values(words: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for word in words.split():
        key, _, text = word.partition("=")
        if word in _SHARED:
            values |= _values(_SHARED[word])
        else:
            values[key] = text if text.isidentifier() and text != "True" else ast.literal_eval(text)
    return values


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
    found = published_fields(recipes(), recipe, family, dataset)
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
