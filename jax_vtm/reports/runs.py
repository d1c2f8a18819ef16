"""What pages and terminals say of runs: their columns, what stands out, what was measured of what."""

import textwrap
from collections.abc import Mapping
from typing import Any

from jax_vtm.reports.formatting import (
    TIMES,
    accuracy_name,
    counted,
    factor,
    grouped,
    head_label,
    known,
    metric_label,
    number,
    percent,
    points,
    ratio,
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
_VIEW_AVERAGES = {
    "logits": "the mean of its views' logits",
    "softmax": "the mean of its views' probabilities",
    "max": "the maximum of its views' logits",
    "max_from_zero": "the maximum of its views' logits and zero",
}

NAME = Column("run", "run")
COSTS = (
    Column("clips_per_s", "clips/s", "", number, "Clips through the model per second, compilation excluded."),
    Column("speedup", "speed-up", TIMES, factor, "Clips per second over the unmerged run's, timed in turn."),
    Column("gmacs", "GMACs", "", number, "Multiply-accumulates for one clip in 10^9, counted from the shapes."),
    Column("mac_ratio", "ratio", "", ratio, "GMACs as a share of the unmerged run's."),
)
TOKENS = Column(
    "tokens",
    "tokens per layer",
    note="Tokens entering each layer, then those leaving the last; a class token counts.",
)


def runs_table(results: Results) -> Table:
    """Every run with its leading accuracies, how it differs from the baseline, and what it costs."""
    keys = leading_metrics(results)
    compared = any(known(entry.get("difference")) for entry in results.get("comparison") or [])
    agreeing = any(known(entry.get("agreement")) for entry in results.get("comparison") or [])
    main = main_metric(results)
    change = Column(
        "change",
        "change",
        "points",
        points,
        f"Of {accuracy_name(main)} against the unmerged model's on the same videos, with its 95 % interval."
        if main
        else "",
    )
    same = Column("agreement", "agreement", "%", percent, "Videos of which the unmerged model predicts the same.")
    columns = [NAME, *map(metric_column, keys), *[change] * compared, *[same] * agreeing, *COSTS, TOKENS]
    return Table("Results of every run", columns, [run_row(run, results) for run in results["runs"]])


def print_runs(results: Results) -> None:
    """Prints the table of runs, and what its numbers leave out."""
    runs_table(results).print()
    for warning in warnings(results):
        print(textwrap.fill(warning, TERMINAL_WIDTH) + "\n")


def run_row(run: Run, results: Results) -> dict[str, Any]:
    """All that the columns of runs may show."""
    entry = comparison(run, results)
    macs = run.get("macs_per_clip")
    return {
        "run": run["name"],
        **{key: Interval.of(metric) for key, metric in (run.get("metrics") or {}).items()},
        "change": Interval.of(entry, "difference"),
        "agreement": entry.get("agreement"),
        **timing(run, results),
        "gmacs": None if macs is None else macs / 1e9,
        "mac_ratio": run.get("mac_ratio"),
        "tokens": tokens_per_layer(run.get("tokens_per_layer") or []),
    }


def metric_column(key: str) -> Column:
    """The column of an accuracy."""
    note = _METRIC_NOTES.get(key) or _METRIC_NOTES.get(key.rpartition("/")[2], "")
    return Column(key, metric_label(key), "%", percent, note)


def other_accuracies(results: Results) -> Table | None:
    """What the first table has no room for: top-5 of several heads and of actions, means over classes."""
    keys = [key for key in metric_keys(results) if key not in leading_metrics(results)]
    means = list(dict.fromkeys(head for run in results["runs"] for head in run.get("class_means") or {}))
    columns = [NAME, *map(metric_column, keys)]
    for head in means:
        columns.append(Column(f"{head}/mean", f"{head_label(head)}mean per class", "%", percent, _MEAN_NOTE))
    rows = []
    for run in results["runs"]:
        found = run.get("class_means") or {}
        rows.append(run_row(run, results) | {f"{head}/mean": found[head].get("accuracy") for head in found})
        for head in found:
            if found[head].get("classes_without_videos"):
                empty = Column(f"{head}/empty", f"{head_label(head)}classes without videos", "", str)
                columns += [empty] * (empty not in columns)
                rows[-1][empty.key] = found[head]["classes_without_videos"]
    return Table("More accuracies of every run", columns, rows) if len(columns) > 1 else None


def metric_keys(results: Results) -> list[str]:
    """Every metric of any run, in the order of first appearance."""
    return list(dict.fromkeys(key for run in results["runs"] for key in run.get("metrics") or {}))


def leading_metrics(results: Results) -> list[str]:
    """The metrics that stand beside the costs: every top-1, and the top-5 of a model with a single head."""
    keys = metric_keys(results)
    leading = [key for key in keys if key.rpartition("/")[2] == "top1"]
    return keys if len(leading) < 2 else leading


def main_metric(results: Results) -> str | None:
    """The metric of the headline: the action's top-1, else the only head's, else the first top-1."""
    keys = metric_keys(results)
    preferred = [key for key in ("action/top1", "top1") if key in keys]
    return next(iter([*preferred, *(key for key in keys if key.endswith("top1")), *keys]), None)


def baseline_run(results: Results) -> Run | None:
    """The run that the others are compared with: as the comparisons say, else the first unmerged one."""
    named = {entry["baseline"] for entry in results.get("comparison") or []}
    runs = [run for run in results["runs"] if run["name"] in named]
    return next(iter([*runs, *(run for run in results["runs"] if mode(run) == "none")]), None)


def mode(run: Run) -> str | None:
    """The reduction mode of a run, None where it is not recorded."""
    return (run.get("reduction") or {}).get("mode")


def timing(run: Run, results: Results) -> Mapping[str, Any]:
    """What was measured of a run; empty where nothing was."""
    return ((results.get("measured") or {}).get("runs") or {}).get(run["name"]) or {}


def comparison(run: Run, results: Results) -> Mapping[str, Any]:
    """How a run's predictions differ from the baseline's; empty where that is not known."""
    return next((entry for entry in results.get("comparison") or [] if entry["run"] == run["name"]), {})


def warnings(results: Results) -> list[str]:
    """What the numbers leave out."""
    dataset = results["dataset"]
    failed = dataset.get("n_failed") or 0
    said = []
    if failed:
        said.append(
            f"{failed} of {counted(dataset['n_videos'], 'video')} could not be read. Every number here counts the "
            f"other {dataset['n_ok']} only."
        )
    parts = [
        f"{run['name']} {run['n_without_prediction']}" for run in results["runs"] if run.get("n_without_prediction")
    ]
    if parts:
        said.append(f"Videos whose output is not a number, which count as wrong: {', '.join(parts)}.")
    return said


def failures_table(results: Results) -> Table | None:
    """The videos that failed, with the reason."""
    failures = results.get("failures") or []
    columns = [Column("id", "video"), Column("reason", "reason")]
    return Table("Videos that could not be read", columns, failures) if failures else None


def measured_facts(results: Results) -> list[tuple[str, str]]:
    """What was measured of what, with what, on what."""
    dataset, model, protocol = results["dataset"], results.get("model") or {}, results.get("protocol") or {}
    environment = dict(results.get("environment") or {})
    heads = ", ".join(f"{head} ({classes} classes)" for head, classes in (model.get("heads") or {}).items())
    devices, *kind = [str(environment.pop(key, "")) for key in ("num_devices", "device_kind", "backend")]
    several = protocol.get("num_clips", 1) * protocol.get("num_crops", 1) > 1
    how = protocol.get("view_average")
    labels = "labelled" if dataset.get("labelled", True) else "without labels"
    waited = (results.get("measured") or {}).get("device_wait_share")
    return [
        ("Protocol", protocol.get("description", "")),
        ("Views", f"A video's prediction is made from {_VIEW_AVERAGES.get(how, how)}." if how and several else ""),
        (
            "Videos",
            f"{dataset.get('name', '')}: {dataset.get('n_ok')} of {dataset.get('n_videos')} evaluated, "
            f"{dataset.get('n_failed') or 0} failed; {labels}",
        ),
        ("Model", model.get("name", "")),
        ("Parameters", grouped(model["parameters"]) if "parameters" in model else ""),
        ("Heads", heads),
        ("Checkpoint", model.get("checkpoint") or ""),
        ("SHA-256", model.get("checkpoint_sha256") or ""),
        ("Devices", f"{devices} {TIMES} {' · '.join(filter(None, kind))}" if devices else ""),
        ("Software", ", ".join(f"{key} {value}" for key, value in environment.items())),
        ("Compile and run time", _times(results)),
        ("Waiting", f"The devices waited for data {percent(waited)} % of the time." if known(waited) else ""),
    ]


def _times(results: Results) -> str:
    spans = {
        run["name"]: ", ".join(
            f"{number(timing(run, results)[key])} s {word}"
            for key, word in (("compile_s", "compiling"), ("run_s", "running"))
            if known(timing(run, results).get(key))
        )
        for run in results["runs"]
    }
    return "; ".join(f"{name}: {span}" for name, span in spans.items() if span)
