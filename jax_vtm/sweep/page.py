"""The page of a sweep: what each reduction saves and costs, and which are worth having."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jax_vtm.reports import Column, Figure, Interval, Page, Picture, Table, headline, plots, render_page, runs
from jax_vtm.reports.formatting import TIMES, counted, known, metric_label
from jax_vtm.reports.page import date
from jax_vtm.sweep.one_layer_section import one_layer_answer, one_layer_section
from jax_vtm.sweep.pareto import pareto_front

_COLOURS = {"none": 0, "merge": 1, "drop": 2, "hybrid": 3, "random_merge": 4, "random_drop": 5}
_MARKERS = ("unmerged", "constant", "decreasing", "increasing", "list")
_FRONT = Column("front", "front", note="The costs in which no other run is better at no less accuracy.")


def sweep_page(results: Mapping[str, Any], pictures: Mapping[str, Picture] = MappingProxyType({})) -> Page:
    """Makes the page.

    Args:
        results: What a sweep's `results.json` holds; each cell has the form of an evaluation's.
        pictures: By the cells' names, what single layers make of a clip.
    """
    cells = results["cells"]
    several = len(cells) > 1
    every = counted(sum(len(one["runs"]) for one in cells), "run")
    return render_page(
        "sweep/page.html.j2",
        title=str(results["name"]),
        kind="sweep",
        eyebrow=[
            results["name"],
            "" if several else cells[0]["dataset"].get("description"),
            date(cells[-1]["measured"].get("created")),
        ],
        headline=f"{len(cells)} models and data sets, {every}." if several else cell_headline(cells[0]),
        warnings=[
            f"{one['name']}: {warning}" if several else warning for one in cells for warning in runs.warnings(one)
        ],
        cells=[_cell(one, pictures.get(one["name"]), several) for one in cells],
    )


def cell_headline(cell: Mapping[str, Any]) -> str:
    """What stands out of one model on one data set."""
    return one_layer_answer(cell) or headline(cell)


def _cell(cell: Mapping[str, Any], picture: Picture | None, several: bool) -> dict[str, Any]:
    name = f"{cell['name']}: " if several else ""
    return {
        "name": name,
        "headline": cell_headline(cell) if several else "",
        "one_layer": one_layer_section(cell, name, picture),
        "figures": _figures(cell, name),
        "runs": _table(cell, name),
        "failures": runs.failures_table(cell),
        # Compiling and running times of every run would fill pages.
        "facts": runs.measured_facts({**cell, "runs": []}),
    }


def measured_values(cell: Mapping[str, Any]) -> tuple[dict[str, Interval], str]:
    """Accuracy of every run in percent, or how often it agrees with the unmerged model; and what it is called."""
    key = runs.main_metric(cell)
    if key:
        found = {run["name"]: Interval.of((run.get("metrics") or {}).get(key)) for run in cell["runs"]}
        return {name: value.scaled(100) for name, value in found.items() if known(value.value)}, metric_label(key)
    shares = {entry["run"]: entry["agreement"] for entry in cell["comparison"]}
    shares |= {run["name"]: 1.0 for run in cell["runs"] if runs.mode(run) == "none"}
    return {name: Interval(100 * share) for name, share in shares.items()}, "agreement with unmerged"


def _costs(cell: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """{cost: {run: value}} of the runs whose value is known; of speed, more is better."""
    speeds = {run["name"]: runs.timing(run, cell).get("speedup") for run in cell["runs"]}
    return {
        "GMACs": {run["name"]: run["macs_per_clip"] / 1e9 for run in cell["runs"]},
        "speed": {name: speed for name, speed in speeds.items() if known(speed)},
    }


def _front(cell: Mapping[str, Any], cost: str) -> list[str]:
    """Names of the runs on the Pareto front of a cost, from the cheapest on."""
    values, _ = measured_values(cell)
    sign = -1 if cost == "speed" else 1
    costs = [(name, sign * value) for name, value in _costs(cell)[cost].items() if name in values]
    return [costs[number][0] for number in pareto_front([(value, values[name].value) for name, value in costs])]


def _figures(cell: Mapping[str, Any], name: str) -> list[Figure]:
    values, label = measured_values(cell)
    if len(values) < 2:
        return []
    shown = {
        "GMACs": ("arithmetic", "GMACs per clip", "Up and to the left is better."),
        "speed": ("speed", f"speed-up ({TIMES})", "Up and to the right is better."),
    }
    figures = []
    for cost, (title, x_label, better) in shown.items():
        costs = _costs(cell)[cost]
        by_name = {run["name"]: run for run in cell["runs"] if run["name"] in values and run["name"] in costs}
        schedules = {schedule(run["reduction"]) for run in by_name.values()} - {"unmerged"}
        series: dict[str, list[str]] = {}
        for run in by_name.values():
            series.setdefault(_series(run), []).append(run["name"])
        front = [(costs[one], values[one].value, _amount(by_name[one])) for one in _front(cell, cost)]
        written = " On the front, r is written." if any(amount for *_, amount in front) else ""
        if len(by_name) > 1:
            figures.append(
                plots.scatter(
                    f"{name}{label} over {title}",
                    f"{label[0].upper()}{label[1:]} over {title}",
                    [
                        plots.Series(
                            text,
                            [costs[one] for one in members],
                            [values[one] for one in members],
                            _COLOURS[by_name[members[0]]["reduction"]["mode"]],
                            marker=_marker(by_name[members[0]], number, schedules),
                        )
                        for number, (text, members) in enumerate(series.items())
                    ],
                    front,
                    f"{better} Thin lines join runs that differ in r alone, or in the layer.{written}",
                    x_label=x_label,
                    y_label=f"{label} (%)",
                )
            )
    return figures


def _series(run: Mapping[str, Any]) -> str:
    """What a run has in common with those that differ from it in r alone, or in the one layer that reduces."""
    if alone := run.get("one_layer"):
        return f"{runs.mode(run)} in one layer, {alone['times']} times"
    r = run["reduction"]["r"]
    return (run["name"].replace(f" r={r}", "") if isinstance(r, int) else run["name"]).replace("_", " ")


def _marker(run: Mapping[str, Any], number: int, schedules: set[str]) -> int:
    """By schedule; where all have the same one, by mode. Series of single layers differ by their number."""
    if run.get("one_layer"):
        return number
    return _MARKERS.index(schedule(run["reduction"])) if len(schedules) > 1 else _COLOURS[run["reduction"]["mode"]]


def _amount(run: Mapping[str, Any]) -> str:
    r = run["reduction"]["r"]
    return str(r) if isinstance(r, int) and runs.mode(run) != "none" else ""


def schedule(reduction: Mapping[str, Any]) -> str:
    """What a reduction's tokens per layer do from layer to layer, as the figures' marks have it."""
    if reduction["mode"] == "none":
        return "unmerged"
    if not isinstance(reduction["r"], int):
        return "list"
    slope = reduction["inflection"]
    return "constant" if slope == 0 else "decreasing" if slope < 0 else "increasing"


def _table(cell: Mapping[str, Any], name: str) -> Table:
    table = runs.runs_table(cell)
    fronts = {cost: _front(cell, cost) for cost in _costs(cell)}
    rows = [{**row, "front": [cost for cost, names in fronts.items() if row["run"] in names]} for row in table.rows]
    return Table(f"{name}Every run", [*table.columns[:-1], _FRONT, table.columns[-1]], rows)
