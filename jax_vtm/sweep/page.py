"""The page of a sweep: accuracy over cost of every run, and the Pareto fronts."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import Column, Figure, Interval, Page, Table, headline, plots, runs
from jax_vtm.reports.equal_cost import curves, mac_table, pareto_front, random_drop_remark, series_name, speed_table
from jax_vtm.reports.formatting import TIMES, is_known, metric_label, plural
from jax_vtm.reports.page import Section, sections_page

Results = Mapping[str, Any]
Run = Mapping[str, Any]

_COLOURS = {"none": 0, "merge": 1, "drop": 2, "hybrid": 3, "random_merge": 4, "random_drop": 5}
_INPUT_COLOURS = {"run_length": 3, "random": 4, "uniform": 2}
_MARKERS = ("unmerged", "constant", "decreasing", "increasing", "list", "fewer patches")
_FRONT = Column("front", "front", note="Costs in which no run of at least the same accuracy is better.")
_COSTS = {
    "GMACs": ("arithmetic", "GMACs per clip", "Up and to the left is better."),
    "speed": ("speed", f"speed-up ({TIMES})", "Up and to the right is better."),
}


def sweep_page(results: Results) -> Page:
    """Makes the page from a sweep's `results.json`."""
    experiments = results["experiments"]
    several = len(experiments) > 1
    count = plural(sum(len(one["runs"]) for one in experiments), "run")
    sections, warnings = [], []
    for one in experiments:
        prefix = f"{one['name']}: " if several else ""
        fronts = {cost: _front(one, cost) for cost in _COSTS}
        table = _table(one, fronts, prefix)
        text = headline(one) if several else ""
        sections += [Section(f"{prefix}Accuracy and cost", text, _figures(one, fronts, prefix), table)]
        sections += _equal_cost(one, prefix)
        sections += runs.closing_sections(one, prefix)
        warnings += [f"{prefix}{warning}" for warning in runs.warnings(one)]
    return sections_page(
        {"name": results["name"], "measured": experiments[-1]["measured"]},
        "sweep",
        "" if several else experiments[0]["dataset"].get("description"),
        f"{len(experiments)} models and data sets, {count}." if several else headline(experiments[0]),
        warnings,
        sections,
    )


def _accuracies(experiment: Results) -> tuple[dict[str, Interval], str]:
    """Returns every run's accuracy, or agreement with the unmerged run, in percent, and its name."""
    key = runs.main_metric(experiment)
    if key:
        found = {run["name"]: Interval.of((run.get("metrics") or {}).get(key)) for run in experiment["runs"]}
        return {name: value.scaled(100) for name, value in found.items() if is_known(value.value)}, metric_label(key)
    shares = {entry["run"]: entry["agreement"] for entry in experiment["comparison"]}
    shares |= {run["name"]: 1.0 for run in experiment["runs"] if run["reduction"]["mode"] == "none"}
    return {name: Interval(100 * share) for name, share in shares.items()}, "agreement with unmerged"


def _costs(experiment: Results, cost: str) -> dict[str, float]:
    """Returns a cost by run; of "speed", more is better."""
    if cost == "GMACs":
        return {run["name"]: run["macs_per_clip"] / 1e9 for run in experiment["runs"]}
    speeds = {run["name"]: runs.timing(run, experiment).get("speedup") for run in experiment["runs"]}
    return {name: speed for name, speed in speeds.items() if is_known(speed)}


def _front(experiment: Results, cost: str) -> list[str]:
    """Returns the names of the runs on the Pareto front, the cheapest first."""
    values, _ = _accuracies(experiment)
    sign = -1 if cost == "speed" else 1
    costs = [(name, sign * value) for name, value in _costs(experiment, cost).items() if name in values]
    return [costs[number][0] for number in pareto_front([(value, values[name].value) for name, value in costs])]


def at_equal_macs(experiment: Results, prefix: str = "") -> Table:
    """Makes the table of accuracies at shares of the MACs."""
    values, label = _accuracies(experiment)
    shares = {run["name"]: run["mac_ratio"] for run in experiment["runs"]}
    return mac_table(curves(experiment["runs"], values, shares), f"{prefix}{label[0].upper()}{label[1:]} at equal MACs")


def _equal_cost(experiment: Results, prefix: str) -> list[Section]:
    values, label = _accuracies(experiment)
    by_speed = curves(experiment["runs"], values, _costs(experiment, "speed"))
    title = f"{prefix}{label[0].upper()}{label[1:]} at equal speed"
    by_macs = at_equal_macs(experiment, prefix)
    between = "Between the runs of a series, on the straight line between the two nearest ones, intervals too; "
    missing = "empty where no two runs lie around it."
    return [
        Section(
            by_macs.title,
            random_drop_remark(experiment["runs"]),
            table=by_macs,
            caption=f"At ratios of the MACs to the unmerged model's. {between}{missing}" if by_macs.rows else "",
        ),
        Section(
            title,
            table=speed_table(by_speed, title),
            caption=f"At speed-ups measured here. {between}{missing}" if by_speed else "",
        ),
    ]


def _figures(experiment: Results, fronts: Mapping[str, Sequence[str]], prefix: str) -> list[Figure]:
    values, label = _accuracies(experiment)
    figures = []
    for cost, (title, x_label, better) in _COSTS.items():
        costs = _costs(experiment, cost)
        by_name = {run["name"]: run for run in experiment["runs"] if run["name"] in values and run["name"] in costs}
        if len(by_name) < 2:
            continue
        schedules = {_schedule(run["reduction"]) for run in by_name.values()} - {"unmerged"}
        members: dict[str, list[str]] = {}
        for run in by_name.values():
            members.setdefault(series_name(run), []).append(run["name"])
        series, looks = [], set()
        for text, names in members.items():
            reduction = by_name[names[0]]["reduction"]
            kept = reduction.get("input")
            colour = _INPUT_COLOURS[kept["by"]] if kept else _COLOURS[_last(reduction["mode"])]
            marker = _MARKERS.index(_schedule(reduction)) if len(schedules) > 1 else colour
            # Series of one mode and schedule, such as of another mean, have marks of their own.
            others = ((marker + step) % len(_MARKERS) for step in range(len(_MARKERS)))
            marker = next((one for one in others if (colour, one) not in looks), marker)
            looks.add((colour, marker))
            xs, ys = [costs[one] for one in names], [values[one] for one in names]
            series.append(plots.Series(text, xs, ys, colour, marker=marker))
        front = [(costs[one], values[one], _r_label(by_name[one])) for one in fronts[cost]]
        labelled = " Labels on the front are r." if any(text for *_, text in front) else ""
        figures.append(
            plots.scatter(
                f"{prefix}{label} over {title}",
                f"{label[0].upper()}{label[1:]} over {title}",
                series,
                front,
                f"{better} Thin lines join the runs of a series; the band has the front's intervals.{labelled}",
                x_label=x_label,
                y_label=f"{label} (%)",
            )
        )
    return figures


def _r_label(run: Run) -> str:
    r = run["reduction"]["r"]
    return str(r) if isinstance(r, int) and r else ""


def _schedule(reduction: Mapping[str, Any]) -> str:
    if reduction["mode"] == "none":
        return "unmerged"
    if reduction.get("input") and not reduction["r"]:
        return "fewer patches"
    if not isinstance(reduction["r"], int) or not isinstance(reduction["mode"], str):
        return "list"
    slope = reduction["inflection"]
    return "constant" if slope == 0 else "decreasing" if slope < 0 else "increasing"


def _last(mode: str | Sequence[str]) -> str:
    return mode if isinstance(mode, str) else mode[-1]


def _table(experiment: Results, fronts: Mapping[str, Sequence[str]], prefix: str) -> Table:
    table = runs.runs_table(experiment)
    rows = [{**row, "front": [cost for cost, names in fronts.items() if row["run"] in names]} for row in table.rows]
    return Table(f"{prefix}Every run", [*table.columns[:-1], _FRONT, table.columns[-1]], rows)
