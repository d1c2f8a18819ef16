"""What a benchmark of models shows: its columns, the answer, and figures of speed-ups and growth."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax_vtm.benchmarks.experiments import OURS, PYTORCH, Experiment
from jax_vtm.benchmarks.report import Report, Row
from jax_vtm.evaluation.run_names import mode_name
from jax_vtm.reports import Column, Figure, Interval, Table, plots
from jax_vtm.reports.formatting import MINUS, TIMES, factor, number, percent, plural, scientific, tokens_per_layer

# Settings that one figure can hold apart.
_MOST = 6

_SCOPES = {
    "forward": ("forward", "From clips on the device to logits there."),
    "host_to_device": ("host to device", "From frames in the host's memory to logits there."),
    "end_to_end": ("end to end", "From encoded videos, decoded ahead, to logits in the host's memory."),
}
_PARTS = ("projections", "attention", "mlp", "matching")


def _share(value: float) -> str:
    return percent(value).replace("-", MINUS)


NAME = Column("name", "experiment")
COLUMNS: dict[str, Sequence[Column]] = {
    "Speed": (
        Column("ms_per_clip", "time", "ms/clip", number, "Median of the rounds, and quartiles."),
        Column("clips_per_s", "rate", "clips/s", number),
        Column("mac_ratio", "MAC ratio", TIMES, factor, "MACs of the unmerged model over these."),
        Column("speedup", "speed-up", TIMES, factor, "Median of the rounds' ratios to the unmerged experiment."),
        Column(
            "percent_of_mac_ratio", "of MAC ratio", "%", "{:.0f}".format, "The speed-up in percent of the MAC ratio."
        ),
        Column(
            "share_of_peak",
            "of peak",
            "%",
            percent,
            "Its rate of multiply-accumulates over that of one large matrix product, same type, same rounds.",
        ),
        Column("mebibytes", "memory", "MiB", number, "Arguments, outputs and temporaries, as the compiler says."),
    ),
    "Matching and merging": (
        Column(
            "merging_share",
            "of the time",
            "%",
            _share,
            "The time less that of the truncation baseline, whose layers keep their first tokens at the same shapes.",
        ),
    ),
    "Scopes": (
        *(Column(f"{scope}_rate", f"rate, {name}", "clips/s", number, note) for scope, (name, note) in _SCOPES.items()),
        *(
            Column(f"{scope}_speedup", f"speed-up, {name}", TIMES, factor)
            for scope, (name, _) in [*_SCOPES.items()][1:]
        ),
    ),
    "Compared with PyTorch": tuple(
        column
        for implementation, title in PYTORCH.items()
        for column in (
            Column(
                f"over_{implementation}",
                f"over {title}",
                TIMES,
                factor,
                "How many times as fast jax_vtm is with the same weights and clips, each in a process of its own that "
                "waits while the other runs.",
            ),
            Column(
                f"differs_{implementation}",
                f"logits differ, {title}",
                format=scientific,
                note="Largest difference, over the largest logit.",
            ),
        )
    ),
    "Compiling": (
        Column("compile_s", "compile", "s", number, "Once, before anything is timed; storing in the cache included."),
        Column("trace_s", "trace", "s", number),
        Column("cached_compile_s", "from cache", "s", number),
        Column("first_run_s", "first run", "s", number),
        Column("traces", "traces", format=str),
    ),
    "Arithmetic": (
        Column("gmacs", "GMACs", format=number, note="Of one clip in 10^9, matrix products only; 1 MAC is 2 FLOP."),
        Column("gflop", "GFLOP", format=number),
        Column("mac_ratio", "MAC ratio", TIMES, factor),
        *(Column(part, part, "%", percent) for part in _PARTS),
        Column("tokens", "tokens per layer"),
    ),
    "Not measured": (Column("reason", "reason"),),
}


def arithmetic(experiments: Sequence[Experiment]) -> Table:
    """What a benchmark would measure, by arithmetic alone."""
    baselines = {one.group: one.macs.total for one in experiments if one.is_baseline}
    rows = [
        {
            "name": one.name,
            **_arithmetic(dataclasses.asdict(one.macs), one.model.tokens_per_layer),
            "mac_ratio": baselines[one.group] / one.macs.total if one.group in baselines else None,
        }
        for one in experiments
    ]
    # Without the shares of parts, which are on the page, a line of a terminal holds an experiment.
    return Table("Arithmetic", [NAME, *(column for column in COLUMNS["Arithmetic"] if column.unit != "%")], rows)


def _arithmetic(macs: Mapping[str, int], tokens: Sequence[int]) -> dict[str, Any]:
    total = sum(macs.values())
    shares = {part: macs[part] / total for part in _PARTS}
    return {"gmacs": total / 1e9, "gflop": 2 * total / 1e9, "tokens": tokens_per_layer(tokens), **shares}


def _flat(row: Row) -> dict[str, Any]:
    """A row's values by the columns' keys."""
    measured = row["measured"]
    scopes, held, forward = measured["scopes"], measured.get("program_bytes"), measured["scopes"].get("forward", {})
    flat = {**row, **measured, **forward}
    if not row["reason"]:
        flat |= _arithmetic(row["macs_by_part"], row["tokens_per_layer"])
    # A rate has the interval of its time.
    flat["clips_per_s"] = forward["clips_per_s"]["median"] if forward else None
    for scope, found in scopes.items() if len(scopes) > 1 else ():
        flat |= {f"{scope}_rate": found["clips_per_s"], f"{scope}_speedup": found.get("speedup")}
    for implementation, found in measured["over_pytorch"].items():
        flat[f"over_{implementation}"] = found["times_as_fast"]
        flat[f"differs_{implementation}"] = found["largest_difference"]
    flat["mebibytes"] = held["total"] / 2**20 if held else None
    return {key: flat.get(key) for key in _KEYS}


_KEYS = ("name", *(column.key for columns in COLUMNS.values() for column in columns))


def _headline(results: Row) -> str:
    """What the fastest merging experiment gains, and how much of what its arithmetic allows that is.

    Where nothing merges it speaks of another mode.
    """
    rows = _measured(results)
    reduced = [row for row in rows if row["reduction"]["mode"] != "none" and "speedup" in _forward(row)]
    reduced = [row for row in reduced if row["implementation"] == OURS and not row["truncated"]]
    reduced = [row for row in reduced if row["reduction"]["mode"] == "merge"] or reduced
    if not reduced:
        return f"{plural(len(rows), 'experiment')} measured."
    best = max(reduced, key=lambda row: _forward(row)["speedup"]["median"])
    gained, share = _forward(best)["speedup"]["median"], _forward(best)["percent_of_mac_ratio"]["median"]
    said = (
        f"{best['name']} is {factor(gained)}{TIMES} as fast as unmerged: {share:.0f} % of the "
        f"{factor(best['mac_ratio'])}{TIMES} that its arithmetic allows"
    )
    over = best["measured"]["over_pytorch"].items()
    others = [f"{factor(found['times_as_fast']['median'])}{TIMES} as fast as {PYTORCH[name]}" for name, found in over]
    return f"{'; '.join([said, *others])}."


def _measured(results: Row) -> list[Row]:
    return [row for row in results["rows"] if row["status"] == "measured"]


def _forward(row: Row) -> Row:
    return row["measured"]["scopes"]["forward"]


def _facts(results: Row) -> list[tuple[str, str]]:
    chosen: dict[str, dict[str, None]] = {}
    for row in _measured(results):
        for part, backend in row["chosen"].items():
            chosen.setdefault(part, {})[backend] = None
    peaks = [
        f"{peak['description']}: {number(factor * peak['per_s']['median'] / 1e9)} {unit}/s"
        for peak in results["measured"]["peaks"]
        for factor, unit in [(2, "GFLOP") if peak["unit"] == "MAC" else (1, "GB")]
    ]
    idle = results["measured"]["machine"]["idle"]
    return [
        ("Rounds", f"{results['rounds']}, in each of which every experiment and peak has its turn"),
        ("Peaks", "; ".join(peaks)),
        ("Backends", "; ".join(f"{part}: {', '.join(backends)}" for part, backends in chosen.items())),
        ("Weights and clips", "Random, the same for all experiments of a model; one device."),
        ("Busy while waiting", ", ".join(f"{name} {busy:.3f} cores" for name, busy in idle.items())),
    ]


def _figures(results: Row) -> list[Figure]:
    rows = _measured(results)
    return [*_speedup_figures(rows), *_growth_figures(rows)]


def _speedup_figures(rows: Sequence[Row]) -> list[Figure]:
    """One for experiments that differ in r alone, with what the arithmetic allows."""
    families: dict[str, list[Row]] = {}
    for row in rows:
        rest = {key: value for key, value in row["reduction"].items() if key != "r"}
        plain = rest["mode"] != "none" and not row["truncated"] and isinstance(row["reduction"]["r"], int)
        if plain and "speedup" in _forward(row):
            key = json.dumps([rest, row["model"], row["batch"], row["implementation"]], sort_keys=True)
            families.setdefault(key, []).append(row)
    figures = []
    for merged in families.values():
        if len(merged) < 2:
            continue
        baseline = next(row for row in rows if row["name"] == merged[0]["baseline"])
        family = [baseline, *sorted(merged, key=_r)]
        allowed = [Interval(row["mac_ratio"]) for row in family]
        series = [plots.Series("MAC ratio", [*map(_r, family)], allowed, 0, dashed=True)]
        for place, (scope, (name, _)) in enumerate(_SCOPES.items(), 1):
            known = [row for row in family if "speedup" in row["measured"]["scopes"].get(scope, {})]
            values = [Interval.of(row["measured"]["scopes"][scope]["speedup"], "median") for row in known]
            series += [plots.Series(name, [*map(_r, known)], values, place, marker=place)] if known else []
        title = _family_name(merged[0])
        caption = "Medians with quartiles; dashed, what the arithmetic allows."
        figures.append(
            plots.lines(
                f"speedup {title}",
                f"Speed-up, {title}",
                series,
                caption,
                x_label="r, tokens per layer",
                y_label=f"speed-up ({TIMES})",
                from_zero=True,
            )
        )
    return figures


def _family_name(row: Row) -> str:
    """The words that the names of a family have in common."""
    slope = row["reduction"]["inflection"]
    schedule = "" if not slope else ", decreasing" if slope < 0 else ", increasing"
    parts: list[str] = row["name"].split(" · ")[:-1]
    mode = mode_name(row["reduction"]["mode"]).replace("_", " ")
    return " · ".join([*(PYTORCH.get(part, part) for part in parts), f"{mode}{schedule}"])


def _growth_figures(rows: Sequence[Row]) -> list[Figure]:
    """Time and memory over the number of tokens, where experiments differ in it and in nothing that has no place."""
    ours = sorted((row for row in rows if row["implementation"] == OURS), key=_tokens)
    kinds = list(dict.fromkeys(map(_kind, ours)))
    places = {(_kind(row), _tokens(row)) for row in ours}
    if len(places) < len(ours) or len({tokens for _, tokens in places}) < 2:
        return []

    def series(read: Callable[[Row], Interval | None]) -> list[plots.Series]:
        found: dict[str, list[tuple[int, Interval]]] = {}
        for row in ours:
            if value := read(row):
                found.setdefault(_kind(row), []).append((_tokens(row), value))
        return [
            plots.Series(kind, [x for x, _ in found[kind]], [y for _, y in found[kind]], place, marker=place)
            for place, kind in enumerate(kinds[:_MOST])
            if kind in found
        ]

    def seconds(row: Row) -> Interval:
        return Interval.of(_forward(row)["ms_per_clip"], "median").scaled(1e-3)

    def memory(row: Row) -> Interval | None:
        held = row["measured"].get("program_bytes")
        return Interval(held["temporaries"] / 2**20) if held else None

    def merging(row: Row) -> Interval | None:
        found = _forward(row).get("merging_share")
        return Interval.of(found, "median").scaled(100) if found else None

    wanted = [
        ("time", "Time", "seconds per clip", seconds, "Medians with quartiles."),
        ("memory", "Memory", "temporaries (MiB)", memory, "Without parameters and clips, as the compiler says."),
        ("merging", "Matching and merging", "of the time (%)", merging, "Against the truncation baseline."),
    ]
    return [
        plots.lines(name, title, drawn, caption, x_label="tokens of a clip", y_label=y, from_zero=read is not merging)
        for name, title, y, read, caption in wanted
        if (drawn := series(read))
    ]


def _kind(row: Row) -> str:
    mode = mode_name(row["reduction"]["mode"])
    return "unmerged" if mode == "none" else f"{mode}, truncated" if row["truncated"] else mode


def _tokens(row: Row) -> int:
    return row["tokens_per_layer"][0]


def _r(row: Row) -> int:
    return 0 if row["reduction"]["mode"] == "none" else row["reduction"]["r"]


REPORT = Report(
    names=[NAME],
    columns=COLUMNS,
    headline=_headline,
    flat=_flat,
    figures=_figures,
    facts=_facts,
    only_on_page=["Arithmetic"],
)
