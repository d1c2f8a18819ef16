"""What compared runs reach at equal MACs, and at equal measured speed: a part of `compare.json`, and its sections."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.comparison.predictions import Predictions
from jax_vtm.reports import Figure, Interval, plots
from jax_vtm.reports.equal_cost import (
    MAC_SHARES,
    Curve,
    at_cost,
    curves,
    mac_table,
    pareto_front,
    random_drop_remark,
    series_name,
    speed_table,
)
from jax_vtm.reports.formatting import metric_label, shortened
from jax_vtm.reports.page import Section

MOST_SAID = 4  # curves in the sentence
HOW = "--config.reduction.mode=random_drop"

Results = Mapping[str, Any]


def equal_cost(metric: str | None, sides: Sequence[tuple[str, Predictions, Mapping[str, Results]]]) -> Results | None:
    """Collects what runs cost and reach; None where fewer than two runs have both.

    Args:
        metric: That is compared; None without labels.
        sides: Of every file, what its runs are marked with, its content, and the accuracies of its runs on the compared
            videos. Only runs of one file were timed in turn, so that with two nothing is said of speed.
    """
    runs = []
    for mark, predictions, accuracies in sides:
        for run, accuracy in accuracies.items():
            if cost := predictions.costs.get(run):
                timed = len(sides) == 1 and cost["speedup"] is not None
                speed = {"speedup": cost["speedup"]} if timed else {}
                series = {"series": f"{cost['series']}{mark}"} if cost.get("series") else {}
                about = {"reduction": cost["reduction"], "macs_per_clip": cost["macs_per_clip"], **series, **speed}
                runs.append({"name": f"{run}{mark}", "of": mark, **about, "accuracy": accuracy})
    if metric is None or len(runs) < 2:
        return None
    whole = max(runs, key=lambda run: run["macs_per_clip"])
    for run in runs:
        run["mac_share"] = run["macs_per_clip"] / whole["macs_per_clip"]
    front = pareto_front([(run["mac_share"], run["accuracy"]["value"]) for run in runs])
    return {"metric": metric, "whole": whole["name"], "runs": runs, "front": [runs[place]["name"] for place in front]}


def _curves(found: Results, cost: str) -> dict[str, Curve]:
    """Joins the runs of each side that differ only in r; a single one is joined to that side's unmerged run."""
    known = [run for run in found["runs"] if cost in run]
    values = {run["name"]: Interval.of(run["accuracy"]).scaled(100) for run in known}
    costs = {run["name"]: run[cost] for run in known}
    joined: dict[str, Curve] = {}
    for side in dict.fromkeys(run["of"] for run in known):
        joined |= curves([run for run in known if run["of"] == side], values, costs, fewest=1)
    return {name: curve for name, curve in joined.items() if len(curve) > 1}


def equal_cost_text(found: Results | None) -> str:
    """Says what each curve reaches at the fewest MACs that all of them go down to; empty without two curves."""
    by_macs = _curves(found, "mac_share") if found else {}
    share = _shared(by_macs)
    if not found or len(by_macs) < 2 or share is None:
        return ""
    read = {name: value for name, curve in by_macs.items() if (value := at_cost(curve, share))}
    best = sorted(read.items(), key=lambda one: -one[1].value)[:MOST_SAID]
    parts = [f"{shortened(name)} {v.value:.1f} % [{v.low:.1f}, {v.high:.1f}]" for name, v in best]
    more = f"; {len(read) - len(best)} more are lower" if len(read) > len(best) else ""
    return f"{metric_label(found['metric']).capitalize()} at {100 * share:.0f} % of the MACs: {', '.join(parts)}{more}."


def _shared(found: Mapping[str, Curve]) -> float | None:
    low = max((curve[0][0] for curve in found.values()), default=1.0)
    return low if all(low <= curve[-1][0] for curve in found.values()) else None


def equal_cost_sections(found: Results | None) -> list[Section]:
    """Makes the sections of the page: tables at equal MACs and speed, and accuracy over MACs with its front."""
    if not found:
        return []
    by_macs, by_speed = _curves(found, "mac_share"), _curves(found, "speedup")
    label = metric_label(found["metric"]).capitalize()
    between = "Between runs that differ only in r, or from one to its unmerged run, on the straight line."
    share = _shared(by_macs)
    shares: dict[str, float] = {f"{one:.2f}": one for one in (*MAC_SHARES, *([share] if share else []))}
    remark = random_drop_remark(found["runs"], HOW)
    title = f"{label} at equal"
    return [
        Section(
            f"{title} MACs",
            " ".join(filter(None, (equal_cost_text(found), remark))),
            [_figure(found, label)],
            mac_table(by_macs, f"{title} MACs", sorted(shares.values(), reverse=True)),
            caption=f"As shares of the MACs of {shortened(found['whole'])}. {between}",
        ),
        Section(
            f"{title} speed",
            table=speed_table(by_speed, f"{title} speed"),
            caption=f"At speed-ups measured in turn. {between}" if by_speed else "",
        ),
    ]


def _figure(found: Results, label: str) -> Figure:
    members: dict[str, list[Results]] = {}
    for run in found["runs"]:
        members.setdefault(series_name(run), []).append(run)
    by_name = {run["name"]: run for run in found["runs"]}
    accuracies = {name: Interval.of(run["accuracy"]).scaled(100) for name, run in by_name.items()}
    series = [
        plots.Series(name, [r["mac_share"] for r in runs], [accuracies[r["name"]] for r in runs], number, marker=number)
        for number, (name, runs) in enumerate(members.items())
    ]
    front = [(by_name[name]["mac_share"], accuracies[name], "") for name in found["front"]]
    lines = "Thin lines join runs that differ only in r; the band has the front's intervals."
    axes = {"x_label": f"share of the MACs of {shortened(found['whole'])}", "y_label": f"{label} (%)"}
    return plots.scatter(
        f"{label} over MACs", f"{label} over MACs", series, front, f"Up and to the left is better. {lines}", **axes
    )
