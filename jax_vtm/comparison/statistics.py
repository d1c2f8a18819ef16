"""Paired statistics of two runs on the same videos."""

import math

import numpy as np
from jaxtyping import Float

RESAMPLES = 10_000


def mcnemar_exact(only_ours: int, only_theirs: int) -> float:
    """Returns the two-sided p-value of McNemar's exact test: a binomial test of the videos that one side gets right."""
    from scipy.stats import binomtest

    discordant = only_ours + only_theirs
    return float(binomtest(only_ours, discordant).pvalue) if discordant else 1.0


def bootstrap_difference(
    only_ours: int, only_theirs: int, count: int, *, seed: int, resamples: int = RESAMPLES
) -> dict[str, float]:
    """Returns the difference of two accuracies, ours minus theirs, with a 95 % bootstrap interval.

    A resample's difference depends only on the numbers of videos that one side alone gets right, so these are drawn
    from a multinomial. (SciPy's bootstrap draws every video.)

    Args:
        only_ours: Videos that only we get right.
        only_theirs: Videos that only they get right.
        count: All videos.
        seed: Of the resampling.
        resamples: Number of resamples.

    Returns:
        {"difference", "low", "high"}, NaN without videos.
    """
    if count == 0:
        return {"difference": math.nan, "low": math.nan, "high": math.nan}
    shares = np.array([only_ours, only_theirs, count - only_ours - only_theirs]) / count
    drawn = np.random.default_rng(seed).multinomial(count, shares, size=resamples)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / count, (0.025, 0.975))
    return {"difference": (only_ours - only_theirs) / count, "low": float(low), "high": float(high)}


def score_difference(ours: Float[np.ndarray, "n K"], theirs: Float[np.ndarray, "n K"]) -> dict[str, float | int]:
    """Returns the absolute differences of two sets of scores over all videos and classes.

    Returns:
        {"mean", "largest"}; {"video", "class"}: place of the largest, -1 without videos; {"n_without"}: videos left out
        because a score in either set is not finite.
    """
    differences = np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))
    finite = np.isfinite(differences).all(axis=-1)
    without = int(np.sum(~finite))
    if not finite.any():
        return {"mean": math.nan, "largest": math.nan, "video": -1, "class": -1, "n_without": without}
    differences[~finite] = -1
    video, class_ = (int(index) for index in np.unravel_index(np.argmax(differences), differences.shape))
    mean, largest = float(differences[finite].mean()), float(differences[video, class_])
    return {"mean": mean, "largest": largest, "video": video, "class": class_, "n_without": without}
