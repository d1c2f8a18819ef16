"""Formats runs for pages and the terminal. The first run is unmerged; the others are compared with it."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.evaluation import metrics
from jax_vtm.reports import plots
from jax_vtm.reports.figure import Figure
from jax_vtm.reports.formatting import (
    TIMES,
    accuracy_name,
    factor,
    head_label,
    is_known,
    metric_label,
    number,
    percent,
    plural,
    points,
    ratio,
    thousands,
    tokens_per_layer,
)
from jax_vtm.reports.page import Section
from jax_vtm.reports.table import TERMINAL_WIDTH, Column, Interval, Table

Results = Mapping[str, Any]
Run = Mapping[str, Any]

_METRIC_NOTES = {
    "top1": "Share of videos whose label is the most likely class, with a 95 % interval.",
    "top5": "Share of videos whose label is among the five most likely classes.",
    "action/top1": "Share of videos for which every head's most likely class is correct.",
    "action/top5_each": "Share of videos for which every head's label is among its five most likely classes, as the "
    "PyTorch reference counts it.",
    "action/top5_joint": "Share of videos whose labels are one of the five most likely combinations of the heads' "
    "classes, by the product of their probabilities, as Scenic counts it. It is stricter than top-5, each head.",
}
_MEAN_NOTE = "Mean of the accuracies of the classes that have videos."

NAME = Column("run", "run")
COSTS = (
    Column("clips_per_s", "clips/s", "", number, "Clips through the model per second, without compilation."),
    Column("speedup", "speed-up", TIMES, factor, "Ratio of clips/s to the unmerged run's, timed in turn."),
    Column("gmacs", "GMACs", "", number, "Multiply-accumulates for one clip in billions, counted from the shapes."),
    Column("mac_ratio", "ratio", "", ratio, "GMACs as a share of the unmerged run's."),
)
TOKENS = Column(
    "tokens",
    "tokens per layer",
    note="Tokens entering each layer, then tokens leaving the last one; including a class token.",
)


def runs_table(results: Results) -> Table:
    """Makes the table of runs: leading accuracies, change and agreement, costs, tokens per layer."""
    compared, main = results["comparison"], main_metric(results)
    note = f"Change of {accuracy_name(main or '')} from the unmerged run, on the same videos, with a 95 % interval."
    same = "Share of videos with the same prediction as unmerged."
    columns = [NAME, *map(_metric_column, leading_metrics(results))]
    if any(is_known(entry.get("difference")) for entry in compared):
        columns.append(Column("difference", "change", "points", points, note))
    if any(is_known(entry.get("agreement")) for entry in compared):
        columns.append(Column("agreement", "agreement", "%", percent, same))
    rows = [run_row(run, results) for run in results["runs"]]
    return Table("Results of every run", [*columns, *COSTS, TOKENS], rows)


def print_runs(results: Results) -> None:
    """Prints the table of runs and the warnings."""
    runs_table(results).print()
    for warning in warnings(results):
        print(textwrap.fill(warning, TERMINAL_WIDTH) + "\n")


def run_row(run: Run, results: Results) -> dict[str, Any]:
    """Returns the values of a run for all columns."""
    entry = comparison(run, results)
    return {
        "run": run["name"],
        **{key: Interval.of(metric) for key, metric in run["metrics"].items()},
        "difference": Interval.of(entry, "difference"),
        "agreement": entry.get("agreement"),
        **timing(run, results),
        "gmacs": run["macs_per_clip"] / 1e9,
        "mac_ratio": run["mac_ratio"],
        "tokens": tokens_per_layer(run["tokens_per_layer"]),
    }


def _metric_column(key: str) -> Column:
    note = _METRIC_NOTES.get(key) or _METRIC_NOTES.get(key.rpartition("/")[2], "")
    return Column(key, metric_label(key), "%", percent, note)


def other_accuracies(results: Results) -> Table:
    """Makes the table of the other accuracies: top-5 of several heads and of actions, means over classes."""
    rows = [run_row(run, results) for run in results["runs"]]
    columns = {key: _metric_column(key) for key in metric_keys(results) if key not in leading_metrics(results)}
    for row, run in zip(rows, results["runs"], strict=True):
        for head, found in run["class_means"].items():
            title = f"{head_label(head)}mean per class"
            columns.setdefault(f"{head}/mean", Column(f"{head}/mean", title, "%", percent, _MEAN_NOTE))
            row[f"{head}/mean"] = found["accuracy"]
            if found["classes_without_videos"]:
                key, title = f"{head}/empty", f"{head_label(head)}classes without videos"
                columns.setdefault(key, Column(key, title, "", str))
                row[key] = found["classes_without_videos"]
    return Table("More accuracies of every run", [NAME, *columns.values()], rows if columns else [])


def accuracy_figure(by_run: Mapping[str, Mapping[str, Any]], keys: Sequence[str], caption: str = "") -> Figure:
    """Draws the metrics `keys` of {run: {metric: interval}}."""
    labels = [metric_label(key) for key in keys]
    series = [
        plots.Series(name, labels, [Interval.of(found.get(key)).scaled(100) for key in keys], number)
        for number, (name, found) in enumerate(by_run.items())
    ]
    caption = f"With 95 % intervals{caption}. The axis does not start at zero."
    return plots.intervals("accuracy", "Accuracy", series, caption, x_label="videos (%)")


def metric_keys(results: Results) -> list[str]:
    """Returns the metrics of all runs."""
    return list(dict.fromkeys(key for run in results["runs"] for key in run["metrics"]))


def leading_metrics(results: Results) -> list[str]:
    """Returns the metrics of the first table: every top-1, and top-5 of a single head."""
    keys = metric_keys(results)
    leading = [key for key in keys if key.rpartition("/")[2] == "top1"]
    return keys if len(leading) < 2 else leading


def main_metric(results: Results) -> str | None:
    """Returns the metric of the headline and of the comparisons; None without labels."""
    keys = metric_keys(results)
    return metrics.main_metric(keys) if keys else None


def timing(run: Run, results: Results) -> Mapping[str, Any]:
    """Returns the timing of a run; empty if it was not timed."""
    return results["measured"].get("runs", {}).get(run["name"], {})


def comparison(run: Run, results: Results) -> Mapping[str, Any]:
    """Returns the comparison of a run with the baseline; empty if there is none."""
    return next((entry for entry in results["comparison"] if entry["run"] == run["name"]), {})


def warnings(results: Results) -> list[str]:
    """Returns warnings: videos that could not be read, outputs that are not numbers."""
    dataset, messages = results["dataset"], []
    if dataset["n_failed"]:
        messages.append(
            f"{dataset['n_failed']} of {plural(dataset['n_videos'], 'video')} could not be read. All numbers are of "
            f"the other {dataset['n_ok']}."
        )
    without = {run["name"]: run.get("n_without_prediction") for run in results.get("runs", ())}
    if parts := [f"{name} {count}" for name, count in without.items() if count]:
        messages.append(f"Videos whose output is not a number, which count as wrong: {', '.join(parts)}.")
    return messages


def closing_sections(results: Results, prefix: str = "", text: str = "") -> list[Section]:
    """Makes the last sections of a page of runs: failed videos, and how it was measured.

    Args:
        results: Of an evaluation, or in its form.
        prefix: Of the titles.
        text: Above the facts.
    """
    hidden = results["dataset"]["n_failed"] - len(results["failures"])
    return [
        Section(
            f"{prefix}Videos that could not be read",
            table=failures_table(results["failures"]),
            caption=f"{hidden} more are in failures.csv." if hidden else "",
        ),
        Section(f"{prefix}How it was measured", text, facts=_measured_facts(results)),
    ]


def failures_table(failures: Sequence[Mapping[str, str]]) -> Table:
    """Makes the table of videos that could not be read."""
    return Table("Videos that could not be read", [Column("id", "video"), Column("reason", "reason")], failures)


def _measured_facts(results: Results) -> list[tuple[str, str]]:
    dataset, model, environment = results["dataset"], results["model"], dict(results["environment"])
    devices, *kind = [str(environment.pop(key)) for key in ("num_devices", "device_kind", "backend")]
    waited = results["measured"].get("device_wait_share")
    return [
        ("Protocol", results["protocol"]["description"]),
        (
            "Videos",
            f"{dataset['name']}: {dataset['n_ok']} of {dataset['n_videos']} evaluated, {dataset['n_failed']} failed; "
            f"{'labelled' if dataset['labelled'] else 'without labels'}",
        ),
        ("Model", model["name"]),
        ("Parameters", thousands(model["parameters"])),
        ("Heads", ", ".join(f"{head} ({classes} classes)" for head, classes in model["heads"].items())),
        ("Checkpoint", model["checkpoint"]),
        ("SHA-256", model["checkpoint_sha256"]),
        ("Devices", f"{devices} {TIMES} {' · '.join(kind)}"),
        ("Software", ", ".join(f"{key} {value}" for key, value in environment.items())),
        ("Compile and run time", _times(results)),
        ("Waiting", f"The devices waited for data {percent(waited)} % of the time." if is_known(waited) else ""),
    ]


def _times(results: Results) -> str:
    """Formats the times of one or two runs; those of many would fill pages."""
    parts = []
    for run in results["runs"] if len(results["runs"]) <= 2 else ():
        found = timing(run, results)
        if is_known(found.get("compile_s")) and is_known(found.get("run_s")):
            parts.append(f"{run['name']}: {number(found['compile_s'])} s compiling, {number(found['run_s'])} s running")
    return "; ".join(parts)
