"""The page of an evaluation: what merging changes, what it costs, class by class, compared with published numbers."""

from collections.abc import Sequence
from typing import Any

from jax_vtm.reports import Column, Figure, Interval, Page, Picture, Table, headline, plots, runs
from jax_vtm.reports.classes import Confusions, class_sections
from jax_vtm.reports.formatting import metric_label
from jax_vtm.reports.published import published_section
from jax_vtm.reports.runs import Results
from jax_vtm.reports.sections import Section, closing_sections, sections_page

UNKNOWN = Interval.of(None)


def evaluation_page(results: Results, pictures: Sequence[Picture] = (), confusions: Confusions | None = None) -> Page:
    """Makes the page.

    Args:
        results: What `results.json` holds.
        pictures: Shown in this order.
        confusions: {run: {head: matrix}} of videos, rows the true class, columns the predicted one.
    """
    more, published, seen = runs.other_accuracies(results), published_section(results), predictions_table(results)
    sections = [Section("Results", figures=_figures(results), table=runs.runs_table(results))]
    sections += [Section(picture.title, picture=picture) for picture in pictures]
    sections += [Section("More accuracies", table=more)] if more else []
    sections += [published] if published else []
    sections += class_sections(results["runs"], confusions or {})
    sections += [Section("Predictions", table=seen)] if seen else []
    return sections_page(
        results,
        "evaluation",
        results["dataset"]["description"],
        headline(results),
        runs.warnings(results),
        [*sections, *closing_sections(results)],
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
    """Accuracy, cost, tokens: each where something is known that it shows."""
    keys = runs.leading_metrics(results)
    rows = [runs.run_row(run, results) for run in results["runs"]]
    labels = [metric_label(key) for key in keys]
    accuracies = [
        plots.Series(row["run"], labels, [row.get(key, UNKNOWN).scaled(100) for key in keys], number)
        for number, row in enumerate(rows)
    ]
    names = [row["run"] for row in rows[1:]]
    costs = {
        "arithmetic": [row["mac_ratio"] for row in rows[1:]],
        "time": [1 / row["speedup"] if row.get("speedup") else None for row in rows[1:]],
    }
    relative = [
        plots.Series(name, names, [Interval.of({"value": share}).scaled(100) for share in shares], colour)
        for colour, (name, shares) in enumerate(costs.items(), 3)
    ]
    layers = max(len(run["tokens_per_layer"]) for run in results["runs"]) - 1
    tokens = [
        plots.Series(run["name"], range(layers + 1), [Interval(count) for count in run["tokens_per_layer"]], number)
        for number, run in enumerate(results["runs"])
    ]
    figures = []
    if any(one.known() for one in accuracies):
        caption = "With 95 % intervals. The axis does not start at zero."
        figures.append(plots.intervals("accuracy", "Accuracy", accuracies, caption, x_label="videos (%)"))
    if any(one.known() for one in relative):
        figures.append(plots.intervals("cost", "Cost", relative, x_label="of the unmerged run (%)", whole=100))
    look = {"steps": True, "from_zero": True, "names": [*map(str, range(layers)), "out"]}
    return [*figures, plots.lines("tokens", "Tokens", tokens, x_label="entering layer", y_label="tokens", **look)]
