"""`sweep.csv`: one row per run, with every setting, every cost and every metric."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.evaluation.run_names import UNMERGED, run_name
from jax_vtm.files import csv_text
from jax_vtm.sweep.grid import Cell

METRIC_PARTS = ("correct", "count", "low", "high")


def table(cells: Mapping[str, Cell], results: Sequence[Mapping[str, Any]]) -> str:
    """Writes the rows of all cells; where a cell has no such metric, its columns are empty.

    Args:
        cells: By name.
        results: Of the cells that have any so far, as `results.json` holds them.
    """
    rows = [_row(cells[one["name"]], one, run) for one in results for run in one["runs"]]
    return csv_text(rows)


def _row(cell: Cell, results: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    listed = [one for one in cell.listed if run_name(one.effective) == run["name"]]
    reduction = run["reduction"]
    measured = results["measured"]["runs"][run["name"]]
    comparison = next((entry for entry in results["comparison"] if entry["run"] == run["name"]), {})
    is_unmerged = run["name"] == UNMERGED
    settings = {
        key: "" if is_unmerged else reduction[key]
        for key in ("inflection", "head_aggregation", "proportional_attention", "threshold", "layout")
    }
    return {
        "cell": cell.name,
        "model": results["model"]["name"],
        "dataset": results["dataset"]["name"],
        "run": run["name"],
        "mode": reduction["mode"],
        "r": _plain(reduction["r"]),
        **settings,
        "repeat_layer": _plain(reduction["repeat_layer"]),
        "purpose": _joined(one.purpose for one in listed),
        "remark": _joined(one.remark for one in listed),
        "tokens_per_layer": " ".join(map(str, run["tokens_per_layer"])),
        "macs_per_clip": run["macs_per_clip"],
        "mac_ratio": run["mac_ratio"],
        "clips_per_s": measured["clips_per_s"],
        "speedup": measured["speedup"],
        "agreement": 1.0 if is_unmerged else comparison.get("agreement", ""),
        "changed_metric": comparison.get("metric") or "",
        "change": _plain(comparison.get("difference")),
        "change_low": _plain(comparison.get("low")),
        "change_high": _plain(comparison.get("high")),
        "videos": results["dataset"]["n_videos"],
        **_metrics(run["metrics"]),
    }


def _metrics(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    columns = {}
    for name, metric in metrics.items():
        columns[name] = metric["value"]
        columns |= {f"{name} {part}": metric[part] for part in METRIC_PARTS}
    return columns


def _plain(value: Any) -> Any:
    """A list as JSON, nothing as an empty cell."""
    return "" if value is None else json.dumps(value) if isinstance(value, (list, tuple)) else value


def _joined(texts: Any) -> str:
    return "; ".join(dict.fromkeys(filter(None, texts)))
