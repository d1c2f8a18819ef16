"""A benchmark's plots: speed-up over r below what arithmetic allows, and growth with the number of tokens."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax_vtm.benchmarks.words import OURS, implementation
from jax_vtm.reports import wording
from jax_vtm.reports.lines import Series, Value, lines

Row = Mapping[str, Any]
Plot = tuple[str, str, str]
"""Title, drawing, caption."""

_LEVELS = {"model": "model alone", "transfer": "with transfer", "decoding": "with decoding"}

# More settings than this in a plot cannot be told apart.
_MOST = 6


def speed_up_plots(rows: Sequence[Row]) -> list[Plot]:
    """One for every family of merging settings that differ in r alone, with what the arithmetic allows above."""
    plots = []
    for family in _families(rows, ("r",)):
        merged = [row for row in family if "speed_up" in row["levels"]["model"]]
        baseline = next((row for row in rows if row["name"] == family[0]["baseline"]), None)
        if len(merged) < 2 or baseline is None:
            continue
        family = [baseline, *merged]
        series = [Series("MAC ratio", [_exact(_r(row), row["mac_ratio"]) for row in family], computed=True)]
        for level, name in _LEVELS.items():
            points = [
                _value(_r(row), row["levels"][level]["speed_up"])
                for row in family
                if "speed_up" in row["levels"].get(level, {})
            ]
            series += [Series(name, points)] if points else []
        title = _title(merged[0])
        drawing = lines(f"Speed-up over r, {title}", series, "r, tokens per layer", wording.TIMES)
        plots.append((title, drawing, "Times as fast as unmerged; the dashed line is what the arithmetic allows."))
    return plots


def growth_plots(rows: Sequence[Row]) -> list[Plot]:
    """Time and memory over the number of tokens, where settings differ in it."""
    ours = [row for row in rows if row["implementation"] == OURS]
    places = [(_kind(row), row["tokens_per_layer"][0]) for row in ours]
    # Something else differs, too, where a kind has two settings of a length.
    if len(set(places)) < len(places) or len({tokens for _, tokens in places}) < 2:
        return []

    def per_kind(read: Callable[[Row], Value | None]) -> list[Series]:
        series: dict[str, list[Value]] = {}
        for row in sorted(ours, key=lambda row: row["tokens_per_layer"][0]):
            value = read(row)
            if value is not None:
                # What merging takes is told of the whole, though it is known by what is left.
                kind = _kind(row).removesuffix(", sliced") if read is share else _kind(row)
                series.setdefault(kind, []).append(value)
        return [Series(kind, values) for kind, values in list(series.items())[:_MOST]]

    def seconds(row: Row) -> Value:
        return _value(row["tokens_per_layer"][0], row["levels"]["model"]["ms_per_clip"], 1e-3)

    def memory(row: Row) -> Value | None:
        held = row.get("program_bytes")
        return _exact(row["tokens_per_layer"][0], held["temporaries"] / 2**20) if held else None

    def share(row: Row) -> Value | None:
        found = row["levels"]["model"].get("share_of_merging")
        return _value(row["tokens_per_layer"][0], found, 100) if found else None

    wanted = [
        ("Seconds per clip", per_kind(seconds), "", "Medians, with quartiles."),
        ("Temporary memory, MiB", per_kind(memory), "", "Beside parameters and clips, as the compiler says."),
        ("Matching and merging, percent of the time", per_kind(share), " %", "Against keeping the first tokens."),
    ]
    return [
        (title, lines(f"{title}, over tokens", series, "tokens of a clip", unit, from_zero=title[0] != "M"), caption)
        for title, series, unit, caption in wanted
        if series
    ]


def _families(rows: Sequence[Row], varying: Sequence[str]) -> list[list[Row]]:
    """Groups merging settings that differ in nothing but these parts of their reduction."""
    families: dict[str, list[Row]] = {}
    for row in rows:
        reduction = row["reduction"]
        if reduction["mode"] == "none" or row["sliced"] or not isinstance(reduction["r"], int):
            continue
        rest = {key: value for key, value in reduction.items() if key not in varying}
        key = json.dumps([rest, row["model"], row["batch"], row["implementation"]], sort_keys=True)
        families.setdefault(key, []).append(row)
    return [sorted(family, key=_r) for family in families.values()]


def _title(row: Row) -> str:
    """Names a family by the rows' common words."""
    parts = row["name"].split(" · ")[:-1]
    mode = row["reduction"]["mode"].replace("_", " ")
    slope = row["reduction"]["inflection"]
    schedule = "" if not slope else ", decreasing" if slope < 0 else ", increasing"
    return " · ".join([*(implementation(part) for part in parts), f"{mode}{schedule}"])


def _kind(row: Row) -> str:
    mode = row["reduction"]["mode"]
    return "unmerged" if mode == "none" else f"{mode}, sliced" if row["sliced"] else mode


def _r(row: Row) -> float:
    reduction = row["reduction"]
    return 0 if reduction["mode"] == "none" else reduction["r"]


def _value(x: float, spread: Mapping[str, float], factor: float = 1.0) -> Value:
    return Value(x, factor * spread["median"], factor * spread["low"], factor * spread["high"])


def _exact(x: float, y: float) -> Value:
    return Value(x, y, y, y)
