"""The page of an evaluation: what merging changes, what it costs, class by class, beside what others have published."""

import math
from collections.abc import Sequence
from typing import Any

from jax_vtm.reports import plots
from jax_vtm.reports.classes import Confusions, class_sections
from jax_vtm.reports.figure import Figure
from jax_vtm.reports.formatting import TIMES, known, metric_label
from jax_vtm.reports.headline import headline
from jax_vtm.reports.page import Page, date, render_page
from jax_vtm.reports.picture import Picture
from jax_vtm.reports.published.section import published_section
from jax_vtm.reports.runs import (
    Results,
    Run,
    baseline_run,
    failures_table,
    leading_metrics,
    main_metric,
    measured_facts,
    other_accuracies,
    run_row,
    runs_table,
    timing,
    warnings,
)
from jax_vtm.reports.table import Column, Interval, Table


def evaluation_page(results: Results, pictures: Sequence[Picture] = (), confusions: Confusions | None = None) -> Page:
    """Makes the page.

    Args:
        results: What `results.json` holds.
        pictures: Shown in this order.
        confusions: {run: {head: matrix}} of videos, rows the true class, columns the predicted one.
    """
    return render_page(
        "commands/evaluation_page.html.j2",
        title=str(results.get("name", "results")),
        kind="evaluation",
        eyebrow=[
            results.get("name"),
            results["dataset"].get("description"),
            date((results.get("measured") or {}).get("created")),
        ],
        headline=headline(results),
        warnings=warnings(results),
        runs=runs_table(results),
        figures=_figures(results),
        pictures=pictures,
        more=other_accuracies(results),
        published=published_section(results),
        classes=class_sections(results, confusions or {}),
        predictions=predictions_table(results),
        failures=failures_table(results),
        failures_hidden=(results["dataset"].get("n_failed") or 0) - len(results.get("failures") or []),
        facts=measured_facts(results),
    )


def predictions_table(results: Results) -> Table | None:
    """What each run sees in each video, where the runs list it."""
    runs = [run for run in results["runs"] if run.get("predictions")]
    if not runs:
        return None
    heads = [name for name in runs[0]["predictions"][0] if name != "id"]
    columns = [Column(f"{run['name']}/{head}", f"{run['name']}: {head}") for run in runs for head in heads]
    rows: dict[str, dict[str, Any]] = {}
    for run in runs:
        for entry in run["predictions"]:
            row = rows.setdefault(entry["id"], {"id": entry["id"]})
            row |= {f"{run['name']}/{head}": entry.get(head) for head in heads}
    return Table("Predictions", [Column("id", "video"), *columns], list(rows.values()))


def _figures(results: Results) -> list[Figure]:
    made = [_accuracy(results), _trade_off(results), _cost(results), _tokens(results)]
    return [figure for figure in made if figure]


def _colour(run: Run, results: Results) -> int:
    """Grey for the baseline, a colour each for the others."""
    baseline = baseline_run(results)
    others = [one["name"] for one in results["runs"] if one is not baseline]
    return 0 if run is baseline else 1 + others.index(run["name"]) % (plots.COLOURS - 1)


def _percent(run: Run, key: str) -> Interval:
    return Interval.of((run.get("metrics") or {}).get(key)).scaled(100)


def _accuracy(results: Results) -> Figure | None:
    keys = leading_metrics(results)
    series = [
        plots.Series(
            run["name"],
            [metric_label(key) for key in keys],
            [_percent(run, key) for key in keys],
            _colour(run, results),
            marker=number,
        )
        for number, run in enumerate(results["runs"])
    ]
    if not any(one.known() for one in series):
        return None
    caption = "With 95 % intervals. The axis does not start at zero."
    return plots.intervals("accuracy", "Accuracy", series, caption, x_label="videos (%)")


def _trade_off(results: Results) -> Figure | None:
    """Only of several reductions: of one, the table says the same in less space."""
    key = main_metric(results)
    if key is None or len(results["runs"]) < 3:
        return None
    series = [
        plots.Series(run["name"], [speed], [_percent(run, key)], _colour(run, results), marker=number)
        for number, run in enumerate(results["runs"])
        if known(speed := timing(run, results).get("speedup"))
    ]
    return plots.scatter(
        "accuracy_over_speed",
        "Accuracy over speed",
        [one for one in series if one.known()],
        caption="Up and to the right is better. Neither axis starts at zero.",
        x_label=f"speed-up ({TIMES})",
        y_label=f"{metric_label(key)} (%)",
    )


def _cost(results: Results) -> Figure | None:
    """Arithmetic and time of what is not the baseline, as shares of the baseline's."""
    baseline = baseline_run(results)
    rows = [run_row(run, results) for run in results["runs"] if run is not baseline]
    names = [row["run"] for row in rows]
    macs = [Interval(100 * row["mac_ratio"] if known(row["mac_ratio"]) else math.nan) for row in rows]
    speeds = [row.get("speedup") for row in rows]
    times = [Interval(100 / speed if known(speed) and speed > 0 else math.nan) for speed in speeds]
    series = [plots.Series("arithmetic", names, macs, 1), plots.Series("time", names, times, 2)]
    series = [one for one in series if one.known()]
    if baseline is None or not series:
        return None
    return plots.bars("cost", "Cost", series, x_label="of the unmerged run (%)", reference=100)


def _tokens(results: Results) -> Figure | None:
    runs = [run for run in results["runs"] if run.get("tokens_per_layer")]
    if not runs:
        return None
    layers = max(len(run["tokens_per_layer"]) for run in runs) - 1
    series = []
    for run in runs:
        tokens = [Interval(count) for count in run["tokens_per_layer"]]
        series.append(plots.Series(run["name"], list(range(len(tokens))), tokens, _colour(run, results)))
    return plots.lines(
        "tokens",
        "Tokens",
        series,
        x_label="entering layer",
        y_label="tokens",
        steps=True,
        from_zero=True,
        names=[*map(str, range(layers)), "out"],
    )
