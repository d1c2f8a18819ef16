"""Which videos are right, by every definition in use; shares with intervals; what two runs have in common."""

import functools
import math
from collections.abc import Collection, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

# What a reader calls them; in results they are "HEAD/METRIC", and "action/METRIC" of all heads together.
METRICS = {"top1": "top-1", "top5": "top-5", "top5_each": "top-5, each head", "top5_joint": "top-5, joint"}

# Two-sided 95 %.
Z = 1.959963984540054

# A label is always among the five best of five classes. Scenic draws the line here, too.
TOP5_MIN_CLASSES = 6

# Pairs of classes that are ranked at once: 97 verbs x 300 nouns for a few hundred videos.
PAIRS_AT_ONCE = 2**23


def proportion(correct: int, count: int) -> dict[str, float | int]:
    """Returns a share with its 95 % Wilson interval.

    The interval takes the videos for independent draws. It is SciPy's to the last digit but one; its import alone
    would take most of a second.

    Returns:
        {"correct", "count", "value", "low", "high"}; the last three are NaN where nothing was counted.
    """
    if count == 0:
        return {"correct": 0, "count": 0, "value": math.nan, "low": math.nan, "high": math.nan}
    value = correct / count
    centre = (value + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(value * (1 - value) / count + Z**2 / (4 * count**2))
    return {
        "correct": int(correct),
        "count": int(count),
        "value": value,
        "low": max(0.0, centre - half),
        "high": min(1.0, centre + half),
    }


def correct_predictions(
    scores: Mapping[str, Float[np.ndarray, "n _"]],
    probabilities: Mapping[str, Float[np.ndarray, "n _"]],
    labels: Mapping[str, Int[np.ndarray, " n"]],
) -> dict[str, Bool[np.ndarray, " n"]]:
    """Says per metric which videos are right.

    - `<head>/top1`, `<head>/top5`: the label is among the 1 or 5 highest scores of the head.
    - `action/top1`: every head's top-1 is right. The most likely pair of classes is made of each head's most likely
      class, so this is Scenic's joint top-1, too.
    - `action/top5_each`: every head's label is among its own five, as the PyTorch reference counts.
    - `action/top5_joint`: the labels are one of the five most likely combinations, as Scenic counts. It asks for
      more, so it is never above `top5_each`.

    A top-5 is left out where a head has five classes or fewer, and actions where a head has no labels. Equal scores are
    decided for the lowest class. A video whose scores hold a NaN is wrong in everything.

    Args:
        scores: Of each head; see `combine_views`.
        probabilities: The same as probabilities; see `as_probabilities`. Only joint predictions need them, since
            they compare across heads.
        labels: Of each labelled head.

    Returns:
        {metric: bool [n]}, for the heads that have labels.
    """
    known = [head for head in scores if head in labels]
    right = {}
    for head in known:
        right[f"{head}/top1"] = top_k_correct(scores[head], labels[head], 1)
        if _has_top5(scores[head]):
            right[f"{head}/top5"] = top_k_correct(scores[head], labels[head], 5)
    if len(known) == len(scores) > 1:
        right["action/top1"] = np.all([right[f"{head}/top1"] for head in known], axis=0)
        if all(_has_top5(scores[head]) for head in known):
            right["action/top5_each"] = np.all([right[f"{head}/top5"] for head in known], axis=0)
            right["action/top5_joint"] = joint_top_k_correct(probabilities, labels, 5)
    return right


def _has_top5(scores: Float[np.ndarray, "n K"]) -> bool:
    return scores.shape[-1] >= TOP5_MIN_CLASSES


def main_metric(metrics: Collection[str]) -> str:
    """The metric that runs are compared by: the top-1 of all heads together, else the first of these."""
    return "action/top1" if "action/top1" in metrics else next(iter(metrics))


def predicted_classes(scores: Float[np.ndarray, "n K"]) -> Int[np.ndarray, " n"]:
    """Returns each video's class of the highest score, the lowest of equals; -1, no class, where a score is NaN."""
    return np.where(np.isnan(scores).any(axis=-1), -1, np.argmax(scores, axis=-1))


def top_k_correct(scores: Float[np.ndarray, "n K"], labels: Int[np.ndarray, " n"], k: int) -> Bool[np.ndarray, " n"]:
    """Says for which videos the label is among the k highest scores; the lowest class wins a tie.

    It counts the classes that come before the label, which is much cheaper than sorting them.
    """
    own = np.take_along_axis(scores, labels[:, None], axis=-1)
    first_of_equals = (scores == own) & (np.arange(scores.shape[-1]) < labels[:, None])
    before = np.count_nonzero((scores > own) | first_of_equals, axis=-1)
    return (before < k) & ~np.isnan(scores).any(axis=-1)


def joint_probabilities(probabilities: Mapping[str, Float[np.ndarray, "n _"]]) -> Float[np.ndarray, "n _"]:
    """Returns the probability of every combination of one class per head, as if the heads were independent.

    The last head's class runs fastest: of nouns and verbs, noun * number of verbs + verb.
    """

    def joined(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return (left[:, :, None] * right[:, None, :]).reshape(len(left), -1)

    return functools.reduce(joined, probabilities.values())


def joint_top_k_correct(
    probabilities: Mapping[str, Float[np.ndarray, "n _"]], labels: Mapping[str, Int[np.ndarray, " n"]], k: int
) -> Bool[np.ndarray, " n"]:
    """Says for which videos the labels of all heads are together one of the k most likely combinations."""
    classes = [values.shape[-1] for values in probabilities.values()]
    count = len(next(iter(probabilities.values())))
    joint_labels = np.ravel_multi_index([labels[head] for head in probabilities], classes)
    right = np.zeros(count, bool)
    step = max(1, PAIRS_AT_ONCE // math.prod(classes))
    for start in range(0, count, step):
        part = slice(start, start + step)
        joint = joint_probabilities({head: values[part] for head, values in probabilities.items()})
        right[part] = top_k_correct(joint, joint_labels[part], k)
    return right


def paired_difference(right: np.ndarray, baseline_right: np.ndarray) -> dict[str, float]:
    """Returns how much the accuracy changes against a baseline on the same videos, with a 95 % interval.

    The interval is Wald's for paired proportions: it rests on the videos that only one of the two gets right.
    """
    count = len(right)
    gained = int(np.sum(right & ~baseline_right))
    lost = int(np.sum(~right & baseline_right))
    difference = (gained - lost) / count
    half = Z * math.sqrt(max(gained + lost - (gained - lost) ** 2 / count, 0.0)) / count
    return {"difference": difference, "low": difference - half, "high": difference + half}


def agreement(scores: Mapping[str, Float[np.ndarray, "n _"]], other: Mapping[str, Float[np.ndarray, "n _"]]) -> float:
    """Returns the share of videos for which two runs predict the same class in every head."""
    same = [predicted_classes(scores[head]) == predicted_classes(other[head]) for head in scores]
    return float(np.mean(np.all(same, axis=0)))
