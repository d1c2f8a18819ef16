"""The results of a benchmark as tables of plain text."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.benchmarks.beside import beside
from jax_vtm.benchmarks.words import (
    between,
    busy_words,
    headline,
    idle_words,
    machine_words,
    measured_rows,
    milliseconds,
    peak_words,
    small,
    value,
)
from jax_vtm.reports import wording
from jax_vtm.reports.columns import Column, render

WIDTH = 120

Rows = Sequence[Mapping[str, Any]]


def format_benchmark(results: Mapping[str, Any]) -> str:
    """Tables for a terminal: speed, what surrounds it, other implementations, what merging costs, compiling.

    Args:
        results: What `benchmark.json` holds.
    """
    measured = measured_rows(results)
    blocks = [
        _speeds(measured),
        _levels(measured),
        _beside(measured),
        _merging(measured),
        _compiling(measured),
    ]
    blocks += ["\n".join(_missing(results["rows"]))]
    notes = [headline(results), peak_words(results), machine_words(results), idle_words(results), busy_words(results)]
    blocks += ["\n".join(textwrap.wrap(note, WIDTH)) for note in notes if note]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _table(title: str, columns: Sequence[Column]) -> str:
    return "\n".join([title, *render(columns)])


def _names(rows: Rows) -> Column:
    return Column("setting", [[row["name"]] for row in rows], left=True)


def _speeds(rows: Rows) -> str:
    if not rows:
        return ""
    levels = [row["levels"]["model"] for row in rows]
    return _table(
        "Model alone: clips on the device, medians [quartiles] over rounds",
        [
            _names(rows),
            Column("GMACs", [[wording.number(row["macs_per_clip"] / 1e9)] for row in rows]),
            Column("ms per clip", [[milliseconds(level["ms_per_clip"])] for level in levels]),
            Column("clips/s", [[wording.number(value(level, "clips_per_s"))] for level in levels]),
            Column("MAC ratio", [[wording.times(row["mac_ratio"])] for row in rows]),
            Column("speed-up", [[between(level.get("speed_up"), 2)] for level in levels]),
            Column("% of MAC ratio", [[between(level.get("percent_of_mac_ratio"), 0)] for level in levels]),
            Column("% of peak", [[wording.number(_hundredfold(value(level, "share_of_peak")))] for level in levels]),
            Column("MiB", [[_mebibytes(row)] for row in rows]),
        ],
    )


def _levels(rows: Rows) -> str:
    levels = [level for level in ("transfer", "decoding") if any(level in row["levels"] for row in rows)]
    if not levels:
        return ""
    columns = [Column("model", [[_rate(row, "model")] for row in rows])]
    columns += [Column(level, [[_rate(row, level)] for row in rows]) for level in levels]
    columns += [
        Column(f"speed-up, {level}", [[between((row["levels"].get(level) or {}).get("speed_up"), 2)] for row in rows])
        for level in levels
    ]
    return _table("Clips/s of the model alone, from the host's memory, from encoded films", [_names(rows), *columns])


def _beside(rows: Rows) -> str:
    lines = beside(rows)
    if not lines:
        return ""
    return _table(
        "Beside PyTorch, same weights and clips",
        [
            Column("setting", [[line.work] for line in lines], left=True),
            Column("implementation", [[line.implementation] for line in lines], left=True),
            Column("ms per clip", [[milliseconds(line.ms_per_clip)] for line in lines]),
            Column("over its unmerged", [[between(line.speed_up, 2)] for line in lines]),
            Column("jax_vtm is times as fast", [[between(line.ours_to_it, 2)] for line in lines]),
            Column("logits differ", [[small(line.difference)] for line in lines]),
        ],
    )


def _merging(rows: Rows) -> str:
    sliced = [row for row in rows if "share_of_merging" in row["levels"]["model"]]
    if not sliced:
        return ""
    return _table(
        "What matching and merging take of the time: the whole less the same with layers that keep their first tokens",
        [
            Column("setting", [[row["name"].removesuffix(", sliced")] for row in sliced], left=True),
            Column("tokens", [[str(row["tokens_per_layer"][0])] for row in sliced]),
            Column(
                "% of the time",
                [[between(row["levels"]["model"]["share_of_merging"], 1, 100)] for row in sliced],
            ),
        ],
    )


def _compiling(rows: Rows) -> str:
    ours = [row for row in rows if row.get("compile_s") is not None]
    if not ours:
        return ""
    columns = [
        _names(ours),
        Column("traces", [[str(row["traces"])] for row in ours]),
        Column("trace s", [[wording.number(row["trace_s"])] for row in ours]),
        Column("compile s", [[wording.number(row["compile_s"])] for row in ours]),
        Column("from cache s", [[wording.number(row["cached_compile_s"])] for row in ours]),
        Column("first run s", [[wording.number(row["first_run_s"])] for row in ours]),
    ]
    return _table("Compiling, apart from the above", columns)


def _missing(rows: Rows) -> list[str]:
    return [f"not measured: {row['name']}: {row['reason']}" for row in rows if row["status"] != "measured"]


def _rate(row: Mapping[str, Any], level: str) -> str:
    return wording.number(value(row["levels"].get(level) or {}, "clips_per_s"))


def _hundredfold(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _mebibytes(row: Mapping[str, Any]) -> str:
    held = row.get("program_bytes")
    return wording.number(held["together"] / 2**20) if held else wording.MISSING
