"""Of a sweep: what it costs to reduce tokens in one layer alone, and what each layer puts together."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import Column, Figure, Interval, Picture, Table, plots, runs
from jax_vtm.reports.formatting import TIMES, accuracy_name, counted, metric_label, number, percent

_X_LABEL = "layer that alone reduces"
_TIME_CAPTION = (
    "Merged patch tokens that share a group with one of another time index: found, and, dashed, what groups of the "
    "same sizes would hold if chance filled them."
)
_COLUMNS = (
    Column("run", "run"),
    Column("layer", "layer", "", str),
    Column("times", "times", "", str),
    Column("r", "r", "", str),
    Column("groups", "patch groups", "", number, "Those left after the layer, of a clip on average."),
    Column("merged", "merged tokens", "%", percent, "Patch tokens in groups of two or more."),
    Column("mixed", "across times", "%", percent, "Merged tokens that share a group with one of another time index."),
    Column("chance", "by chance", "%", percent, "The same if chance filled groups of these sizes."),
)


def one_layer_answer(cell: Mapping[str, Any]) -> str:
    """In which layer it costs most, for a sweep of nothing but single layers; empty for any other."""
    baseline, key = runs.baseline_run(cell), runs.main_metric(cell)
    alone = _alone(cell)
    if len(alone) < 2 or len(alone) < sum(run is not baseline for run in cell["runs"]):
        return ""
    # Where the least is left, layers differ most.
    amount, times = max(_kinds(alone), key=lambda kind: kind[0] * kind[1])
    facts = [run["one_layer"] for run in alone if _kind(run) == (amount, times)]
    how = f"{times} times r = {amount}" if times > 1 else f"r = {amount}"
    answer = f"In one layer alone ({how}), {facts[0]['tokens']} tokens become {facts[0]['groups']:.0f}"
    falls = [
        (-change.value, run["one_layer"]["layer"])
        for run in alone
        if _kind(run) == (amount, times)
        and not (change := Interval.of(runs.comparison(run, cell), "difference")).spans_zero
        and change.value < 0
    ]
    if not falls or key is None:
        return f"{answer}."
    most, layer = max(falls)
    return f"{answer}; {accuracy_name(key)} falls most in layer {layer}, by {100 * most:.1f} points."


def one_layer_section(cell: Mapping[str, Any], name: str, picture: Picture | None) -> dict[str, Any] | None:
    """What the page shows; None where no run reduces in one layer alone.

    Args:
        cell: Results of one model on one data set.
        name: Before titles, where a page has several cells.
        picture: What the layers make of a clip.
    """
    alone = _alone(cell)
    if not alone:
        return None
    return {
        "figures": [figure for figure in (_accuracy(cell, alone, name), _across_times(alone, name)) if figure],
        "table": Table(f"{name}One layer alone", _COLUMNS, [_row(run) for run in alone]),
        "clips": counted(alone[0]["one_layer"]["clips"], "clip"),
        "picture": picture,
    }


def _row(run: Mapping[str, Any]) -> dict[str, Any]:
    facts = run["one_layer"]
    merged = facts["merged_tokens"]
    return {
        **facts,
        "run": run["name"],
        "merged": merged / (facts["clips"] * facts["tokens"]),
        "mixed": facts["mixed_tokens"] / merged if merged else None,
        "chance": facts["chance_tokens"] / merged if merged else None,
    }


def _alone(cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [run for run in cell["runs"] if run.get("one_layer")]


def _kind(run: Mapping[str, Any]) -> tuple[int, int]:
    return run["one_layer"]["r"], run["one_layer"]["times"]


def _kinds(alone: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    return sorted({_kind(run) for run in alone})


def _series(alone: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Runs of the same r and times by rising layer, under their name."""
    kinds = _kinds(alone)
    one_r = len({r for r, _ in kinds}) == 1
    series = []
    for kind in kinds:
        text = "once" if kind[1] == 1 else f"{kind[1]}{TIMES}"
        members = sorted((run for run in alone if _kind(run) == kind), key=lambda run: run["one_layer"]["layer"])
        series.append((text if one_r else f"r = {kind[0]}, {text}", members))
    return series


def _accuracy(cell: Mapping[str, Any], alone: Sequence[Mapping[str, Any]], name: str) -> Figure | None:
    key, baseline = runs.main_metric(cell), runs.baseline_run(cell)
    if key is None:
        return None

    def value(run: Mapping[str, Any]) -> Interval:
        return Interval.of((run.get("metrics") or {}).get(key)).scaled(100)

    series = [
        plots.Series(
            text,
            [run["one_layer"]["layer"] for run in members],
            [value(run) for run in members],
            1 + number,
            marker=number,
        )
        for number, (text, members) in enumerate(_series(alone))
    ]
    if baseline is not None:
        layers = [run["one_layer"]["layer"] for run in alone]
        level = Interval(value(baseline).value)
        series.append(plots.Series(baseline["name"], [min(layers), max(layers)], [level, level], 0, dashed=True))
    return plots.lines(
        f"{name}accuracy over layer",
        f"{metric_label(key).capitalize()} over the layer",
        series,
        "With 95 % intervals; the axis does not start at zero.",
        x_label=_X_LABEL,
        y_label=f"{metric_label(key)} (%)",
        apart=0.06,
    )


def _across_times(alone: Sequence[Mapping[str, Any]], name: str) -> Figure | None:
    series = []
    for colour, (text, members) in enumerate(_series([run for run in alone if run["one_layer"]["merged_tokens"]]), 1):
        rows = [_row(run) for run in members]
        layers = [row["layer"] for row in rows]
        for key, more, dashed in (("mixed", "", False), ("chance", ", by chance", True)):
            values = [Interval(100 * row[key]) for row in rows]
            series.append(plots.Series(f"{text}{more}", layers, values, colour, dashed, marker=colour - 1))
    if not series:
        return None
    return plots.lines(
        f"{name}across times over layer",
        "Merged across times",
        series,
        _TIME_CAPTION,
        x_label=_X_LABEL,
        y_label="merged tokens (%)",
        from_zero=True,
    )
