"""Ratios of sums over videos, such as a share of tokens, with bootstrap intervals."""

import math

import numpy as np
from jaxtyping import Float, Int

RESAMPLES = 1000
_AT_ONCE = 50

Counts = Float[np.ndarray, " n"] | Int[np.ndarray, " n"]


def ratio(part: Counts, whole: Counts) -> dict[str, float]:
    """Returns sum(part) / sum(whole) with a 95 % bootstrap interval over videos: {"value", "low", "high"}, or NaN."""
    values, drawn = _ratios(np.stack([part, whole], axis=-1)[:, None])
    return _summary(values[0], drawn[:, 0])


def ratio_difference(ours: tuple[Counts, Counts], theirs: tuple[Counts, Counts]) -> dict[str, float]:
    """Returns the difference of two ratios, each (part, whole), over the same videos with its interval."""
    values, drawn = _ratios(np.stack([np.stack(ours, axis=-1), np.stack(theirs, axis=-1)], axis=1))
    return _summary(values[0] - values[1], drawn[:, 0] - drawn[:, 1])


def _ratios(counts: Float[np.ndarray, "n k 2"]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k ratios over all videos, and over every resample."""
    count = len(counts)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES // _AT_ONCE if count else 0):
        times = rng.multinomial(count, np.full(count, 1 / count), size=_AT_ONCE)
        drawn.append(np.tensordot(times, counts, axes=1))
    sums = np.concatenate(drawn) if drawn else np.zeros((1, *counts.shape[1:]))
    return _divided(counts.sum(axis=0)), _divided(sums)


def _divided(sums: np.ndarray) -> np.ndarray:
    part, whole = sums[..., 0], sums[..., 1]
    return np.divide(part, whole, out=np.full(part.shape, math.nan), where=whole > 0)


def _summary(value: float, drawn: np.ndarray) -> dict[str, float]:
    finite = drawn[np.isfinite(drawn)]
    low, high = np.quantile(finite, (0.025, 0.975)) if len(finite) and math.isfinite(value) else (math.nan, math.nan)
    return {"value": float(value), "low": float(low), "high": float(high)}
