"""The page of the study of layers: accuracy and merged tokens of reductions in one layer alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import Column, Figure, Interval, Page, Picture, Table, plots, runs
from jax_vtm.reports.formatting import TIMES, accuracy_name, metric_label, number, percent, plural
from jax_vtm.reports.page import Section, sections_page

Results = Mapping[str, Any]
Run = Mapping[str, Any]

_X_LABEL = "layer that alone reduces"
_COLUMNS = (
    Column("layer", "layer", "", str),
    Column("times", "times", "", str),
    Column("r", "r", "", str),
    Column("groups", "patch groups", "", number, "Mean groups per clip after the layer."),
    Column("merged", "merged tokens", "%", percent, "Patch tokens in groups of two or more."),
    Column("mixed", "across times", "%", percent, "Merged tokens that share a group with one of another time index."),
    Column("chance", "by chance", "%", percent, "The same for random groups of these sizes."),
)
_TEXT = (
    "Each run reduces tokens in one layer alone, once or several times in a row before its MLP. For the same r and "
    "times, all layers end with the same number of tokens; the earlier the layer, the less arithmetic."
)
_TIME_CAPTION = (
    "Merged patch tokens that share a group with one of another time index. Dashed: the same for random groups of the "
    "same sizes."
)


def layers_headline(results: Results) -> str:
    """Returns the groups left by the strongest reduction, and the layer where it costs the most accuracy."""
    alone = _alone(results)
    r, times = max(map(_r_and_times, alone), key=lambda pair: pair[0] * pair[1])
    strongest = [run for run in alone if _r_and_times(run) == (r, times)]
    facts = strongest[0]["one_layer"]
    how = f"{times} times r = {r}" if times > 1 else f"r = {r}"
    groups = f"In one layer alone ({how}), {facts['tokens']} tokens become {facts['groups']:.0f}"
    key = runs.main_metric(results)
    changes = {run["one_layer"]["layer"]: Interval.of(runs.comparison(run, results), "difference") for run in strongest}
    falls = [(-change.value, layer) for layer, change in changes.items() if not change.spans_zero and change.value < 0]
    if not falls or key is None:
        return f"{groups}."
    most, layer = max(falls)
    return f"{groups}; {accuracy_name(key)} falls most in layer {layer}, by {100 * most:.1f} points."


def layers_table(results: Results) -> Table:
    """Makes the table of runs with their layer and its merged tokens."""
    table = runs.runs_table(results)
    found = {run["name"]: _row(run) for run in _alone(results)}
    name, *others = table.columns
    return Table("Every run", [name, *_COLUMNS, *others], [{**row, **found.get(row["run"], {})} for row in table.rows])


def layers_page(results: Results, picture: Picture | None = None) -> Page:
    """Makes the page from the content of `results.json`, and a picture of the layers' groups."""
    alone = _alone(results)
    figures = [*_accuracy(results, alone), _across_times(alone)]
    clips = plural(alone[0]["one_layer"]["clips"], "clip")
    caption = f"Groups and merged tokens are those of {clips}, after the layer."
    sections = [
        Section("One layer alone", _TEXT, figures, layers_table(results), caption),
        *([Section(picture.title, picture=picture)] if picture else []),
        *runs.closing_sections(results),
    ]
    about = results["dataset"].get("description")
    return sections_page(results, "study", about, layers_headline(results), runs.warnings(results), sections)


def _alone(results: Results) -> list[Run]:
    return [run for run in results["runs"] if "one_layer" in run]


def _r_and_times(run: Run) -> tuple[int, int]:
    return run["one_layer"]["r"], run["one_layer"]["times"]


def _row(run: Run) -> dict[str, Any]:
    facts = run["one_layer"]
    merged = facts["merged_tokens"]
    return {
        **{key: facts[key] for key in ("layer", "times", "r", "groups")},
        "merged": merged / (facts["clips"] * facts["tokens"]),
        "mixed": facts["mixed_tokens"] / merged if merged else None,
        "chance": facts["chance_tokens"] / merged if merged else None,
    }


def _series(alone: Sequence[Run]) -> list[tuple[str, list[Run]]]:
    """Returns the runs of the same r and times by layer, with their name."""
    pairs = sorted(set(map(_r_and_times, alone)))
    one_r = len({r for r, _ in pairs}) == 1
    by_layer = sorted(alone, key=lambda run: run["one_layer"]["layer"])
    series = []
    for r, times in pairs:
        text = "once" if times == 1 else f"{times}{TIMES}"
        members = [run for run in by_layer if _r_and_times(run) == (r, times)]
        series.append((text if one_r else f"r = {r}, {text}", members))
    return series


def _accuracy(results: Results, alone: Sequence[Run]) -> list[Figure]:
    key, baseline = runs.main_metric(results), results["runs"][0]
    if key is None:
        return []

    def value(run: Run) -> Interval:
        return Interval.of((run.get("metrics") or {}).get(key)).scaled(100)

    series = []
    for place, (text, members) in enumerate(_series(alone)):
        layers, values = [run["one_layer"]["layer"] for run in members], [value(run) for run in members]
        series.append(plots.Series(text, layers, values, 1 + place, marker=place))
    layers = [run["one_layer"]["layer"] for run in alone]
    level = Interval(value(baseline).value)
    series.append(plots.Series(baseline["name"], [min(layers), max(layers)], [level, level], 0, dashed=True))
    title, caption = (
        f"{metric_label(key).capitalize()} over the layer",
        "With 95 % intervals. The axis does not start at zero.",
    )
    y_label = f"{metric_label(key)} (%)"
    return [plots.lines("accuracy over layer", title, series, caption, x_label=_X_LABEL, y_label=y_label, apart=0.06)]


def _across_times(alone: Sequence[Run]) -> Figure:
    series = []
    for place, (text, members) in enumerate(_series([run for run in alone if run["one_layer"]["merged_tokens"]])):
        rows = [_row(run) for run in members]
        layers = [row["layer"] for row in rows]
        for key, more, dashed in (("mixed", "", False), ("chance", ", by chance", True)):
            values = [Interval(100 * row[key]) for row in rows]
            series.append(plots.Series(f"{text}{more}", layers, values, 1 + place, dashed, marker=place))
    title, y_label = "Merged across times", "merged tokens (%)"
    return plots.lines(
        "across times over layer", title, series, _TIME_CAPTION, x_label=_X_LABEL, y_label=y_label, from_zero=True
    )
