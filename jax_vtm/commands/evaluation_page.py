"""The page of an evaluation: accuracy, cost and tokens of each run, classes, published numbers."""

from collections.abc import Sequence
from typing import Any

from jax_vtm.reports import Column, Figure, Interval, Page, Picture, Table, headline, plots, runs
from jax_vtm.reports.classes import Confusions, class_sections
from jax_vtm.reports.page import Section, sections_page
from jax_vtm.reports.published import published_section
from jax_vtm.reports.runs import Results


def evaluation_page(results: Results, pictures: Sequence[Picture] = (), confusions: Confusions | None = None) -> Page:
    """Makes the page from the content of `results.json`, pictures, and {run: {head: [true, predicted] counts}}."""
    published = published_section(results)
    sections = [
        Section("Results", figures=_figures(results), table=runs.runs_table(results)),
        *(Section(picture.title, picture=picture) for picture in pictures),
        Section("More accuracies", table=runs.other_accuracies(results)),
        *([published] if published else []),
        *class_sections(results["runs"], confusions or {}),
        Section("Predictions", table=_predictions_table(results)),
        *runs.closing_sections(results),
    ]
    about = results["dataset"]["description"]
    return sections_page(results, "evaluation", about, headline(results), runs.warnings(results), sections)


def _predictions_table(results: Results) -> Table:
    columns: dict[str, Column] = {}
    rows: dict[str, dict[str, Any]] = {}
    for run in results["runs"]:
        for entry in run.get("predictions") or ():
            row = rows.setdefault(entry["id"], {"id": entry["id"]})
            for head in [name for name in entry if name != "id"]:
                key = f"{run['name']}/{head}"
                row[key] = entry[head]
                columns.setdefault(key, Column(key, f"{run['name']}: {head}"))
    return Table("Predictions", [Column("id", "video"), *columns.values()], list(rows.values()))


def _figures(results: Results) -> list[Figure]:
    rows = [runs.run_row(run, results) for run in results["runs"][1:]]
    names = [row["run"] for row in rows]
    costs = {
        "arithmetic": [row["mac_ratio"] for row in rows],
        "time": [1 / row["speedup"] if row.get("speedup") else None for row in rows],
    }
    relative = [
        plots.Series(name, names, [Interval.of({"value": share}).scaled(100) for share in shares], colour)
        for colour, (name, shares) in enumerate(costs.items(), 3)
    ]
    return [
        runs.accuracy_figure({run["name"]: run["metrics"] for run in results["runs"]}, runs.leading_metrics(results)),
        plots.intervals("cost", "Cost", relative, x_label="of the unmerged run (%)", whole=100),
        plots.tokens({run["name"]: run["tokens_per_layer"] for run in results["runs"]}),
    ]
