"""The results of a benchmark as one HTML page: how much of the arithmetic's gain arrives, at which distance."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.benchmarks.beside import beside
from jax_vtm.benchmarks.plots import growth_plots, speed_up_plots
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
from jax_vtm.reports.document import document
from jax_vtm.reports.markup import cell, figure, nonbreaking, row_head, safe, section, table
from jax_vtm.reports.page import date

_COLUMN_NOTES = (
    ("GMACs", "Multiply-accumulates of one clip in 10^9, matrix products only; GFLOP are twice as many."),
    ("ms per clip", "Median over the rounds, and below it the quartiles. Every round times each setting once."),
    (
        "MAC ratio",
        "What the unmerged model computes over what this one does: the speed-up that arithmetic allows.",
    ),
    ("speed-up", "Median of the rounds' ratios to the unmerged setting that is otherwise the same."),
    ("% of MAC ratio", "The speed-up in percent of the MAC ratio."),
    (
        "% of peak",
        "Its rate of multiply-accumulates over that of one large matrix product, same type, same rounds.",
    ),
    ("memory", "What the compiled program holds: arguments, outputs and temporaries, as the compiler says."),
    ("transfer", "From clips of uint8 frames in the host's memory, to logits there."),
    ("decoding", "From encoded films, decoded ahead by the loader of an evaluation, to logits in the host's memory."),
    ("sliced", "Layers keep their first tokens: what is left without matching and merging, at the same shapes."),
)


def render_benchmark(results: Mapping[str, Any]) -> str:
    """One self-contained HTML page, like that of an evaluation.

    Args:
        results: What `benchmark.json` holds.
    """
    rows = measured_rows(results)
    missing = [row for row in results["rows"] if row["status"] != "measured"]
    warnings = [f"{len(missing)} of {len(results['rows'])} settings could not be measured here."] if missing else []
    busy = busy_words(results)
    warnings += [busy] if busy else []
    sections = [
        section("Speed-up", _plots(speed_up_plots(rows))),
        section("Growth with the length of a clip", _plots(growth_plots(rows))),
        section("Every setting", _speeds(rows)),
        section("Beside PyTorch", _beside(rows)),
        section("From the device, from memory, from films", _levels(rows)),
        section("What matching and merging take", _merging(rows)),
        section("Compiling", _compiling(rows)),
        section("Not measured", _missing(missing)),
        section("How it was measured", _facts(results)),
        section("What the columns mean", _notes()),
    ]
    name = str(results["name"])
    eyebrow = f"{name} · {results['machine']['device_kind']} · {date(results['machine']['created'])}"
    answer = headline(results) or f"{len(rows)} settings were measured."
    return document(f"{name}, benchmark", eyebrow, answer, warnings, sections)


def _plots(plots: Sequence[tuple[str, str, str]]) -> str:
    drawn = "".join(figure(title, drawing, caption) for title, drawing, caption in plots)
    return f'<div class="plots">{drawn}</div>' if drawn else ""


def _speeds(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = [
        ("setting", "text"),
        *((text, "number") for text in ("GMACs", "ms per clip", "clips/s", "MAC ratio", "speed-up", "% of MAC ratio")),
        ("% of peak", "number"),
        ("memory, MiB", "number"),
        ("tokens per layer", "text"),
    ]
    lines = []
    for row in rows:
        level = row["levels"]["model"]
        held = (row.get("program_bytes") or {}).get("together")
        peak = value(level, "share_of_peak")
        tokens = row["tokens_per_layer"]
        cells = [
            cell(wording.number(row["macs_per_clip"] / 1e9), row["macs_per_clip"]),
            _spread_cell(level["ms_per_clip"], milliseconds(level["ms_per_clip"])),
            cell(wording.number(value(level, "clips_per_s")), value(level, "clips_per_s")),
            cell(wording.times(row["mac_ratio"]), row["mac_ratio"]),
            _spread_cell(level.get("speed_up"), between(level.get("speed_up"), 2), wording.TIMES),
            _spread_cell(level.get("percent_of_mac_ratio"), between(level.get("percent_of_mac_ratio"), 0), " %"),
            cell(wording.number(None if peak is None else 100 * peak), peak),
            cell(wording.number(None if held is None else held / 2**20), held),
            cell(wording.tokens_per_layer(tokens), tokens[-1], "text", hint=" ".join(map(str, tokens))),
        ]
        lines.append(_line(row, cells))
    return table("Every setting", heads, lines) if rows else ""


def _beside(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = [
        ("setting", "text"),
        ("implementation", "text"),
        *((text, "number") for text in ("ms per clip", "over its unmerged", "jax_vtm is times as fast")),
        ("logits differ by", "number"),
    ]
    lines = []
    for line in beside(rows):
        cells = [
            cell(line.implementation, line.implementation, "text"),
            _spread_cell(line.ms_per_clip, milliseconds(line.ms_per_clip)),
            _spread_cell(line.speed_up, between(line.speed_up, 2), wording.TIMES),
            _spread_cell(line.ours_to_it, between(line.ours_to_it, 2), wording.TIMES),
            cell(small(line.difference), line.difference),
        ]
        kind = ' class="baseline"' if line.ours_to_it else ""
        lines.append(f"<tr{kind}>{row_head(line.work)}{''.join(cells)}</tr>\n")
    note = (
        "<p>The same weights and the same clips, each implementation in a process of its own that waits while the "
        "other runs. Ratios are medians of the rounds' ratios; above 1 jax_vtm is faster. Logits differ by the largest "
        "difference over the largest logit.</p>\n"
    )
    return note + table("Beside PyTorch", heads, lines) if lines else ""


def _levels(rows: Sequence[Mapping[str, Any]]) -> str:
    levels = [level for level in ("transfer", "decoding") if any(level in row["levels"] for row in rows)]
    heads = [("setting", "text"), ("model, clips/s", "number")]
    heads += [(f"{level}{unit}", "number") for level in levels for unit in (", clips/s", ", speed-up")]
    lines = []
    for row in rows:
        rate = value(row["levels"]["model"], "clips_per_s")
        cells = [cell(wording.number(rate), rate)]
        for level in levels:
            found = row["levels"].get(level) or {}
            rate = value(found, "clips_per_s")
            cells.append(cell(wording.number(rate), rate))
            cells.append(_spread_cell(found.get("speed_up"), between(found.get("speed_up"), 2), wording.TIMES))
        lines.append(_line(row, cells))
    return table("Clips per second at every distance", heads, lines) if levels else ""


def _merging(rows: Sequence[Mapping[str, Any]]) -> str:
    sliced = [row for row in rows if "share_of_merging" in row["levels"]["model"]]
    heads = [("setting", "text"), ("tokens", "number"), ("of the time", "number")]
    lines = []
    for row in sliced:
        share = row["levels"]["model"]["share_of_merging"]
        tokens = row["tokens_per_layer"][0]
        cells = [cell(str(tokens), tokens), _spread_cell(share, between(share, 1, 100), " %")]
        lines.append(f"<tr>{row_head(row['name'].removesuffix(', sliced'))}{''.join(cells)}</tr>\n")
    note = (
        "<p>The time of the setting less that of the same shapes with layers that keep their first tokens, over the "
        "former, in the same rounds.</p>\n"
    )
    return note + table("What matching and merging take", heads, lines, "sortable fitted") if sliced else ""


def _compiling(rows: Sequence[Mapping[str, Any]]) -> str:
    ours = [row for row in rows if row.get("compile_s") is not None]
    keys = {
        "traces": "traces",
        "trace_s": "trace, s",
        "compile_s": "compile, s",
        "cached_compile_s": "from the cache, s",
        "first_run_s": "first run, s",
    }
    heads = [("setting", "text"), *((text, "number") for text in keys.values())]
    lines = []
    for row in ours:
        cells = [cell(str(row[key]) if key == "traces" else wording.number(row[key]), row[key]) for key in keys]
        lines.append(_line(row, cells))
    note = (
        "<p>Before anything else is timed. Every setting is traced and compiled once, which includes storing it in "
        "an empty persistent cache; a second compilation of the same program finds it there.</p>\n"
    )
    return note + table("Compiling", heads, lines) if ours else ""


def _missing(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"<tr>{row_head(row['name'])}{cell(row['reason'], '', 'wrapped')}</tr>\n" for row in rows]
    return table("Not measured", [("setting", "text"), ("reason", "text")], lines, "") if rows else ""


def _facts(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    variables = ", ".join(f"{name}={text}" for name, text in machine["variables"].items())
    facts = [
        ("Machine", machine_words(results)),
        ("Peaks", peak_words(results)),
        (
            "Rounds",
            f"{results['rounds']}, in each of which every setting and every peak has its turn, in an order that "
            f"rotates. What takes less than {results['min_seconds']:g} s is done several times in its turn. Every call "
            "is waited for.",
        ),
        ("Ways", _ways(results)),
        ("Weights and clips", "Random, the same for all settings of a model; one device."),
        ("Environment", variables),
        ("Waiting processes", idle_words(results)),
    ]
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{nonbreaking(text)}</dd>' for name, text in facts if text)}</dl>"


def _ways(results: Mapping[str, Any]) -> str:
    """How things were computed: what "auto" chose on this device, of all settings."""
    chosen: dict[str, dict[str, None]] = {}
    for row in measured_rows(results):
        for what, way in row.get("chosen", {}).items():
            chosen.setdefault(what, {})[way] = None
    return "; ".join(f"{what}: {', '.join(ways)}" for what, ways in chosen.items())


def _notes() -> str:
    return f"<dl>{''.join(f'<dt>{safe(name)}</dt><dd>{safe(text)}</dd>' for name, text in _COLUMN_NOTES)}</dl>"


def _line(row: Mapping[str, Any], cells: Sequence[str]) -> str:
    kind = ' class="baseline"' if row["reduction"]["mode"] == "none" else ""
    return f"<tr{kind}>{row_head(row['name'])}{''.join(cells)}</tr>\n"


def _spread_cell(spread: Mapping[str, float] | None, text: str, unit: str = "") -> str:
    """A median, and below it the quartiles."""
    if not spread:
        return cell(wording.MISSING, "")
    median, _, quartiles = text.partition(" ")
    return cell(median + unit, spread["median"], below=quartiles)
