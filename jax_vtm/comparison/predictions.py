"""The content of a file of predictions: one or several runs, with ids and labels if the file has them."""

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

# Each class has a row in the results, and all combinations of verbs and nouns are ranked.
MOST_CLASSES, MOST_COMBINATIONS = 100_000, 2**24

# Relative tolerance of the sums of float32 probabilities.
_SUMS_AGREE = 1e-3


@dataclasses.dataclass(frozen=True)
class Head:
    """A run's predictions in one head.

    Attributes:
        predicted: Class of each video; -1 for none.
        scores: Score of every class; None if the file has only the classes.
        kind: Kind of the scores.
        class_names: By index; empty if the file has none.
    """

    predicted: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, "n K"] | None = None
    kind: ScoreKind | None = None
    class_names: tuple[str, ...] = ()

    def rows(self, index: Int[np.ndarray, " m"]) -> "Head":
        """Selects videos."""
        scores = None if self.scores is None else self.scores[index]
        return dataclasses.replace(self, predicted=self.predicted[index], scores=scores)


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The content of a file.

    Attributes:
        path: Of the file.
        kind: Of the file, for the page.
        ids: Of the videos; None if the file has none.
        labels: Classes per head; empty if the file has none.
        runs: {run: {head: predictions}}.
        notes: Warnings for the page.
        costs: Of runs, where known: {run: {"reduction", "macs_per_clip", "speedup"}}, the last of them if measured.

    Raises:
        UserError: Parts have different numbers of videos, or none; ids repeat; classes are out of range or too many.
    """

    path: str
    kind: str
    ids: tuple[str, ...] | None
    labels: Mapping[str, Int[np.ndarray, " n"]]
    runs: Mapping[str, Mapping[str, Head]]
    notes: tuple[str, ...] = ()
    costs: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

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
        """Number of videos."""
        first = next(iter(self.runs.values()))
        return len(next(iter(first.values())).predicted)


def head_from_scores(where: str, scores: Any, kind: ScoreKind | None = None, class_names: tuple[str, ...] = ()) -> Head:
    """Makes a head from scores [n, K].

    Without a `kind`, scores that are never negative and have the same sum for every video are probabilities. They are
    scaled to a sum of one, because the PyTorch reference saves sums over views.

    Raises:
        UserError: The scores are not numbers [n, K], or not as many as names; the message begins with `where`.
    """
    if not isinstance(scores, np.ndarray) or scores.ndim != 2 or scores.dtype.kind not in "fiu" or not scores.size:
        raise UserError(f"{where} is {describe_value(scores)}, expected numbers [n, classes]")
    if scores.shape[1] > MOST_CLASSES:
        raise UserError(f"{where} has scores of {scores.shape[1]} classes; at most {MOST_CLASSES} are compared")
    if class_names and len(class_names) != scores.shape[1]:
        raise UserError(f"{where} has scores of {scores.shape[1]} classes, but {len(class_names)} have names")
    scores = as_float(scores)
    predicted = predicted_classes(scores)
    if kind is None:
        finite = scores[np.isfinite(scores).all(axis=-1)].astype(np.float64)
        sums = finite.sum(axis=-1)
        same_sums = len(sums) and np.all(finite >= 0) and np.allclose(sums, sums[0], rtol=_SUMS_AGREE, atol=0)
        kind = "probabilities" if same_sums and sums[0] > 0 else "logits"
        if kind == "probabilities":
            scores = scores / scores.sum(axis=-1, keepdims=True)
    return Head(predicted, scores, kind, class_names)


def as_float(values: np.ndarray) -> np.ndarray:
    """Converts to float32; keeps float64."""
    return values.astype(np.float64 if values.dtype == np.float64 else np.float32, copy=False)


def describe_value(value: object, depth: int = 2) -> str:
    """Describes a value for an error message: dtype and shape, or the elements of a short list."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, list | tuple) and len(value) <= 4 and depth:
        return f"({', '.join(describe_value(one, depth - 1) for one in value)})"
    return type(value).__name__
