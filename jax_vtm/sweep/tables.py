"""The runs of a sweep as text: what it would run, and `sweep.csv` with all that was measured."""

import collections
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jax_vtm.evaluation import build
from jax_vtm.evaluation.run_names import UNMERGED, run_name
from jax_vtm.files import csv_text
from jax_vtm.merging import Reduction, no_reduction
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
    Column("notes", "what for"),
)
_SETTINGS = ("inflection", "head_aggregation", "proportional_attention", "threshold", "layout")
_METRIC_PARTS = ("correct", "count", "low", "high")


def listing(experiments: Sequence[Experiment]) -> str:
    """Lists the runs of every experiment with tokens per layer and MACs, and the totals.

    Nothing but the models' shapes is looked at. A run that comes to the same as an earlier one says which.
    """
    lines, numbers, distinct, total = [], itertools.count(1), 0, 0
    for one in experiments:
        unmerged = build.model(one.config, no_reduction())
        whole = unmerged.macs.total
        # Of every different reduction, the number of its first run, its tokens per layer and its MACs.
        first: dict[Reduction, tuple[int, str, int]] = {}
        rows = []
        for run, count in zip(one.runs, numbers, strict=False):
            again = ""
            if run.effective in first:
                again = f"as {first[run.effective][0]}"
            else:
                model = build.model(one.config, run.effective)
                first[run.effective] = count, tokens_per_layer(model.tokens_per_layer), model.macs.total
            _, tokens, macs = first[run.effective]
            rows.append(
                {
                    "number": count,
                    "run": run_name(run.effective),
                    "tokens": tokens,
                    "gmacs": macs / 1e9,
                    "ratio": macs / whole,
                    "notes": "; ".join(filter(None, (again, run.purpose, run.remark))),
                }
            )
        lines.append(
            f"{one.name}: {one.config.model.name} on {one.config.data.name}, {unmerged.input_shape[0]} frames, "
            f"{unmerged.tokens_per_layer[0]} tokens, {number(whole / 1e9)} GMACs unmerged; "
            f"{len(one.runs)} runs listed, {len(one.reductions)} different reductions"
        )
        lines.append(Table(one.name, _COLUMNS, rows).text())
        distinct += len(first)
        total += sum(macs for _, _, macs in first.values())
    remarks = collections.Counter(run.remark for one in experiments for run in one.runs if run.remark)
    lines.append(f"{sum(len(one.runs) for one in experiments)} runs listed, {distinct} of them different.")
    lines += [f"{times} of those listed: {remark}." for remark, times in remarks.items()]
    lines.append(f"One clip through each of the different ones: {total / 1e9:.1f} GMACs.")
    return "\n".join(lines)


def sweep_csv(experiments: Sequence[Experiment], done: Iterable[Mapping[str, Any]]) -> str:
    """Writes one row per run, with every setting, every cost and every metric.

    Args:
        experiments: Those of the sweep.
        done: Results of those that have any so far, as `results.json` holds them.
    """
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
        "mode": reduction["mode"],
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
    return {key: _plain(value) for key, value in row.items()}


def _plain(value: Any) -> Any:
    """A list as JSON, nothing as an empty field."""
    return "" if value is None else json.dumps(value) if isinstance(value, (list, tuple)) else value
