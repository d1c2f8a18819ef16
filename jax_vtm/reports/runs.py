"""What pages and terminals say of runs: their columns, what stands out, what was measured of what.

The first run merges nothing; the others are compared with it.
"""

import textwrap
from collections.abc import Mapping
from typing import Any

from jax_vtm.evaluation import metrics
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
from jax_vtm.reports.table import TERMINAL_WIDTH, Column, Interval, Table

Results = Mapping[str, Any]
Run = Mapping[str, Any]

_METRIC_NOTES = {
    "top1": "Share of videos whose label is the model's first class, with its 95 % interval below it.",
    "top5": "Share of videos whose label is among the model's first five classes.",
    "action/top1": "Share of videos for which every head's first class is right.",
    "action/top5_each": "Share of videos for which every head's label is among that head's first five classes; the "
    "PyTorch reference of the method counts this.",
    "action/top5_joint": "Share of videos whose labels are one of the five most likely combinations of the heads' "
    "classes, by the product of their probabilities; Scenic counts this. It asks for more than top-5, each head.",
}
_MEAN_NOTE = "The accuracy of each class, averaged over those that have videos, so that rare ones count as much."

NAME = Column("run", "run")
COSTS = (
    Column("clips_per_s", "clips/s", "", number, "Clips through the model per second, compilation excluded."),
    Column("speedup", "speed-up", TIMES, factor, "Clips per second over the unmerged run's, timed in turn."),
    Column("gmacs", "GMACs", "", number, "Multiply-accumulates for one clip in billions, counted from the shapes."),
    Column("mac_ratio", "ratio", "", ratio, "GMACs as a share of the unmerged run's."),
)
TOKENS = Column(
    "tokens",
    "tokens per layer",
    note="Tokens entering each layer, then those leaving the last; a class token counts.",
)


def runs_table(results: Results) -> Table:
    """Every run with its leading accuracies, how it differs from the baseline, and what it costs."""
    compared, main = results["comparison"], main_metric(results)
    note = f"Of {accuracy_name(main or '')} against the unmerged model's on the same videos, with its 95 % interval."
    same = "Videos of which the unmerged model predicts the same."
    columns = [NAME, *map(metric_column, leading_metrics(results))]
    if any(is_known(entry.get("difference")) for entry in compared):
        columns.append(Column("difference", "change", "points", points, note))
    if any(is_known(entry.get("agreement")) for entry in compared):
        columns.append(Column("agreement", "agreement", "%", percent, same))
    rows = [run_row(run, results) for run in results["runs"]]
    return Table("Results of every run", [*columns, *COSTS, TOKENS], rows)


def print_runs(results: Results) -> None:
    """Prints the table of runs, and what its numbers leave out."""
    runs_table(results).print()
    for warning in warnings(results):
        print(textwrap.fill(warning, TERMINAL_WIDTH) + "\n")


def run_row(run: Run, results: Results) -> dict[str, Any]:
    """All that the columns of runs may show."""
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


def metric_column(key: str) -> Column:
    """The column of an accuracy."""
    note = _METRIC_NOTES.get(key) or _METRIC_NOTES.get(key.rpartition("/")[2], "")
    return Column(key, metric_label(key), "%", percent, note)


def other_accuracies(results: Results) -> Table | None:
    """What the first table has no room for: top-5 of several heads and of actions, means over classes."""
    rows = [run_row(run, results) for run in results["runs"]]
    columns = {key: metric_column(key) for key in metric_keys(results) if key not in leading_metrics(results)}
    for row, run in zip(rows, results["runs"], strict=True):
        for head, found in run["class_means"].items():
            title = f"{head_label(head)}mean per class"
            columns.setdefault(f"{head}/mean", Column(f"{head}/mean", title, "%", percent, _MEAN_NOTE))
            row[f"{head}/mean"] = found["accuracy"]
            if found["classes_without_videos"]:
                key, title = f"{head}/empty", f"{head_label(head)}classes without videos"
                columns.setdefault(key, Column(key, title, "", str))
                row[key] = found["classes_without_videos"]
    return Table("More accuracies of every run", [NAME, *columns.values()], rows) if columns else None


def metric_keys(results: Results) -> list[str]:
    """Every metric of any run, in the order of first appearance."""
    return list(dict.fromkeys(key for run in results["runs"] for key in run["metrics"]))


def leading_metrics(results: Results) -> list[str]:
    """The metrics next to the costs: every top-1, and the top-5 of a model with a single head."""
    keys = metric_keys(results)
    leading = [key for key in keys if key.rpartition("/")[2] == "top1"]
    return keys if len(leading) < 2 else leading


def main_metric(results: Results) -> str | None:
    """The metric of the headline and of the comparisons; None without labels."""
    keys = metric_keys(results)
    return metrics.main_metric(keys) if keys else None


def mode(run: Run) -> str:
    """The reduction mode of a run."""
    return run["reduction"]["mode"]


def timing(run: Run, results: Results) -> Mapping[str, Any]:
    """What was measured of a run; empty where nothing was."""
    return results["measured"].get("runs", {}).get(run["name"], {})


def comparison(run: Run, results: Results) -> Mapping[str, Any]:
    """How a run's predictions differ from the baseline's; empty where that is not known."""
    return next((entry for entry in results["comparison"] if entry["run"] == run["name"]), {})


def warnings(results: Results) -> list[str]:
    """What the numbers leave out."""
    dataset, said = results["dataset"], []
    if dataset["n_failed"]:
        said.append(
            f"{dataset['n_failed']} of {plural(dataset['n_videos'], 'video')} could not be read. Every number here "
            f"counts the other {dataset['n_ok']} only."
        )
    without = {run["name"]: run.get("n_without_prediction") for run in results.get("runs", ())}
    if parts := [f"{name} {count}" for name, count in without.items() if count]:
        said.append(f"Videos whose output is not a number, which count as wrong: {', '.join(parts)}.")
    return said


def failures_table(results: Results) -> Table | None:
    """The videos that failed, with the reason."""
    columns = [Column("id", "video"), Column("reason", "reason")]
    return Table("Videos that could not be read", columns, results["failures"]) if results["failures"] else None


def measured_facts(results: Results) -> list[tuple[str, str]]:
    """What was measured of what, with what, on what."""
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
    said = []
    for run in results["runs"]:
        found = timing(run, results)
        if is_known(found.get("compile_s")) and is_known(found.get("run_s")):
            said.append(f"{run['name']}: {number(found['compile_s'])} s compiling, {number(found['run_s'])} s running")
    return "; ".join(said)
