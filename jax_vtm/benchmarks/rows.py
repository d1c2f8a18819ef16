"""One row per setting: what it is, what it computes, how fast it was, and how much of the arithmetic's gain arrives."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jax_vtm.benchmarks.grid import OURS, Setting
from jax_vtm.benchmarks.summary import (
    Spread,
    mac_ratio,
    percent_of_mac_ratio,
    ratios,
    share_of_peak,
    speed_up,
    spread,
    time_share,
)
from jax_vtm.models.macs import Macs

Seconds = Mapping[str, Sequence[float]]
"""By level, seconds of one call in every round."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What is known of a setting after some rounds.

    Attributes:
        setting: Which.
        facts: As its row has them.
        seconds: By level.
        clips: By level, clips that a call sees.
        repeats: By level, calls in a round.
        reason: Why it was not measured; empty where it was.
        logits: By head, what it says of the common clips.
    """

    setting: Setting
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seconds: Seconds = dataclasses.field(default_factory=dict)
    clips: Mapping[str, int] = dataclasses.field(default_factory=dict)
    repeats: Mapping[str, int] = dataclasses.field(default_factory=dict)
    reason: str = ""
    logits: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class PeakSeconds:
    """One of the machine's peaks: how much is done at once, and seconds of every round."""

    description: str
    amount: int
    unit: str
    seconds: Sequence[float]


def macs_of(setting: Setting) -> Macs:
    """Multiply-accumulates of one clip; keeping the first tokens takes no matching."""
    macs = setting.model.macs
    return dataclasses.replace(macs, matching=0) if setting.sliced else macs


def rows(measurements: Sequence[Measurement], peaks: Mapping[str, PeakSeconds]) -> list[dict[str, Any]]:
    """Returns a row per setting, in their order.

    Args:
        measurements: Of all settings.
        peaks: The matrix products by dtype, with the same rounds.
    """
    return [_row(one, measurements, peaks.get(one.setting.fields["dtype"])) for one in measurements]


def peak_rows(peaks: Mapping[str, PeakSeconds]) -> list[dict[str, Any]]:
    """Returns what the machine's peaks came to, per second."""
    return [
        {
            "name": name,
            "description": peak.description,
            "unit": peak.unit,
            "per_s": _as_dict(spread([peak.amount / seconds for seconds in peak.seconds])),
        }
        for name, peak in peaks.items()
        if peak.seconds
    ]


def _row(one: Measurement, everything: Sequence[Measurement], peak: PeakSeconds | None) -> dict[str, Any]:
    setting, macs = one.setting, macs_of(one.setting)
    baseline = _first(everything, lambda other: other.setting.is_baseline and other.setting.group == setting.group)
    whole = _first(
        everything,
        lambda other: (
            setting.sliced
            and not other.setting.sliced
            and other.setting.group == setting.group
            and other.setting.reduction == setting.reduction
        ),
    )
    less = mac_ratio(macs_of(baseline.setting).total, macs.total) if baseline else None
    fields = setting.fields
    return {
        "name": setting.name,
        "status": "not measured" if one.reason else "measured",
        "reason": one.reason,
        "implementation": setting.implementation,
        "batch": setting.batch,
        "sliced": setting.sliced,
        "model": fields,
        "reduction": dataclasses.asdict(setting.reduction),
        "input_shape": list(setting.model.input_shape),
        "tokens_per_layer": list(setting.model.tokens_per_layer),
        "macs_per_clip": macs.total,
        "flop_per_clip": 2 * macs.total,
        "macs_by_part": dataclasses.asdict(macs),
        "baseline": baseline.setting.name if baseline else None,
        "mac_ratio": less,
        **one.facts,
        "levels": {
            level: _level(one, level, baseline, whole, less, peak) for level, seconds in one.seconds.items() if seconds
        },
        "beside": _beside(one, everything),
    }


def _level(
    one: Measurement,
    level: str,
    baseline: Measurement | None,
    whole: Measurement | None,
    less: float | None,
    peak: PeakSeconds | None,
) -> dict[str, Any]:
    seconds, clips = one.seconds[level], one.clips[level]
    per_clip = [value / clips for value in seconds]
    found: dict[str, Any] = {
        "seconds": list(seconds),
        "clips": clips,
        "repeats": one.repeats[level],
        "ms_per_clip": _as_dict(spread([1e3 * value for value in per_clip])),
        "clips_per_s": _as_dict(spread([1 / value for value in per_clip])),
    }
    if baseline and less is not None and len(baseline.seconds.get(level, ())) == len(seconds):
        reference = [value / baseline.clips[level] for value in baseline.seconds[level]]
        found["speed_up"] = _as_dict(speed_up(reference, per_clip))
        found["percent_of_mac_ratio"] = _as_dict(percent_of_mac_ratio(reference, per_clip, less))
    if peak and level == "model" and len(peak.seconds) == len(seconds):
        macs = macs_of(one.setting).total * clips
        found["share_of_peak"] = _as_dict(share_of_peak(seconds, macs, peak.seconds, peak.amount))
    if whole and len(whole.seconds.get(level, ())) == len(seconds):
        # Of the whole setting, of which this one is what is left without matching and merging.
        found["share_of_merging"] = _as_dict(time_share(whole.seconds[level], seconds))
    return found


def _beside(one: Measurement, everything: Sequence[Measurement]) -> dict[str, Any]:
    """Says of our own setting how many times as fast it is as others at the same work, and if they say the same."""
    if one.setting.implementation != OURS:
        return {}
    found = {}
    for other in everything:
        if other.setting.implementation == OURS or other.setting.task != one.setting.task:
            continue
        ours, theirs = one.seconds.get("model", ()), other.seconds.get("model", ())
        if ours and len(ours) == len(theirs):
            found[other.setting.implementation] = {
                "name": other.setting.name,
                "times_as_fast": _as_dict(spread(ratios(theirs, ours))),
                "largest_difference": _largest_difference(one.logits, other.logits),
            }
    return found


def _largest_difference(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """Returns the largest difference of logits, over the largest of ours."""
    largest = max(float(np.abs(values).max()) for values in ours.values())
    return max(float(np.abs(values - theirs[head]).max()) for head, values in ours.items()) / largest


def _first(everything: Sequence[Measurement], fits: Any) -> Measurement | None:
    return next((other for other in everything if fits(other)), None)


def _as_dict(value: Spread) -> dict[str, float]:
    return dataclasses.asdict(value)
