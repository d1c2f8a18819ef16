"""The published recipes: how clips are changed and how is trained, by recipe, model family and data set.

They are rows of `recipes.csv`. A row of the recipe "shared" has no data: others name it, and take its keys of the same
column. Sources: Scenic's `projects/vivit/configs`; the `scripts` of VideoMAE, the `configs` of TimeSformer and
Motionformer; `configs/*/tome_train_*.yaml` of the paper's code. Where a trainer does something else than its config
says, the values are those of what it does:

- Nothing is flipped on Something-Something, whose classes say directions. Scenic's own pipeline flips there too, since
  nobody passes DMVR's `random_flip=False`. On EPIC-KITCHENS Scenic and Motionformer flip.
- The areas of the paper's ViViT fit, with an aspect of 1, no frame that is not nearly square: the centre is taken.
- TimeSformer never reads its DROPOUT_RATE; its stochastic depth of 0.1 stands in vit.py, in the paper's code, too.
- The paper's layer decay of 0.75 for VideoMAE matches no parameter's name, so that there is none; and it decays biases
  and normalisations.
- VideoMAE's batch counts each video twice, as it repeats them; its rate of 5e-4 x 384 / 256 does not.
"""

import ast
import csv
import functools
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from jax_vtm.data.protocols import DATASETS, KINETICS
from jax_vtm.errors import UserError

SHARED = "shared"
# Fields of `Augmentation`, and of `TrainingSettings` and models.
Column = Literal["clips", "train"]
Cell = tuple[str, str, str]


@functools.cache
def recipes() -> Mapping[Cell, Mapping[Column, Mapping[str, Any]]]:
    """Reads the table: keys and values by (recipe, model family, data set), of which "kinetics" is all Kinetics."""
    with pathlib.Path(__file__).with_name("recipes.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    shared = {row["family"]: row for row in rows if row["recipe"] == SHARED}

    def values(text: str, column: Column) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for word in text.split():
            key, _, value = word.partition("=")
            found |= values(shared[word][column], column) if word in shared else {key: _literal(value)}
        return found

    columns: tuple[Column, ...] = ("clips", "train")
    return {
        (row["recipe"], row["family"], row["data"]): {column: values(row[column], column) for column in columns}
        for row in rows
        if row["recipe"] != SHARED
    }


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def published(column: Column, recipe: str, family: str, dataset: str) -> Mapping[str, Any]:
    """Looks up a recipe; data that nobody has published on are taken as Kinetics.

    Args:
        column: What of it.
        recipe: `standard`, the model's authors', or `paper`.
        family: `vivit`, `timesformer`, `motionformer` or `videomae`.
        dataset: One of `protocols.DATASETS`, or any other word.

    Raises:
        UserError: There is no such recipe.
    """
    data = "kinetics" if dataset in KINETICS or dataset not in DATASETS else dataset
    found = recipes().get((recipe, family, data))
    if found is None:
        by_name = {name: [data for n, of, data in recipes() if (n, of) == (name, family)] for name, *_ in recipes()}
        known = "; ".join(f"{name!r} for {', '.join(of)}" for name, of in by_name.items())
        raise UserError(
            f"there is no recipe {recipe!r} for {family} on {dataset!r}. There are {known}. Leave train.recipe empty "
            "and set the other keys of train and clips yourself."
        )
    return found[column]
