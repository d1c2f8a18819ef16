"""What a compiler's account shows: estimated times next to the roofline, their groups, and what compiling took."""

from typing import Any

from jax_vtm.benchmarks.report import Report, Row
from jax_vtm.benchmarks.tpu_chips import CHIPS
from jax_vtm.benchmarks.tpu_program import GROUPS
from jax_vtm.reports import Column
from jax_vtm.reports.formatting import TIMES, factor, number, percent, plural

_NOTES = {
    "input and embedding": "Its own copies among it; so of matching and merging.",
    "MLP and projections": "Among them all to and from queries, keys and values.",
    "copies and layout changes": "Of all other parts: what moves numbers and computes nothing.",
}


def _flat(row: Row) -> dict[str, Any]:
    flat = dict(row)
    if row["compiles"]:
        flat["temp_mib"], flat["argument_mib"] = row["temp_bytes"] / 2**20, row["argument_bytes"] / 2**20
        flat["gigabytes"] = row["bytes_accessed"] and row["bytes_accessed"] / 1e9
        flat["chosen"] = ", ".join(dict.fromkeys(row["backends"].values()))
        # A shape has commas itself.
        flat["pairs"] = "; ".join(row["pairs"]) or "none"
        for key in ("collectives", "calls", "spilled_bytes"):
            flat[key] = ", ".join(f"{count} {name}" for name, count in row.get(key, {}).items())
        flat |= _in_ms(row)
        if "estimated_ms" not in row:
            # Of a GPU's program there is no estimate to read it next to.
            flat["mac_ratio"] = None
    return {key: flat.get(key) for key in ("name", *(one.key for columns in _COLUMNS.values() for one in columns))}


def _in_ms(row: Row) -> dict[str, float]:
    """The groups of a row, and of these the kernels and sorts."""
    groups, ours = row.get("groups", {}), row.get("kernel_cycles", {})
    ms_per_cycle = row["estimated_ms"] / sum(groups.values()) if groups else 0
    found = {name: ms_per_cycle * cycles for name, cycles in groups.items()}
    return found | {_of_kernels(name): ms_per_cycle * cycles for name, cycles in ours.items()}


def _of_kernels(group: str) -> str:
    return f"kernels of {group}"


_COLUMNS = {
    "Estimated time": (
        Column("estimated_ms", "step", "ms", number, "The compiler's estimate and our arithmetic. Not measured."),
        Column(
            "kernel_ms",
            "of it kernels and sorts",
            "ms",
            number,
            "Our arithmetic: of a kernel the longest of products, elementwise operations, exponentials and bytes.",
        ),
        Column("roofline_ms", "roofline", "ms", number, "The longer of FLOP and of arguments and results, once each."),
        Column("share_of_roofline", "of roofline", "%", percent),
        Column("mac_ratio", "MAC ratio", TIMES, factor, "MACs of the unmerged model over these."),
        Column("speedup", "speed-up", TIMES, factor, "Estimated time of the unmerged model over this."),
        Column("share_of_mac_ratio", "of MAC ratio", "%", percent),
    ),
    "Where the time goes": (
        *(Column(name, name, "ms", number, _NOTES.get(name, "")) for name in GROUPS),
        Column("estimated_ms", "step", "ms", number),
        Column("roofline_ms", "roofline", "ms", number),
    ),
    "Of it kernels and sorts, by our arithmetic": tuple(
        Column(_of_kernels(name), name, "ms", number) for name in GROUPS
    ),
    "Program": (
        Column("compile_cpu_s", "compiling", "CPU s", number, "Tracing among it; without any cache."),
        Column("compile_ratio", "to unmerged", TIMES, factor),
        Column("temp_mib", "temporaries", "MiB", number, "Of one device's memory."),
        Column("argument_mib", "arguments", "MiB", number),
        Column("gigabytes", "accessed", "GB", number, "Bytes that operations read and write, by the compiler."),
        Column("chosen", "backends"),
        Column("collectives", "between chips"),
        Column("pairs", "all pairs", note="Shapes of arrays with a number for every pair of tokens."),
    ),
    "Kernels of a GPU": (
        Column("most_registers", "registers", format=str, note="Of the kernel that needs most; 255 is all."),
        Column("most_shared_bytes", "shared memory", "bytes", str),
        Column("spilled_bytes", "spilled", note="Bytes that do not fit into registers, by kernel."),
        Column("loops", "loops", format=str),
        Column("scatters", "scatters", format=str),
        Column("calls", "calls"),
    ),
    "Reasons": (Column("reason", "reason"),),
}


def _headline(results: Row) -> str:
    rows = results["rows"]
    compiled = [row for row in rows if row["compiles"]]
    said = [f"{len(compiled)} of {plural(len(rows), 'program')} compiled."]
    if faster := [row for row in compiled if "speedup" in row and row["mode"] != "none"]:
        best = max(faster, key=lambda row: row["speedup"])
        said.append(
            f"By the compiler's estimate {best['name']} is {factor(best['speedup'])} times as fast as unmerged, "
            f"{percent(best['share_of_mac_ratio'])} % of what its arithmetic allows. Nothing here was measured."
        )
    return " ".join(said)


def _facts(results: Row) -> list[tuple[str, str]]:
    models, types, batches, topologies = (
        ", ".join(dict.fromkeys(str(row[key]) for row in results["rows"]))
        for key in ("model", "dtype", "batch", "topology")
    )
    used = dict.fromkeys(row["topology"].partition(":")[0] for row in results["rows"])
    rates = [
        f"{name}: {chip.flop_per_s / 1e12:g} TFLOP/s, {chip.bytes_per_s / 1e9:g} GB/s, {chip.cycles_per_s / 1e9:g} GHz"
        for name, chip in CHIPS.items()
        if name in used
    ]
    return [
        ("What", "Programs as compilers made them; nothing ran on any TPU or GPU."),
        ("Steps", f"{models}; {types}; clips per chip: {batches}; {topologies}"),
        ("Rates", "; ".join(rates)),
    ]


REPORT = Report(
    names=(Column("name", "experiment"),),
    columns=_COLUMNS,
    headline=_headline,
    flat=_flat,
    facts=_facts,
)
