"""Statistics of two predictions of the same videos."""

import math

import numpy as np
from jaxtyping import Float

RESAMPLES = 10_000


def mcnemar_exact(only_ours: int, only_theirs: int) -> float:
    """Returns the two-sided p-value of McNemar's exact test on the videos that only one of the two gets right.

    If neither were better, each of them would be a toss of a fair coin. The p-value is the probability of a split at
    least as uneven as the one found.
    """
    from scipy.stats import binomtest

    tosses = only_ours + only_theirs
    return float(binomtest(only_ours, tosses).pvalue) if tosses else 1.0


def bootstrap_difference(
    only_ours: int, only_theirs: int, count: int, *, seed: int, resamples: int = RESAMPLES
) -> dict[str, float]:
    """Returns the difference of two accuracies, ours less theirs, with a 95 % bootstrap interval.

    All that the difference in a set of videos drawn with replacement depends on is how many of them only one of the two
    gets right, so those numbers are drawn directly. (SciPy's bootstrap draws the videos, 20,000 numbers where three
    will do.)

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

    Returns:
        {"mean", "largest"}: absolute differences; {"video", "class"}: where the largest is, -1 where no video is left;
        {"n_without"}: videos that are left out, since they have a score that is not a number, in either.
    """
    differences = np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))
    finite = np.isfinite(differences).all(axis=-1)
    without = int(np.sum(~finite))
    if not finite.any():
        return {"mean": math.nan, "largest": math.nan, "video": -1, "class": -1, "n_without": without}
    differences[~finite] = -1
    video, place = (int(index) for index in np.unravel_index(np.argmax(differences), differences.shape))
    mean, largest = float(differences[finite].mean()), float(differences[video, place])
    return {"mean": mean, "largest": largest, "video": video, "class": place, "n_without": without}
