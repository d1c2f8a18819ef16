"""Accuracies with their intervals, from counts; and the paired difference of two runs on the same videos."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

# Two-sided 95 %.
Z = 1.959963984540054

# Below this many classes a top-5 accuracy says little.
TOP5_MIN_CLASSES = 20


def proportion(correct: int, count: int) -> dict[str, float | int]:
    """Returns a share with its 95 % Wilson interval.

    The interval takes the videos for independent draws.

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
    logits: Mapping[str, Float[np.ndarray, "n _"]], labels: Mapping[str, Int[np.ndarray, " n"]]
) -> dict[str, np.ndarray]:
    """Says per metric which videos are right.

    Metrics are "<head>/top1" and, from 20 classes on, "<head>/top5"; with several heads also "action/top1": all
    heads right, as EPIC-KITCHENS counts actions. Equal logits are decided for the lowest class.

    Returns:
        {metric: bool [n]}, for the heads that have labels.
    """
    right = {}
    for head in logits:
        if head not in labels:
            continue
        target = labels[head]
        right[f"{head}/top1"] = top_k_correct(logits[head], target, 1)
        if logits[head].shape[-1] >= TOP5_MIN_CLASSES:
            right[f"{head}/top5"] = top_k_correct(logits[head], target, 5)
    if len(logits) > 1 and set(logits) <= set(labels):
        right["action/top1"] = np.all([right[f"{head}/top1"] for head in logits], axis=0)
    return right


def top_k_correct(logits: Float[np.ndarray, "n K"], labels: Int[np.ndarray, " n"], k: int) -> Bool[np.ndarray, " n"]:
    """Says for which videos the label is among the k highest logits; the lowest class wins a tie."""
    best = np.argsort(-logits, axis=-1, kind="stable")[:, :k]
    return np.any(best == labels[:, None], axis=-1)


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


def agreement(logits: Mapping[str, Float[np.ndarray, "n _"]], other: Mapping[str, Float[np.ndarray, "n _"]]) -> float:
    """Returns the share of videos for which two runs predict the same class in every head."""
    same = [np.argmax(logits[head], axis=-1) == np.argmax(other[head], axis=-1) for head in logits]
    return float(np.mean(np.all(same, axis=0)))
