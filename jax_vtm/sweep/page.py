"""The results of a sweep as one HTML page: what each reduction saves and costs, and which are worth having."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jax_vtm.reports import wording
from jax_vtm.reports.document import document
from jax_vtm.reports.markup import cell, figure, nonbreaking, row_head, safe, section, table
from jax_vtm.reports.page import (
    column_facts,
    cost_cells,
    date,
    failure_table,
    measured_facts,
    metric_cells,
    picture_figure,
)
from jax_vtm.reports.picture import Picture
from jax_vtm.reports.scatter import Dot, scatter
from jax_vtm.sweep.one_layer_section import one_layer_answer, one_layer_section
from jax_vtm.sweep.pareto import pareto_front

# Settings that have a column where they differ between runs.
_SETTINGS = {
    "head_aggregation": "heads",
    "proportional_attention": "proportional attention",
    "threshold": "threshold",
    "layout": "layout",
    "repeat_layer": "layer, times",
}

_FRONT_CAPTION = (
    "The dashed line is the Pareto front: no other run is better in both. Its runs are numbered and named below. Thin "
    "lines join runs that differ in r alone. Neither axis starts at zero."
)
# The plots tell runs apart down to this many points below the unmerged one.
_LOSS_SHOWN = 10.0
_PLOTS_NOTE = (
    "The same r is not the same amount of work: a decreasing schedule removes tokens early, so that more layers are "
    "spared them, and an increasing one late."
)


@dataclasses.dataclass(frozen=True)
class _Measure:
    """What runs are compared in: a value in percent for every run, by name."""

    label: str
    values: Mapping[str, float]


def render_sweep(results: Mapping[str, Any], pictures: Mapping[str, Picture] = MappingProxyType({})) -> str:
    """One self-contained HTML page, like that of an evaluation.

    Args:
        results: What a sweep's `results.json` holds; each cell has the form of an evaluation's.
        pictures: By the cells' names, what single layers make of a clip.
    """
    cells = results["cells"]
    several = len(cells) > 1
    heading = (
        f"{len(cells)} models and data sets: {sum(len(one['runs']) for one in cells)} runs."
        if several
        else one_layer_answer(cells[0]) or wording.headline(cells[0])
    )
    warnings, sections = [], []
    for one in cells:
        name = f"{one['name']}: " if several else ""
        notes = (wording.failure_note(one), wording.prediction_note(one))
        warnings += [f"{name}{note}" for note in notes if note]
        answer = f"<p>{nonbreaking(wording.headline(one))}</p>\n" if several else ""
        picture = picture_figure(pictures[one["name"]]) if one["name"] in pictures else ""
        sections += [
            one_layer_section(one, f"{safe(name)}", picture),
            section(f"{safe(name)}Accuracy and cost", answer + _plots(one)),
            section(f"{safe(name)}Every run", _table(one)),
            section(f"{safe(name)}Videos that could not be read", failure_table(one)),
            # Compiling and running times of every run would fill pages.
            section(f"{safe(name)}How it was measured", measured_facts({**one, "runs": []})),
        ]
    sections.append(section("What the columns mean", column_facts(cells[0])))
    name = str(results["name"])
    created = date(cells[-1]["measured"].get("created"))
    eyebrow = " · ".join(filter(None, (name, cells[0]["dataset"].get("description"), created)))
    return document(f"{name}, sweep", eyebrow, heading, warnings, sections)


def _measure(results: Mapping[str, Any]) -> _Measure:
    """Accuracy of every run; where there are no labels, how often it agrees with the unmerged model."""
    key = wording.main_metric(results)
    if key:
        values = {run["name"]: (run["metrics"].get(key) or {}).get("value") for run in results["runs"]}
        label = wording.metric_label(key)
    else:
        values = {entry["run"]: entry["agreement"] for entry in results["comparison"]}
        values |= {run["name"]: 1.0 for run in results["runs"] if wording.mode(run) == "none"}
        label = "agreement with unmerged"
    return _Measure(label, {name: 100 * value for name, value in values.items() if wording.known(value)})


def _fronts(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names of the runs on the front of each cost, by rising cost."""
    measure = _measure(results)
    costs: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
        "MACs": lambda run: run["macs_per_clip"],
        "speed": lambda run: None if (factor := wording.speedup(run, results)) is None else -factor,
    }
    fronts = {}
    for word, cost in costs.items():
        known = [
            (run["name"], value)
            for run in results["runs"]
            if run["name"] in measure.values and (value := cost(run)) is not None
        ]
        front = pareto_front([(value, measure.values[name]) for name, value in known])
        fronts[word] = [known[number][0] for number in front]
    return fronts


def _plots(results: Mapping[str, Any]) -> str:
    measure, fronts = _measure(results), _fronts(results)
    title = measure.label[0].upper() + measure.label[1:]
    by_macs = [
        _dot(run, run["macs_per_clip"] / 1e9, measure, wording.number(run["macs_per_clip"] / 1e9))
        for run in results["runs"]
        if run["name"] in measure.values
    ]
    by_speed = [
        _dot(run, factor, measure, wording.times(factor))
        for run in results["runs"]
        if run["name"] in measure.values and (factor := wording.speedup(run, results)) is not None
    ]
    plots = [
        (f"{title} over arithmetic", by_macs, fronts["MACs"], "GMACs per clip", "", "Up and to the left is better."),
        (
            f"{title} over measured throughput",
            by_speed,
            fronts["speed"],
            "clips/s over those of the unmerged model",
            wording.TIMES,
            "Up and to the right is better.",
        ),
    ]
    floor = _floor(results, measure)
    low = sum(value < floor for value in measure.values.values())
    below = (
        f" {low} run{'s' if low > 1 else ''} below {floor:.0f} % {'are' if low > 1 else 'is'} drawn at the lower edge."
        if low
        else ""
    )
    drawn = ""
    for name, dots, front, label, unit, better in plots:
        if len(dots) > 1:
            numbers = {dot.name: number for number, dot in enumerate(dots)}
            drawing = scatter(f"{name}, in percent", dots, [numbers[run] for run in front], label, unit, floor)
            drawn += figure(name, drawing, f"Percent of videos. {better} {_FRONT_CAPTION}{below}")
    if not drawn:
        return ""
    return f'<p>{_PLOTS_NOTE} {nonbreaking(_unequal(results))}</p>\n<div class="plots pair">{drawn}</div>'


def _floor(results: Mapping[str, Any], measure: _Measure) -> float:
    """How far down the plots reach: what loses more is not worth telling apart, and would press the rest together."""
    baseline = wording.baseline_run(results)
    best = max(measure.values.values(), default=0.0)
    reference = measure.values.get(baseline["name"], best) if baseline else best
    return math.floor(reference - _LOSS_SHOWN)


def _unequal(results: Mapping[str, Any]) -> str:
    """An example of runs with the same r and unequal arithmetic; empty where there is none."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for run in results["runs"]:
        reduction = run["reduction"]
        if reduction["mode"] != "none" and isinstance(reduction["r"], int) and not reduction["repeat_layer"]:
            groups.setdefault((reduction["mode"], reduction["r"]), []).append(run)

    def spread(runs: Sequence[Mapping[str, Any]]) -> float:
        macs = [run["macs_per_clip"] for run in runs]
        return max(macs) / min(macs)

    widest = max(groups.values(), key=spread, default=[])
    if not widest or spread(widest) < 1.05:
        return ""
    shares = sorted(run["mac_ratio"] for run in widest)
    reduction = widest[0]["reduction"]
    return (
        f"Here {reduction['mode'].replace('_', ' ')} with r = {reduction['r']} takes from "
        f"{wording.share_of_arithmetic(shares[0])} to {wording.share_of_arithmetic(shares[-1])} of the unmerged "
        "arithmetic, depending on the schedule."
    )


def _dot(run: Mapping[str, Any], x: float, measure: _Measure, cost: str) -> Dot:
    reduction = run["reduction"]
    value = measure.values[run["name"]]
    rest = {key: entry for key, entry in reduction.items() if key != "r"}
    # A list has no r to vary.
    series = str(rest) if isinstance(reduction["r"], int) else run["name"]
    return Dot(run["name"], x, value, reduction["mode"], schedule(reduction), series, f"{cost}, {value:.1f} %")


def schedule(reduction: Mapping[str, Any]) -> str:
    """What a reduction's tokens per layer do from layer to layer, as the plots' markers have it."""
    if reduction["mode"] == "none":
        return "unmerged"
    if not isinstance(reduction["r"], int):
        return "list"
    slope = reduction["inflection"]
    return "constant" if slope == 0 else "decreasing" if slope < 0 else "increasing"


def _table(results: Mapping[str, Any]) -> str:
    baseline = wording.baseline_run(results)
    keys = wording.leading_metrics(results)
    reductions = [run["reduction"] for run in results["runs"] if run is not baseline]
    settings = {key: text for key, text in _SETTINGS.items() if len({str(one[key]) for one in reductions}) > 1}
    compared = {entry["run"]: entry for entry in results["comparison"]}
    fronts = _fronts(results)
    numbers = [*map(wording.metric_label, keys), "change", "agreement", "clips/s", "speed-up", "GMACs", "ratio"]
    heads = [
        ("run", "text"),
        *((text, "number") for text in numbers),
        ("front", "text"),
        ("mode", "text"),
        ("r", "number"),
        ("inflection", "number"),
        *((text, "text") for text in settings.values()),
        ("tokens per layer", "text"),
    ]
    rows = []
    for run in results["runs"]:
        *costs, tokens = cost_cells(run, results)
        on = ", ".join(word for word, names in fronts.items() if run["name"] in names)
        cells = [
            *metric_cells(run, keys),
            *_change_cells(compared.get(run["name"], {})),
            *costs,
            cell(on, on, "text"),
            *_reduction_cells(run["reduction"], list(settings), run is baseline),
            tokens,
        ]
        kind = ' class="baseline"' if run is baseline else ""
        rows.append(f"<tr{kind}>{row_head(run['name'])}{''.join(cells)}</tr>\n")
    note = (
        "<p>Change is in points against the unmerged model on the same videos; front names the Pareto fronts that a "
        "run is on. Click a column's name to sort by it.</p>\n"
    )
    return note + table("Every run", heads, rows)


def _change_cells(entry: Mapping[str, Any]) -> list[str]:
    difference, agreement = entry.get("difference"), entry.get("agreement")
    low, high = entry.get("low"), entry.get("high")
    known = wording.known(difference)
    between = f"[{wording.points(low)}, {wording.points(high)}]" if wording.known(low) and wording.known(high) else ""
    return [
        cell(wording.points(difference) if known else wording.MISSING, difference, below=between),
        cell(wording.percent(agreement), agreement),
    ]


def _reduction_cells(reduction: Mapping[str, Any], settings: Sequence[str], is_baseline: bool) -> list[str]:
    mode, r = reduction["mode"], reduction["r"]
    if is_baseline:
        return [cell(mode, mode, "text"), cell("0", 0), cell("", ""), *(cell("", "", "text") for _ in settings)]
    amount = cell(str(r), r) if isinstance(r, int) else cell("per layer", max(r, default=0))
    texts = [
        ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        for value in (reduction[key] for key in settings)
    ]
    return [
        cell(mode.replace("_", " "), mode, "text"),
        amount,
        cell(f"{reduction['inflection']:g}", reduction["inflection"]),
        *(cell("" if text == "None" else text, text, "text") for text in texts),
    ]
