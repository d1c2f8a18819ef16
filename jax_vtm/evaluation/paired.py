"""Statistics of two predictions of the same videos."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

RESAMPLES = 10_000


def discordant(ours: Bool[np.ndarray, " n"], theirs: Bool[np.ndarray, " n"]) -> tuple[int, int]:
    """Counts the videos that only one of the two gets right: only ours, only theirs."""
    return int(np.sum(ours & ~theirs)), int(np.sum(~ours & theirs))


def mcnemar_exact(only_ours: int, only_theirs: int) -> float:
    """Returns the two-sided p-value of McNemar's exact test.

    If neither of the two were better, each video that only one of them gets right would be a toss of a fair coin. The
    p-value is the probability of a split at least as uneven as the one found; it is summed in whole numbers, so nothing
    is rounded before the end.

    Args:
        only_ours: Videos that only one of the two gets right.
        only_theirs: Videos that only the other gets right.
    """
    tosses = only_ours + only_theirs
    combinations = total = 1
    for heads in range(min(only_ours, only_theirs)):
        combinations = combinations * (tosses - heads) // (heads + 1)
        total += combinations
    return min(1.0, 2 * total / 2**tosses)


def bootstrap_difference(
    only_ours: int, only_theirs: int, count: int, *, seed: int, resamples: int = RESAMPLES
) -> dict[str, float]:
    """Returns the difference of two accuracies, ours less theirs, with a 95 % bootstrap interval.

    The interval holds the middle 95 % of the differences in as many sets of videos, each drawn with replacement from
    the given ones. All that a set's difference depends on is how many of its videos only one of the two gets right, so
    those numbers are drawn directly, which comes to the same.

    Args:
        only_ours: Videos that only we get right.
        only_theirs: Videos that only they get right.
        count: All videos.
        seed: The same seed gives the same interval.
        resamples: How many sets are drawn.

    Returns:
        {"difference", "low", "high"}; NaN of no videos.
    """
    if count == 0:
        return {"difference": math.nan, "low": math.nan, "high": math.nan}
    shares = np.array([only_ours, only_theirs, count - only_ours - only_theirs]) / count
    drawn = np.random.default_rng(seed).multinomial(count, shares, size=resamples)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / count, (0.025, 0.975))
    return {"difference": (only_ours - only_theirs) / count, "low": float(low), "high": float(high)}


def score_difference(ours: Float[np.ndarray, "n K"], theirs: Float[np.ndarray, "n K"]) -> dict[str, float | int]:
    """Says how far two sets of scores lie apart, over all videos and classes.

    Videos with a score that is not a number, in either, are left out and counted.

    Returns:
        {"mean", "largest"}: absolute differences, NaN where no video is left; {"video", "class"}: where the largest is,
        -1 where none is; {"n_without"}: how many videos are left out.
    """
    differences = np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))
    finite = np.isfinite(differences).all(axis=-1)
    without = int(np.sum(~finite))
    if not finite.any():
        return {"mean": math.nan, "largest": math.nan, "video": -1, "class": -1, "n_without": without}
    differences[~finite] = -1
    video, place = np.unravel_index(np.argmax(differences), differences.shape)
    return {
        "mean": float(differences[finite].mean()),
        "largest": float(differences[video, place]),
        "video": int(video),
        "class": int(place),
        "n_without": without,
    }


def same_predictions(
    ours: Mapping[str, Int[np.ndarray, " n"]], theirs: Mapping[str, Int[np.ndarray, " n"]]
) -> Bool[np.ndarray, " n"]:
    """Says for which videos the two predict the same class in every head."""
    return np.all([ours[head] == theirs[head] for head in ours], axis=0)
