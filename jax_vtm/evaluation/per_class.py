"""What becomes of every class: its share of right predictions, and what it is taken for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int


def confusion_matrix(
    predicted: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], num_classes: int
) -> Int[np.ndarray, "K K"]:
    """Counts videos by true class (rows) and predicted class (columns).

    Videos without a prediction (-1, see `predicted_classes`) are in no column, so a row can sum to less than its
    class has videos.
    """
    matrix = np.zeros((num_classes, num_classes), np.int64)
    made = predicted >= 0
    np.add.at(matrix, (labels[made], predicted[made]), 1)
    return matrix


def class_counts(
    predicted: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], num_classes: int, names: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Returns one row for every class, in the order of their indices.

    Args:
        predicted: As `predicted_classes` returns them.
        labels: Of the same videos.
        num_classes: How many rows there are.
        names: Of the classes, if they are known.

    Returns:
        [{"class", "name", "count", "predicted", "correct", "accuracy"}]: the index; its name, where there are names;
        how many videos are of the class, are predicted as it, and both; and the share of its videos that are
        predicted right, None for a class without videos.
    """
    count = np.bincount(labels, minlength=num_classes).tolist()
    guessed = np.bincount(predicted[predicted >= 0], minlength=num_classes).tolist()
    correct = np.bincount(labels[predicted == labels], minlength=num_classes).tolist()
    return [
        {
            "class": index,
            **({"name": names[index]} if names else {}),
            "count": count[index],
            "predicted": guessed[index],
            "correct": correct[index],
            "accuracy": _share(correct[index], count[index]),
        }
        for index in range(num_classes)
    ]


def class_means(classes: Sequence[Mapping[str, Any]]) -> dict[str, float | int | None]:
    """Averages over classes, so that a rare class counts as much as a common one.

    A mean leaves out the classes for which its share is not defined, as Scenic's do: those without videos, in
    `precision` those never predicted, in `jaccard` those with neither.

    Args:
        classes: As `class_counts` returns them.

    Returns:
        `accuracy` (recall by another name): of the class's videos, the share that is predicted as it. `precision`: of
        the videos predicted as it, the share that belongs to it. `jaccard`: of all these together, the share that is
        both. None where no class has one. `classes`: how many have videos, and `classes_without_videos`.
    """
    with_videos = sum(row["count"] > 0 for row in classes)
    return {
        "accuracy": _mean([_share(row["correct"], row["count"]) for row in classes]),
        "precision": _mean([_share(row["correct"], row["predicted"]) for row in classes]),
        "jaccard": _mean([_share(row["correct"], row["count"] + row["predicted"] - row["correct"]) for row in classes]),
        "classes": with_videos,
        "classes_without_videos": len(classes) - with_videos,
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(shares: Sequence[float | None]) -> float | None:
    defined = [share for share in shares if share is not None]
    return sum(defined) / len(defined) if defined else None
