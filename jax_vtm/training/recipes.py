"""From a config to `TrainingSettings`, and the published recipes as data.

Sources, with file and line in docs/finetuning.md: Scenic's `projects/vivit/configs`; the `scripts` of VideoMAE, the
`configs` of TimeSformer and Motionformer; `configs/*/tome_train_*.yaml` of the paper's code. Where a trainer does
something else than its config says, the values are those of what it does:

- TimeSformer never reads its DROPOUT_RATE; its stochastic depth of 0.1 stands in vit.py.
- The paper's layer decay of 0.75 for VideoMAE matches no parameter's name, so that there is none; and it decays biases
  and normalisations.
- Weight decay of TimeSformer and Motionformer is on every parameter.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jax_vtm.config import Config
from jax_vtm.data.augmentation.settings import published_fields
from jax_vtm.errors import UserError
from jax_vtm.training.settings import TrainingSettings

_SCENIC: dict[str, Any] = {
    "batch_size": 64,
    "schedule": "scenic",
    "warmup_epochs": 2.5,
    "optimizer": "sgd",
    "gradient_norm": 1.0,
    "clip_per_device": True,
}
_SLOWFAST: dict[str, Any] = {"optimizer": "sgd", "nesterov": True, "weight_decay": 1e-4, "decayed": "all"}
_TIMESFORMER: dict[str, Any] = {
    **_SLOWFAST,
    "batch_size": 64,
    "epochs": 15.0,
    "learning_rate": 0.005,
    "schedule": "milestones",
    "milestones": ((11.0, 0.1), (14.0, 0.01)),
    "droplayer_rate": 0.1,
}
_MOTIONFORMER: dict[str, Any] = {
    "batch_size": 128,
    "epochs": 35.0,
    "learning_rate": 1e-4,
    "schedule": "milestones",
    "milestones": ((20.0, 0.1), (30.0, 0.01)),
    "weight_decay": 0.05,
    "decayed": "all",
    "label_smoothing": 0.2,
    "droplayer_rate": 0.2,
}
# Clips of a batch count with both repeats; the learning rate is 5e-4 x 384 / 256 of the videos.
_VIDEOMAE: dict[str, Any] = {
    "batch_size": 768,
    "learning_rate": 7.5e-4,
    "final_learning_rate": 1.5e-6,
    "schedule": "videomae",
    "warmup_epochs": 5.0,
    "weight_decay": 0.05,
    "layer_decay": 0.75,
    "label_smoothing": 0.1,
    "mixup": 0.8,
    "cutmix": 1.0,
    "droplayer_rate": 0.1,
}
_PAPER_VIVIT: dict[str, Any] = {
    **_SLOWFAST,
    "batch_size": 64,
    "learning_rate": 0.01,
    "schedule": "cosine",
    "warmup_epochs": 2.5,
}

RECIPES: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]] = MappingProxyType(
    {
        "standard": {
            "vivit": {
                "kinetics": {**_SCENIC, "epochs": 30.0, "learning_rate": 0.1},
                "ssv2": {
                    **_SCENIC,
                    "epochs": 35.0,
                    "learning_rate": 0.4,
                    "label_smoothing": 0.3,
                    "mixup": 0.3,
                    "droplayer_rate": 0.3,
                },
                "epic_kitchens_100": {
                    **_SCENIC,
                    "epochs": 50.0,
                    "learning_rate": 0.5,
                    "label_smoothing": 0.2,
                    "mixup": 0.1,
                    "droplayer_rate": 0.2,
                },
            },
            "timesformer": {"kinetics": _TIMESFORMER, "ssv2": _TIMESFORMER},
            "motionformer": {
                "kinetics": _MOTIONFORMER,
                "ssv2": _MOTIONFORMER,
                "epic_kitchens_100": {
                    **_MOTIONFORMER,
                    "epochs": 50.0,
                    "milestones": ((30.0, 0.1), (40.0, 0.01)),
                },
            },
            "videomae": {"kinetics": {**_VIDEOMAE, "epochs": 75.0}, "ssv2": {**_VIDEOMAE, "epochs": 30.0}},
        },
        "paper": {
            "vivit": {
                "ssv2": {**_PAPER_VIVIT, "epochs": 35.0},
                "epic_kitchens_100": {**_PAPER_VIVIT, "epochs": 50.0},
            },
            "timesformer": {"epic_kitchens_100": {**_TIMESFORMER, "batch_size": 128}},
            "videomae": {
                "epic_kitchens_100": {
                    "batch_size": 128,
                    "epochs": 50.0,
                    "learning_rate": 1e-3,
                    "final_learning_rate": 2e-6,
                    "schedule": "cosine",
                    "warmup_epochs": 5.0,
                    "weight_decay": 0.05,
                    "decayed": "all",
                    "droplayer_rate": 0.1,
                }
            },
        },
    }
)
"""Keys of `config.train` by recipe, model family and data set."""

# Where Scenic's config of a model says another one than that of its family.
_LEARNING_RATES = {("vivit_b_16x2_fe", "kinetics400"): 0.05, ("vivit_l_16x2_fe", "kinetics600"): 0.05}

# What a recipe says of the model while it is trained.
MODEL_FIELDS = ("dropout_rate", "droplayer_rate")


def published_recipe(recipe: str, family: str, dataset: str, model: str = "") -> dict[str, Any]:
    """Looks up how a model was trained: keys of `config.train`.

    Args:
        recipe: "standard", of the model's authors, or "paper".
        family: Of the model.
        dataset: As `config.data.name` calls it.
        model: The preset's name.

    Raises:
        UserError: There is no such recipe.
    """
    found = published_fields(RECIPES, recipe, family, dataset)
    other_rate = _LEARNING_RATES.get((model, dataset)) if recipe == "standard" else None
    return {**found, "learning_rate": other_rate} if other_rate else dict(found)


def training_settings(config: Config, family: str, clips_per_epoch: int) -> tuple[TrainingSettings, dict[str, Any]]:
    """Reads `config.train`: the recipe's values, but for those that are set; epochs become steps.

    Args:
        config: The config.
        family: Of the model.
        clips_per_epoch: Of the training videos, with their repeats; an epoch has as many steps as whole batches.

    Returns:
        The settings, and the fields that the model has while it is trained.

    Raises:
        UserError: A value that cannot be, or one that is missing.
    """
    values = {}
    if recipe := config.train.recipe:
        values = published_recipe(recipe, family, config.data.name, config.model.name)
    values |= {key: value for key, value in config.train.items() if value is not None}
    names = {field.name for field in dataclasses.fields(TrainingSettings)}
    fields = {key: values[key] for key in MODEL_FIELDS if key in values}
    for key in ("batch_size", "learning_rate"):
        if key not in values:
            raise UserError(f"config.train.{key} is not set, and there is no recipe: give --config.train.{key}=NUMBER.")
    per_epoch = clips_per_epoch // values["batch_size"]
    if not per_epoch:
        raise UserError(
            f"config.train.batch_size is {values['batch_size']}; an epoch has only {clips_per_epoch} clips to train on."
        )
    if "steps" not in values:
        if "epochs" not in values:
            raise UserError(
                "config.train.epochs is not set, and there is no recipe: give --config.train.epochs=NUMBER."
            )
        values["steps"] = int(values["epochs"] * per_epoch)
    if "warmup_steps" not in values:
        values["warmup_steps"] = values.get("warmup_epochs", 0.0) * per_epoch
    values["milestones"] = tuple((epoch * per_epoch, factor) for epoch, factor in values.get("milestones", ()))
    return TrainingSettings(**{key: value for key, value in values.items() if key in names}), fields
