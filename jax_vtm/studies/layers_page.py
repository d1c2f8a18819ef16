"""The page of the study of layers: what it costs to reduce tokens in one layer alone, and what each layer merges."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import Column, Figure, Interval, Page, Picture, Table, plots, runs
from jax_vtm.reports.formatting import TIMES, accuracy_name, metric_label, number, percent, plural
from jax_vtm.reports.sections import Section, closing_sections, sections_page

Results = Mapping[str, Any]
Run = Mapping[str, Any]

_X_LABEL = "layer that alone reduces"
_COLUMNS = (
    Column("layer", "layer", "", str),
    Column("times", "times", "", str),
    Column("r", "r", "", str),
    Column("groups", "patch groups", "", number, "Those left after the layer, of a clip on average."),
    Column("merged", "merged tokens", "%", percent, "Patch tokens in groups of two or more."),
    Column("mixed", "across times", "%", percent, "Merged tokens that share a group with one of another time index."),
    Column("chance", "by chance", "%", percent, "The same if chance filled groups of these sizes."),
)
_TEXT = (
    "Each of these runs reduces tokens in one layer alone, so many times in a row before its MLP. Of the same r and "
    "times, all layers end with equally many tokens; the earlier the layer, the more of the arithmetic is spared."
)
_TIME_CAPTION = (
    "Merged patch tokens that share a group with one of another time index: found, and, dashed, what groups of the "
    "same sizes would hold if chance filled them."
)


def layers_headline(results: Results) -> str:
    """What becomes of a clip's tokens where least is left of them, and in which layer that costs most."""
    alone = _alone(results)
    # Where the least is left, layers differ most.
    r, times = max(map(_kind, alone), key=lambda kind: kind[0] * kind[1])
    alike = [run for run in alone if _kind(run) == (r, times)]
    facts = alike[0]["one_layer"]
    how = f"{times} times r = {r}" if times > 1 else f"r = {r}"
    answer = f"In one layer alone ({how}), {facts['tokens']} tokens become {facts['groups']:.0f}"
    key = runs.main_metric(results)
    changes = {run["one_layer"]["layer"]: Interval.of(runs.comparison(run, results), "difference") for run in alike}
    falls = [(-change.value, layer) for layer, change in changes.items() if not change.spans_zero and change.value < 0]
    if not falls or key is None:
        return f"{answer}."
    most, layer = max(falls)
    return f"{answer}; {accuracy_name(key)} falls most in layer {layer}, by {100 * most:.1f} points."


def layers_table(results: Results) -> Table:
    """One row per run: its layer, what it costs, and what the layer merges."""
    table = runs.runs_table(results)
    found = {run["name"]: _row(run) for run in _alone(results)}
    name, *others = table.columns
    return Table("Every run", [name, *_COLUMNS, *others], [{**row, **found.get(row["run"], {})} for row in table.rows])


def layers_page(results: Results, picture: Picture | None = None) -> Page:
    """Makes the page.

    Args:
        results: What `results.json` holds.
        picture: What the layers make of a clip.
    """
    alone = _alone(results)
    figures = [figure for figure in (_accuracy(results, alone), _across_times(alone)) if figure]
    clips = plural(alone[0]["one_layer"]["clips"], "clip")
    caption = f"Groups and merged tokens are those of {clips}, after the layer."
    table = layers_table(results)
    return sections_page(
        results,
        "study",
        results["dataset"].get("description"),
        layers_headline(results),
        runs.warnings(results),
        [Section("One layer alone", _TEXT, figures, table, caption, picture), *closing_sections(results)],
    )


def _alone(results: Results) -> list[Run]:
    return [run for run in results["runs"] if "one_layer" in run]


def _kind(run: Run) -> tuple[int, int]:
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
    """Runs of the same r and times by rising layer, under their name."""
    kinds = sorted(set(map(_kind, alone)))
    one_r = len({r for r, _ in kinds}) == 1
    series = []
    for r, times in kinds:
        text = "once" if times == 1 else f"{times}{TIMES}"
        members = sorted((run for run in alone if _kind(run) == (r, times)), key=lambda run: run["one_layer"]["layer"])
        series.append((text if one_r else f"r = {r}, {text}", members))
    return series


def _accuracy(results: Results, alone: Sequence[Run]) -> Figure | None:
    key, baseline = runs.main_metric(results), results["runs"][0]
    if key is None:
        return None

    def value(run: Run) -> Interval:
        return Interval.of((run.get("metrics") or {}).get(key)).scaled(100)

    series = []
    for place, (text, members) in enumerate(_series(alone)):
        layers, values = [run["one_layer"]["layer"] for run in members], [value(run) for run in members]
        series.append(plots.Series(text, layers, values, 1 + place, marker=place))
    layers = [run["one_layer"]["layer"] for run in alone]
    level = Interval(value(baseline).value)
    series.append(plots.Series(baseline["name"], [min(layers), max(layers)], [level, level], 0, dashed=True))
    return plots.lines(
        "accuracy over layer",
        f"{metric_label(key).capitalize()} over the layer",
        series,
        "With 95 % intervals; the axis does not start at zero.",
        x_label=_X_LABEL,
        y_label=f"{metric_label(key)} (%)",
        apart=0.06,
    )


def _across_times(alone: Sequence[Run]) -> Figure | None:
    series = []
    for place, (text, members) in enumerate(_series([run for run in alone if run["one_layer"]["merged_tokens"]])):
        rows = [_row(run) for run in members]
        layers = [row["layer"] for row in rows]
        for key, more, dashed in (("mixed", "", False), ("chance", ", by chance", True)):
            values = [Interval(100 * row[key]) for row in rows]
            series.append(plots.Series(f"{text}{more}", layers, values, 1 + place, dashed, marker=place))
    if not series:
        return None
    return plots.lines(
        "across times over layer",
        "Merged across times",
        series,
        _TIME_CAPTION,
        x_label=_X_LABEL,
        y_label="merged tokens (%)",
        from_zero=True,
    )
