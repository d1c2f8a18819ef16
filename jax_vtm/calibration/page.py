"""The page of a calibration: schedules next to constant and linear ones, and the sensitivity of every layer."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.calibration.results import SEARCHED
from jax_vtm.calibration.schedules import BY_LAYERS
from jax_vtm.evaluation.run_names import UNMERGED
from jax_vtm.reports import Column, Figure, Interval, Page, Table, plots, runs
from jax_vtm.reports.formatting import (
    accuracy_name,
    is_known,
    metric_label,
    number,
    percent,
    plural,
    points,
    ratio,
    scientific,
    tokens_per_layer,
)
from jax_vtm.reports.page import Section, sections_page

Results = Mapping[str, Any]

_UNITS = {"MACs": "MACs", "ms": "time"}
_LOSSES = {"divergence": "divergence", "accuracy": "cross entropy"}
_MODEL_TIMES = (
    runs.TOKENS,
    Column("ms", "time", "ms", number, "Of a whole model and clip, the median of rounds."),
    Column("fitted", "fitted", "ms", number, "What the times of its layers say."),
)
_KINDS = (SEARCHED, BY_LAYERS, "constant", "decreasing", "increasing")


def calibration_page(results: Results) -> Page:
    """Makes the page from the content of `results.json`."""
    found = results["calibration"]
    searched = plural(found["clips"], "video")
    text = (
        f"Schedules were searched on {searched}, {plural(found['runs'], 'reduction')} measured, and evaluated on "
        f"{plural(results['dataset']['n_ok'], 'other')}. Constant and linear schedules are those that cost most within "
        "the same budget, if one is so cheap."
    )
    budgets = dict.fromkeys(one["budget"] for one in found["schedules"])
    sections = [
        Section(
            "Schedules", text, [*_accuracy(results), *(_tokens(found, one) for one in budgets)], _schedules(results)
        ),
        Section("Sensitivity", _sensitivity_text(found), _sensitivity(found), caption=""),
        Section(
            "Similarity of tokens",
            "Cosine of every source token's key with the destination that it resembles most, in the unmerged model.",
            table=_edges(found),
        ),
        Section("Every run", table=runs.runs_table(results)),
        *_latency(results),
        *runs.closing_sections(results),
    ]
    about = results["dataset"].get("description")
    return sections_page(results, "calibrate", about, headline(results), runs.warnings(results), sections)


def headline(results: Results) -> str:
    """Returns cost and outcome of the cheapest schedule that was searched, on the held-out videos."""
    one = min((s for s in results["calibration"]["schedules"] if s["kind"] == SEARCHED), key=lambda s: s["share"])
    cost = f"The searched schedule needs {100 * one['share']:.0f} % of the {_UNITS[results['calibration']['unit']]}"
    row = _row(one, results)
    key = runs.main_metric(results)
    change = row["change"]
    if not key or not is_known(change.value):
        return f"{cost}; {percent(row['agreement'])} % of the held-out predictions stay the same."
    between = f" ({points(change.low)} to {points(change.high)})" if change.is_known else ""
    return f"{cost}; on held-out videos {accuracy_name(key)} changes by {points(change.value)} points{between}."


def _row(one: Mapping[str, Any], results: Results) -> dict[str, Any]:
    run = next(run for run in results["runs"] if run["name"] == one["run"])
    row, key = runs.run_row(run, results), runs.main_metric(results)
    return {
        "kind": one["kind"],
        "share": one["share"],
        "tokens": tokens_per_layer(one["tokens"]),
        "steps": _steps(run["reduction"]),
        "predicted": one["predicted"],
        "loss": one["searched_on"]["cross_entropy" if results["calibration"]["by"] == "accuracy" else "divergence"],
        "changed": one["searched_on"]["disagreement"],
        "accuracy": row.get(key) if key else None,
        "change": row["difference"],
        "agreement": 1.0 if one["run"] == UNMERGED else row["agreement"],
        "speedup": row.get("speedup"),
    }


def _steps(reduction: Mapping[str, Any]) -> str:
    times = (reduction["repeat_layer"] or (0, 1))[1]
    return " ".join(map(str, reduction["r"][:times])) if times > 1 else ""


def _schedules(results: Results) -> Table:
    found = results["calibration"]
    key, loss = runs.main_metric(results), _LOSSES[found["by"]]
    share = f"Share of the unmerged model's {_UNITS[found['unit']]}."
    columns = [
        Column("kind", "schedule"),
        Column("share", "cost", "", ratio, share),
        Column("predicted", "predicted", "nats", scientific, f"Rise of the {loss} that single layers predict."),
        Column("loss", loss, "nats", scientific, f"Rise of the {loss} on the videos that were searched on."),
        Column("changed", "changed", "%", percent, "Predictions that change on the videos that were searched on."),
        *([Column("accuracy", metric_label(key), "%", percent, "On the held-out videos.")] if key else []),
        *([Column("change", "change", "points", points, "From unmerged, on the held-out videos.")] if key else []),
        Column("agreement", "agreement", "%", percent, "Held-out videos with the same prediction as unmerged."),
        Column("speedup", "speed-up", "", number, "Measured on the held-out videos."),
        Column("steps", "steps", note="Tokens that the first layer removes step by step, each of which matches anew."),
        runs.TOKENS,
    ]
    return Table("Schedules", columns, [_row(one, results) for one in found["schedules"]])


def _accuracy(results: Results) -> list[Figure]:
    """Draws accuracy, or agreement, over cost, a line for each kind of schedule."""
    key, series = runs.main_metric(results), []
    for number_, kind in enumerate(_KINDS, 1):
        rows = [_row(one, results) for one in results["calibration"]["schedules"] if one["kind"] == kind]
        values = [row["accuracy"] if key else Interval(row["agreement"]) for row in rows]
        if rows:
            series.append(plots.Series(kind, [row["share"] for row in rows], [v.scaled(100) for v in values], number_))
    label = metric_label(key) if key else "agreement with unmerged"
    cost = _UNITS[results["calibration"]["unit"]]
    return [
        plots.scatter(
            "accuracy",
            f"{label[0].upper()}{label[1:]}, held out",
            series,
            x_label=f"{cost}, share of unmerged",
            y_label=f"{label} (%)",
        )
    ]


def _tokens(found: Mapping[str, Any], budget: float) -> Figure:
    counts = {one["kind"]: one["tokens"] for one in found["schedules"] if one["budget"] == budget}
    series = [
        plots.Series(kind, range(len(tokens)), [Interval(n) for n in tokens], _KINDS.index(kind) + 1)
        for kind, tokens in counts.items()
    ]
    names = [*map(str, range(max(map(len, counts.values())) - 1)), "out"]
    return plots.lines(
        f"tokens_{budget:.2f}",
        f"Tokens at {100 * budget:.0f} % of the cost",
        series,
        x_label="entering layer",
        y_label="tokens",
        steps=True,
        from_zero=True,
        names=names,
    )


def _sensitivity_text(found: Mapping[str, Any]) -> str:
    return (
        f"Rise of the {_LOSSES[found['by']]} where one layer alone removes tokens: in steps, each of at most 30 % of "
        "the tokens and all but the last before attention, or in one step, of half of the tokens at most."
    )


def _sensitivity(found: Mapping[str, Any]) -> list[Figure]:
    key = "cross_entropy" if found["by"] == "accuracy" else "divergence"
    figures = []
    for how, title in (("in steps", "In steps"), ("in one step", "In one step"), ("input", "Before the first layer")):
        rows = [one for one in found["sensitivity"] if one["how"] == how]
        by_layer: dict[int, list[Mapping[str, Any]]] = {}
        for one in rows:
            by_layer.setdefault(one["layer"], []).append(one)
        if how == "input" and len(rows) < 2:
            continue
        series = [
            plots.Series(
                title if how == "input" else f"layer {layer}",
                [one["tokens"] for one in of_layer],
                [Interval(one[key]) for one in of_layer],
                layer,
            )
            for layer, of_layer in by_layer.items()
        ]
        name, y_label = f"sensitivity_{how.replace(' ', '_')}", f"{_LOSSES[found['by']]} (nats)"
        figures.append(plots.lines(name, title, series, x_label="tokens left", y_label=y_label))
    return figures


def _edges(found: Mapping[str, Any]) -> Table:
    columns = [Column("layer", "layer")]
    columns += [Column(str(q), f"{100 * q:.0f} %", "", _cosine) for q in found["edge_quantiles"]]
    rows = [
        {"layer": str(layer), **{str(q): value for q, value in zip(found["edge_quantiles"], scores, strict=True)}}
        for layer, scores in enumerate(found["edge_scores"])
    ]
    return Table("Similarity of tokens", columns, rows)


def _cosine(value: float) -> str:
    return f"{value:.3f}"


def _latency(results: Results) -> Sequence[Section]:
    """What layers and models took, and how far predictions are from the speed measured on the held-out videos."""
    found = results["calibration"]
    if not found["layer_ms"]:
        return []
    columns = [
        Column("entering", "tokens", "", str),
        Column("removed", "removed", "", str),
        Column("ms", "time", "ms", number, "Of one layer and clip, the median of rounds."),
    ]
    rows = [{**one, "tokens": tokens_per_layer(one["tokens"])} for one in found["model_ms"]]
    text = []
    for one in found["schedules"]:
        measured = _row(one, results)["speedup"]
        if is_known(measured):
            text.append(
                f"{one['kind']}, budget {one['budget']:g}: predicted {1 / one['share']:.2f}, measured {measured:.2f}"
            )
    return [
        Section(
            "Time of a layer",
            f"Speed-ups of whole models on the held-out videos. {'; '.join(text)}.",
            table=Table("Time of a layer", columns, found["layer_ms"]),
        ),
        Section(
            "Time of models",
            "A model is predicted to take a constant time, a multiple of its layers' times, and a share of one for "
            "each step before attention, fitted to these.",
            table=Table("Time of models", _MODEL_TIMES, rows),
        ),
    ]
