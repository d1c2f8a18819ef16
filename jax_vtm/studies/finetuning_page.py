"""The page of the study of finetuning: accuracy over arithmetic, training-free and finetuned."""

from collections.abc import Mapping
from typing import Any

from jax_vtm.evaluation.run_names import UNMERGED
from jax_vtm.reports import Column, Figure, Interval, Page, Table, plots, runs
from jax_vtm.reports.formatting import MINUS, accuracy_name, metric_label, percent, points
from jax_vtm.reports.page import Section, sections_page

Results = Mapping[str, Any]

# How weights came about.
TRAINING_FREE, WITH_MERGING, WITHOUT_MERGING = "training-free", "finetuned with merging", "finetuned without merging"
_WEIGHTS = (TRAINING_FREE, WITH_MERGING, WITHOUT_MERGING)
_INTERVALS = (
    "The mean over seeds, with a 95 % interval over videos and seeds: half of its width is the root of the sum of "
    "squares of both, that over seeds by Student's t."
)
_TEXT = (
    "The checkpoint is trained on for each reduction and seed, with that reduction on. A row has the same tokens and "
    "MACs in all its columns."
)
_CONTROL = " As a control it is trained for as many steps on the same clips without merging, and evaluated merged, too."


def finetuning_headline(results: Results) -> str:
    """Returns how many of the points that each reduction costs are won back."""
    parts = [
        f"{points(entry['gain']['value']).removeprefix('+')} of {percent(entry['cost'])}"
        for entry in results["study"]["compared"]
        if entry["weights"] == WITH_MERGING and entry["won_back"] is not None
    ]
    if not parts:
        return "Merging costs nothing here, so that finetuning has nothing to win back."
    said = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    metric = accuracy_name(results["study"]["metric"])
    return f"Of the points of {metric} that merging costs, finetuning with merging wins back {said}, at the same MACs."


def finetuning_table(results: Results) -> Table:
    """Makes the table of reductions, with the accuracies of all weights."""
    by_run = {run["name"]: run for run in results["runs"]}
    rows: dict[str, dict[str, Any]] = {}
    for entry in results["study"]["compared"]:
        run = by_run[entry["run"]]
        costs = {"gmacs": run["macs_per_clip"] / 1e9, "mac_ratio": run["mac_ratio"]}
        row = rows.setdefault(entry["run"], {"run": entry["run"], **costs})
        row[entry["weights"]] = Interval.of(entry["accuracy"])
        if entry["weights"] == WITH_MERGING:
            row |= {"gain": Interval.of(entry["gain"]), "cost": 0.0 - entry["cost"], "won_back": entry["won_back"]}
    _, _, *costs = runs.COSTS
    label = metric_label(results["study"]["metric"])
    weights = {how: Column(how, f"{how}: {label}", "%", percent, _INTERVALS) for how in _WEIGHTS}
    columns = [
        runs.NAME,
        *costs,
        weights[TRAINING_FREE],
        Column("cost", "cost of merging", "points", points, "Training-free, against unmerged."),
        weights[WITH_MERGING],
        Column("gain", "gain", "points", points, "Finetuned with merging, against training-free, on the same videos."),
        Column("won_back", "won back", "%", _signed_percent, "The gain as a share of the cost."),
        weights[WITHOUT_MERGING],
    ]
    found = [column for column in columns if any(column.key in row for row in rows.values())]
    return Table("Training-free and finetuned", found, [*rows.values()])


def finetuning_page(results: Results) -> Page:
    """Makes the page from the content of `results.json`."""
    training = results["study"]["training"]
    rate = f"{training['learning_rate']:g}, {training['schedule']}, after {training['warmup_steps']:g} steps of warm-up"
    facts = [
        ("Steps", f"{training['steps']} of {training['batch_size']} clips"),
        ("Learning rate", rate),
        ("Optimizer", f"{training['optimizer']}, weight decay {training['weight_decay']:g}"),
        ("Seeds", ", ".join(map(str, results["study"]["seeds"]))),
    ]
    has_control = any(entry["weights"] == WITHOUT_MERGING for entry in results["study"]["compared"])
    sections = [
        Section("Won back", _TEXT + _CONTROL * has_control, [_accuracy(results)], finetuning_table(results)),
        Section("How it was trained", facts=facts),
        Section("Every run", table=runs.runs_table(results)),
        *runs.closing_sections(results),
    ]
    about = results["dataset"].get("description")
    return sections_page(results, "study", about, finetuning_headline(results), runs.warnings(results), sections)


def _signed_percent(share: float) -> str:
    return percent(share).replace("-", MINUS)


def _accuracy(results: Results) -> Figure:
    macs = {run["name"]: 100 * run["mac_ratio"] for run in results["runs"]}
    compared = results["study"]["compared"]
    series = []
    for place, how in enumerate(_WEIGHTS):
        entries = sorted(
            (entry for entry in compared if entry["weights"] == how and entry["run"] != UNMERGED),
            key=lambda entry: macs[entry["run"]],
        )
        values = [Interval.of(entry["accuracy"]).scaled(100) for entry in entries]
        if entries:
            series.append(plots.Series(how, [macs[entry["run"]] for entry in entries], values, 1 + place, marker=place))
    unmerged = Interval(100 * compared[0]["accuracy"]["value"])
    ends = [min(series[0].x), max(series[0].x)]
    series.append(plots.Series(UNMERGED, ends, [unmerged, unmerged], 0, dashed=True))
    label = metric_label(results["study"]["metric"])
    return plots.lines(
        "accuracy over macs",
        f"{label.capitalize()} over arithmetic",
        series,
        "Means over seeds with 95 % intervals; each point is a reduction. The axis does not start at zero.",
        x_label="MACs (% of unmerged)",
        y_label=f"{label} (%)",
    )
