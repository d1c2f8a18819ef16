"""Accuracies at equal cost, read from curves between their runs.

A curve joins runs that differ only in r, or that a sweep names as one series, such as searched schedules. At equal r,
methods and schedules differ in what they cost, so that comparing them there misleads.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jax_vtm.reports.formatting import TIMES, ratio
from jax_vtm.reports.table import Column, Interval, Table

MAC_SHARES = (0.5, 0.4, 0.3, 0.2)
TOLERATED = 0.5  # points of accuracy
SPEEDUPS = (1.5, 2.0, 3.0)

Run = Mapping[str, Any]
Curve = Sequence[tuple[float, Interval]]


def series_name(run: Run) -> str:
    """Returns the series that a sweep puts a run in, or its name without its r, or without its number of patches."""
    if named := run.get("series"):
        return named
    r, kept, name = run["reduction"]["r"], run["reduction"].get("input"), run["name"]
    if kept and r == 0:
        name = name.replace(f"input {kept['keep']} by", "input by")
    return (name.replace(f" r={r}", "") if isinstance(r, int) else name).replace("_", " ")


def random_drop_remark(runs: Sequence[Run], how: str = "") -> str:
    """Says that random dropping, which a method has to beat, is not among the runs, and what adds it.

    Args:
        runs: The runs.
        how: What adds it; of a sweep if empty.
    """
    modes = [mode for mode in dict.fromkeys(_as_text(run["reduction"]["mode"]) for run in runs) if mode != "none"]
    if not modes or "random_drop" in modes:
        return ""
    how = how or f'--config.sweep.mode="{",".join([*modes, "random_drop"])}"'
    return f"Random dropping, which a method has to beat, is not among the runs: {how} adds it."


def _as_text(mode: str | Sequence[str]) -> str:
    return mode if isinstance(mode, str) else f"({','.join(mode)})"


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Finds the points (cost, gain) that no other beats in both, by rising cost; of equal points, only the first."""
    front: list[int] = []
    best = float("-inf")
    for number in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[number][1] > best:
            best = points[number][1]
            front.append(number)
    return front


def curves(
    runs: Sequence[Run], values: Mapping[str, Interval], costs: Mapping[str, float], fewest: int = 2
) -> dict[str, Curve]:
    """Joins runs that differ only in r, only in how many patches they keep, or are of one series, by rising cost.

    One end of each curve is its r = 0: the unmerged run, or the one that only keeps as few patches.

    Args:
        runs: The runs.
        values: Accuracies by run.
        costs: Costs by run, such as shares of the unmerged run's MACs.
        fewest: Reduced runs of different costs that a curve has at least, besides the end that it begins at.

    Returns:
        {name: [(cost, accuracy), ...]}; of equal costs the better one.
    """
    known = [run for run in runs if run["name"] in values and run["name"] in costs]
    ends = {str(run["reduction"].get("input")): run["name"] for run in known if run["reduction"]["r"] == 0}
    found: dict[str, dict[float, Interval]] = {}
    begun: dict[str, dict[float, Interval]] = {}
    for run in known:
        reduction, name = run["reduction"], series_name(run)
        if reduction["mode"] != "none":
            cost, value = costs[run["name"]], values[run["name"]]
            points = found.setdefault(name, {})
            points[cost] = max(points.get(cost, value), value)
            same_input = reduction["r"] and not run.get("series")
            end = ends.get(str(reduction.get("input") if same_input else None))
            begun[name] = {costs[end]: values[end]} if end else {}
    return {name: sorted((begun[name] | points).items()) for name, points in found.items() if len(points) >= fewest}


def at_cost(curve: Curve, cost: float) -> Interval | None:
    """Reads accuracy and interval at a cost on the straight line between the two nearest runs; None outside them."""
    costs = [one for one, _ in curve]
    if not costs[0] <= cost <= costs[-1]:
        return None
    return Interval(*(float(np.interp(cost, costs, part)) for part in zip(*(value for _, value in curve), strict=True)))


def least_cost(curve: Curve, value: float) -> float | None:
    """Returns the lowest cost at which a curve, on straight lines between its runs, reaches a value; None if it cannot.

    Where it falls and rises again, so that several costs reach it, the lowest counts.
    """
    if curve[0][1].value >= value:
        return curve[0][0]
    for (a, (low, *_)), (b, (high, *_)) in itertools.pairwise(curve):
        if low < value <= high:
            return a + (b - a) * (value - low) / (high - low)
    return None


def mean_over(curve: Curve, low: float, high: float) -> float:
    """Returns the area under the curve from one cost to another, over their distance: the mean accuracy."""
    inside = [cost for cost, _ in curve if low < cost < high]
    costs = np.array([low, *inside, high])
    values = np.interp(costs, [cost for cost, _ in curve], [value.value for _, value in curve])
    return float(np.sum(np.diff(costs) * (values[1:] + values[:-1]) / 2) / (high - low))


def mac_table(found: Mapping[str, Curve], title: str, shares: Sequence[float] = MAC_SHARES) -> Table:
    """Makes the table of accuracies, in percent, at shares of the unmerged model's MACs, and of their means.

    Args:
        found: `curves` over shares of the MACs.
        title: Of the table.
        shares: At which to read them.
    """
    low = max((curve[0][0] for curve in found.values()), default=1.0)
    high = min((curve[-1][0] for curve in found.values()), default=1.0)
    columns, rows = _table(found, {share: f"at {share:.2f}" for share in shares})
    if low < high:
        where = f"between {low:.2f} and {high:.2f} of the MACs, which all curves have"
        columns.append(Column("mean", "mean", "%", _tenths, f"Area under the curve: the mean accuracy {where}."))
        rows = [row | {"mean": mean_over(found[row["series"]], low, high)} for row in rows]
    if found:
        _, whole = max((curve[-1] for curve in found.values()), key=lambda end: end[0])
        least = [least_cost(curve, whole.value - TOLERATED) for curve in found.values()]
        note = f"Least share of the MACs at which at most {TOLERATED} points are lost, against the costliest run."
        columns.append(Column("least", f"-{TOLERATED} at", "", ratio, note))
        rows = [row | {"least": cost} for row, cost in zip(rows, least, strict=True)]
    return Table(title, columns, rows)


def speed_table(found: Mapping[str, Curve], title: str) -> Table:
    """Makes the table of accuracies, in percent, at measured speed-ups; arguments as of `mac_table`."""
    columns, rows = _table(found, {speed: f"at {speed:g}{TIMES}" for speed in SPEEDUPS})
    return Table(title, columns, rows)


def _table(found: Mapping[str, Curve], titles: Mapping[float, str]) -> tuple[list[Column], list[dict[str, Any]]]:
    rows = [
        {"series": name, **{title: value for cost, title in titles.items() if (value := at_cost(curve, cost))}}
        for name, curve in found.items()
    ]
    reached = [title for title in titles.values() if any(title in row for row in rows)]
    return [Column("series", "runs"), *(Column(title, title, "%", _tenths) for title in reached)], rows


def _tenths(value: float) -> str:
    return f"{value:.1f}"
