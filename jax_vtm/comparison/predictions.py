"""Predictions as a file has them: of one or several runs, with whatever else the file says."""

import collections
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from jax_vtm.errors import UserError, listed
from jax_vtm.evaluation.metrics import predicted_classes

ScoreKind = Literal["logits", "probabilities"]

# More than any data set has; each has its row in the results, and all combinations of verbs and nouns are ranked.
MOST_CLASSES, MOST_COMBINATIONS = 100_000, 2**24

# Rows of probabilities in single precision add up to the same within this share.
_SUMS_AGREE = 1e-3


@dataclasses.dataclass(frozen=True)
class Head:
    """What a run predicts in one head.

    Attributes:
        predicted: Each video's class; -1 for none.
        scores: Of every class; None where the file has only the classes.
        kind: What the scores are; None where there are none.
        class_names: In the order of the indices; empty where the file does not say.
    """

    predicted: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, "n K"] | None = None
    kind: ScoreKind | None = None
    class_names: tuple[str, ...] = ()

    def rows(self, places: Int[np.ndarray, " m"]) -> "Head":
        """The same of some of the videos."""
        scores = None if self.scores is None else self.scores[places]
        return dataclasses.replace(self, predicted=self.predicted[places], scores=scores)


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The contents of a file.

    Attributes:
        path: Where it is.
        kind: What it is, in words.
        ids: Of the videos; None where the file has nothing but their order.
        labels: Classes per head; empty where the file has none.
        runs: {run: {head: its predictions}}.
        notes: What a reader of a comparison has to know.

    Raises:
        UserError: Its parts are of different numbers of videos, or of none; ids are there twice; classes are out of
            range, or more than can be compared.
    """

    path: str
    kind: str
    ids: tuple[str, ...] | None
    labels: Mapping[str, Int[np.ndarray, " n"]]
    runs: Mapping[str, Mapping[str, Head]]
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if problem := self._problem():
            raise UserError(f"{self.path}: {problem}")

    def _problem(self) -> str | None:
        labels = [(f"the labels of {head!r}", values) for head, values in self.labels.items()]
        classes = [(f"the predictions of {run}", one.predicted) for run, of in self.runs.items() for one in of.values()]
        for what, values in (*classes, *labels, *([("the ids", self.ids)] if self.ids is not None else [])):
            if len(values) != self.num_videos:
                return f"{what} are of {len(values)} videos, the first run's predictions of {self.num_videos}"
        if not self.num_videos:
            return "has no videos"
        for what, values in labels:
            if values.min() < 0:
                return f"{what} go down to {values.min()}, expected classes from 0"
        for what, values in (*classes, *labels):
            if values.max() >= MOST_CLASSES:
                return f"{what} go up to {values.max()}, expected classes below {MOST_CLASSES}"
        for heads in self.runs.values():
            sizes = [one.scores.shape[1] for one in heads.values() if one.scores is not None]
            if math.prod(sizes) > MOST_COMBINATIONS:
                return (
                    f"{' x '.join(map(str, sizes))} classes have more than the {MOST_COMBINATIONS} combinations that "
                    "are ranked at most"
                )
        repeated = [video for video, count in collections.Counter(self.ids or ()).items() if count > 1]
        return f"has several predictions for one video: {listed(repeated, 5)}" if repeated else None

    @property
    def num_videos(self) -> int:
        """How many videos it has."""
        first = next(iter(self.runs.values()))
        return len(next(iter(first.values())).predicted)


def scored(where: str, scores: Any, kind: ScoreKind | None = None, class_names: tuple[str, ...] = ()) -> Head:
    """Makes a head of scores [n, K]; of which kind they are shows in them, unless it is said.

    Scores that are never negative and add up to the same for every video are probabilities. They are scaled to add up
    to one, since the PyTorch reference saves the sum over a video's views. `where` they are from begins an error.

    Raises:
        UserError: They are no numbers [n, K], or there are none; or there are more or fewer names.
    """
    if not isinstance(scores, np.ndarray) or scores.ndim != 2 or scores.dtype.kind not in "fiu" or not scores.size:
        raise UserError(f"{where} is {described(scores)}, expected numbers [n, classes]")
    if scores.shape[1] > MOST_CLASSES:
        raise UserError(f"{where} has scores of {scores.shape[1]} classes; at most {MOST_CLASSES} are compared")
    if class_names and len(class_names) != scores.shape[1]:
        raise UserError(f"{where} has scores of {scores.shape[1]} classes, but {len(class_names)} have names")
    scores = single_or_double(scores)
    predicted = predicted_classes(scores)
    if kind is None:
        finite = scores[np.isfinite(scores).all(axis=-1)].astype(np.float64)
        sums = finite.sum(axis=-1)
        alike = len(sums) and np.all(finite >= 0) and np.allclose(sums, sums[0], rtol=_SUMS_AGREE, atol=0)
        kind = "probabilities" if alike and sums[0] > 0 else "logits"
        if kind == "probabilities":
            scores = scores / scores.sum(axis=-1, keepdims=True)
    return Head(predicted, scores, kind, class_names)


def single_or_double(values: np.ndarray) -> np.ndarray:
    """Numbers of any type as float32; float64 as it is."""
    return values.astype(np.float64 if values.dtype == np.float64 else np.float32, copy=False)


def described(value: object, depth: int = 2) -> str:
    """Says what a value is, for an error message, and of short lists what is in them, so many levels down."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, list | tuple) and len(value) <= 4 and depth:
        return f"({', '.join(described(one, depth - 1) for one in value)})"
    return type(value).__name__
