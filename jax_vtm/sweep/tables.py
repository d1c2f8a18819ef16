"""Lists the runs of a sweep, and writes `sweep.csv`."""

import collections
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jax_vtm.evaluation import build
from jax_vtm.evaluation.run_names import UNMERGED, mode_name, run_name
from jax_vtm.files import csv_text
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models import VideoClassifier
from jax_vtm.reports import Column, Table
from jax_vtm.reports.formatting import number, ratio, tokens_per_layer
from jax_vtm.reports.runs import comparison, timing
from jax_vtm.sweep.grid import Experiment

_COLUMNS = (
    Column("number", ""),
    Column("run", "run"),
    Column("tokens", "tokens per layer"),
    Column("gmacs", "GMACs", "", number),
    Column("ratio", "ratio", "", ratio),
    Column("notes", "purpose"),
)
_SETTINGS = (
    "inflection",
    "head_aggregation",
    "proportional_attention",
    "threshold",
    "layout",
    "mean",
    "importance",
    "input",
)
_METRIC_PARTS = ("correct", "count", "low", "high")


def listing(experiments: Sequence[Experiment]) -> str:
    """Lists the runs of every experiment with tokens per layer and MACs; repeated runs name the first."""
    lines, numbers, distinct, total = [], itertools.count(1), 0, 0
    for one in experiments:
        unmerged = build.model(one.config, no_reduction())
        unmerged_macs = unmerged.macs.total
        first: dict[Reduction, tuple[int, VideoClassifier]] = {}
        rows = []
        for run, count in zip(one.runs, numbers, strict=False):
            repeated = f"as {first[run.effective][0]}" if run.effective in first else ""
            if not repeated:
                first[run.effective] = count, build.model(one.config, run.effective)
            _, model = first[run.effective]
            rows.append(
                {
                    "number": count,
                    "run": run_name(run.effective),
                    "tokens": tokens_per_layer(model.tokens_per_layer),
                    "gmacs": model.macs.total / 1e9,
                    "ratio": model.macs.total / unmerged_macs,
                    "notes": "; ".join(filter(None, (repeated, run.purpose, run.remark))),
                }
            )
        lines.append(
            f"{one.name}: {one.config.model.name} on {one.config.data.name}, {unmerged.input_shape[0]} frames, "
            f"{unmerged.tokens_per_layer[0]} tokens, {number(unmerged_macs / 1e9)} GMACs unmerged; "
            f"{len(one.runs)} runs listed, {len(one.reductions)} different reductions"
        )
        lines.append(Table(one.name, _COLUMNS, rows).text())
        distinct += len(first)
        total += sum(model.macs.total for _, model in first.values())
    remarks = collections.Counter(run.remark for one in experiments for run in one.runs if run.remark)
    lines.append(f"{sum(len(one.runs) for one in experiments)} runs listed, {distinct} of them different.")
    lines += [f"{times} of those listed: {remark}." for remark, times in remarks.items()]
    lines.append(f"One clip through each of the different runs: {total / 1e9:.1f} GMACs.")
    return "\n".join(lines)


def sweep_csv(experiments: Sequence[Experiment], done: Iterable[Mapping[str, Any]]) -> str:
    """Formats one row per run of the experiments that have results, with all settings, costs and metrics."""
    by_name = {one.name: one for one in experiments}
    return csv_text([_row(by_name[one["name"]], one, run) for one in done for run in one["runs"]])


def _row(experiment: Experiment, results: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    listed = [one for one in experiment.runs if run_name(one.effective) == run["name"]]
    reduction, is_unmerged = run["reduction"], run["name"] == UNMERGED
    measured, compared = timing(run, results), comparison(run, results)
    metrics: dict[str, Any] = {}
    for name, metric in run["metrics"].items():
        metrics |= {name: metric["value"], **{f"{name} {part}": metric[part] for part in _METRIC_PARTS}}
    row = {
        "experiment": experiment.name,
        "model": results["model"]["name"],
        "dataset": results["dataset"]["name"],
        "run": run["name"],
        "mode": mode_name(reduction["mode"]),
        "r": reduction["r"],
        **{key: "" if is_unmerged else reduction[key] for key in _SETTINGS},
        "repeat_layer": reduction["repeat_layer"],
        "purpose": "; ".join(dict.fromkeys(one.purpose for one in listed if one.purpose)),
        "remark": "; ".join(dict.fromkeys(one.remark for one in listed if one.remark)),
        "tokens_per_layer": " ".join(map(str, run["tokens_per_layer"])),
        "macs_per_clip": run["macs_per_clip"],
        "mac_ratio": run["mac_ratio"],
        "clips_per_s": measured["clips_per_s"],
        "speedup": measured["speedup"],
        "agreement": 1.0 if is_unmerged else compared.get("agreement"),
        "changed_metric": compared.get("metric"),
        "change": compared.get("difference"),
        "change_low": compared.get("low"),
        "change_high": compared.get("high"),
        "videos": results["dataset"]["n_videos"],
        **metrics,
    }
    return {key: json.dumps(value) if isinstance(value, (list, tuple, dict)) else value for key, value in row.items()}
