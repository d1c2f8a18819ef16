"""The page of an evaluation: what merging changes, what it costs, class by class, compared with published numbers."""

from collections.abc import Sequence
from typing import Any

from jax_vtm.reports import Column, Figure, Interval, Page, Picture, Table, headline, plots, render_page, runs
from jax_vtm.reports.classes import Confusions, class_sections
from jax_vtm.reports.formatting import TIMES, known, metric_label
from jax_vtm.reports.page import date
from jax_vtm.reports.published import published_section
from jax_vtm.reports.runs import Results

UNKNOWN = Interval.of(None)


def evaluation_page(results: Results, pictures: Sequence[Picture] = (), confusions: Confusions | None = None) -> Page:
    """Makes the page.

    Args:
        results: What `results.json` holds.
        pictures: Shown in this order.
        confusions: {run: {head: matrix}} of videos, rows the true class, columns the predicted one.
    """
    return render_page(
        "commands/evaluation_page.html.j2",
        title=results["name"],
        kind="evaluation",
        eyebrow=[results["name"], results["dataset"]["description"], date(results["measured"]["created"])],
        headline=headline(results),
        warnings=runs.warnings(results),
        runs=runs.runs_table(results),
        figures=_figures(results),
        pictures=pictures,
        more=runs.other_accuracies(results),
        published=published_section(results),
        classes=class_sections(results, confusions or {}),
        predictions=predictions_table(results),
        failures=runs.failures_table(results),
        failures_hidden=results["dataset"]["n_failed"] - len(results["failures"]),
        facts=runs.measured_facts(results),
    )


def predictions_table(results: Results) -> Table | None:
    """What each run sees in each video, where the runs list it."""
    listed = [run for run in results["runs"] if run.get("predictions")]
    columns: dict[str, Column] = {}
    rows: dict[str, dict[str, Any]] = {}
    for run in listed:
        for entry in run["predictions"]:
            row = rows.setdefault(entry["id"], {"id": entry["id"]})
            for head in [name for name in entry if name != "id"]:
                key = f"{run['name']}/{head}"
                row[key] = entry[head]
                columns.setdefault(key, Column(key, f"{run['name']}: {head}"))
    return Table("Predictions", [Column("id", "video"), *columns.values()], list(rows.values())) if rows else None


def _figures(results: Results) -> list[Figure]:
    """Accuracy, accuracy over speed, cost, tokens: each where something is known that it shows."""
    baseline, main = runs.baseline_run(results), runs.main_metric(results)
    keys = runs.leading_metrics(results)
    rows = [runs.run_row(run, results) for run in results["runs"]]
    others = [row for row, run in zip(rows, results["runs"], strict=True) if run is not baseline]

    def series(row: dict[str, Any], x: Sequence[Any], y: Sequence[Interval]) -> plots.Series:
        """Grey for the baseline, a colour each for the others."""
        colour = 1 + others.index(row) % (plots.COLOURS - 1) if row in others else 0
        return plots.Series(row["run"], x, y, colour, marker=rows.index(row))

    def accuracies(row: dict[str, Any], keys: Sequence[str]) -> list[Interval]:
        return [row.get(key, UNKNOWN).scaled(100) for key in keys]

    figures = []
    drawn = [series(row, [*map(metric_label, keys)], accuracies(row, keys)) for row in rows]
    if any(one.known() for one in drawn):
        caption = "With 95 % intervals. The axis does not start at zero."
        figures.append(plots.intervals("accuracy", "Accuracy", drawn, caption, x_label="videos (%)"))
    # Of one reduction, the table says the same in less space.
    if main and len(rows) > 2:
        drawn = [series(row, [row["speedup"]], accuracies(row, [main])) for row in rows if known(row.get("speedup"))]
        figures.append(
            plots.scatter(
                "accuracy_over_speed",
                "Accuracy over speed",
                [one for one in drawn if one.known()],
                caption="Up and to the right is better. Neither axis starts at zero.",
                x_label=f"speed-up ({TIMES})",
                y_label=f"{metric_label(main)} (%)",
            )
        )
    names = [row["run"] for row in others]
    costs = {
        "arithmetic": [row["mac_ratio"] for row in others],
        "time": [1 / row["speedup"] if row.get("speedup") else None for row in others],
    }
    drawn = [
        plots.Series(name, names, [Interval.of({"value": share}).scaled(100) for share in shares], colour)
        for colour, (name, shares) in enumerate(costs.items(), 3)
    ]
    if baseline and any(one.known() for one in drawn):
        figures.append(plots.intervals("cost", "Cost", drawn, x_label="of the unmerged run (%)", whole=100))
    if rows:
        tokens = {run["name"]: [Interval(count) for count in run["tokens_per_layer"]] for run in results["runs"]}
        layers = max(map(len, tokens.values())) - 1
        drawn = [series(row, range(len(tokens[row["run"]])), tokens[row["run"]]) for row in rows]
        look = {"steps": True, "from_zero": True, "names": [*map(str, range(layers)), "out"]}
        figures.append(plots.lines("tokens", "Tokens", drawn, x_label="entering layer", y_label="tokens", **look))
    return figures
