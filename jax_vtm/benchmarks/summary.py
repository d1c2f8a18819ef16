"""From seconds of every round to what is told of them: pure arithmetic.

Whatever compares two settings is a median over the rounds of what both took in the same round. A median of ratios is
not the ratio of medians; it is the one that a slow moment of the machine disturbs less.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median over rounds, and the quartiles around it.

    Attributes:
        median: Half of the rounds are below it.
        low: A quarter of the rounds is below it.
        high: A quarter of the rounds is above it.
        rounds: How many there were.
    """

    median: float
    low: float
    high: float
    rounds: int


def spread(values: Sequence[float]) -> Spread:
    """Returns median and quartiles, between two values by linear interpolation.

    Raises:
        ValueError: There are none.
    """
    if not len(values):
        raise ValueError("expected the values of at least one round")
    low, median, high = np.quantile(np.asarray(values, float), [0.25, 0.5, 0.75])
    return Spread(float(median), float(low), float(high), len(values))


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Divides round by round.

    Raises:
        ValueError: They are not of the same rounds.
    """
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def speed_up(baseline: Sequence[float], seconds: Sequence[float]) -> Spread:
    """Returns how many times as fast something is as its baseline."""
    return spread(ratios(baseline, seconds))


def mac_ratio(baseline_macs: float, macs: float) -> float:
    """Returns by how much the arithmetic becomes less, 2.5 for instance: the speed-up that it alone would explain."""
    return baseline_macs / macs


def percent_of_mac_ratio(baseline: Sequence[float], seconds: Sequence[float], ratio: float) -> Spread:
    """Returns the speed-up in percent of what the arithmetic explains: 100 where time falls as the arithmetic does."""
    return spread([100 * value / ratio for value in ratios(baseline, seconds)])


def share_of_peak(seconds: Sequence[float], macs: float, peak_seconds: Sequence[float], peak_macs: float) -> Spread:
    """Returns how much of the rate of one large matrix product, taken in the same rounds, is reached; 1 is all of it.

    Args:
        seconds: Of every round.
        macs: Multiply-accumulates done in that time.
        peak_seconds: Of the large product, in the same rounds.
        peak_macs: Its multiply-accumulates.
    """
    return spread([value * macs / peak_macs for value in ratios(peak_seconds, seconds)])


def time_share(whole: Sequence[float], without: Sequence[float]) -> Spread:
    """Returns which share of the whole's time is gone in a setting that leaves a part out; below 0 if it is slower."""
    return spread([1 - value for value in ratios(without, whole)])
