"""Results of a benchmark as they lie in `benchmark.json`, with round numbers."""

MACS = {"embedding": 0.1, "projections": 0.4, "attention": 0.2, "matching": 0.05, "mlp": 0.25, "head": 0.0}


def spread(median: float) -> dict:
    return {"median": median, "low": 0.9 * median, "high": 1.1 * median}


def row(name: str, r: int, ms: float, gmacs: float, implementation="jax_vtm", truncated=False, tokens=100) -> dict:
    """One experiment; its baseline takes 80 ms for 8 GMACs."""
    forward = {
        "seconds": [ms / 1e3] * 3,
        "clips": 1,
        "repeats": 1,
        "ms_per_clip": spread(ms),
        "clips_per_s": spread(1e3 / ms),
        "speedup": spread(80 / ms),
        "percent_of_mac_ratio": spread(80 / ms / (8 / gmacs) * 100),
        "share_of_peak": spread(0.5),
    }
    ours = implementation == "jax_vtm"
    compiling = {"traces": 1, "trace_s": 0.5, "compile_s": 12.5, "cached_compile_s": 0.25}
    held = {"arguments": 2**20, "outputs": 0, "temporaries": 2**21, "total": 3 * 2**20}
    return {
        "name": name,
        "status": "measured",
        "reason": "",
        "implementation": implementation,
        "batch": 1,
        "truncated": truncated,
        "model": {"name": "vivit_b_16x2", "num_frames": tokens},
        "reduction": {"mode": "merge" if r else "none", "r": r, "inflection": 0.0},
        "tokens_per_layer": [tokens, tokens - r],
        "macs_per_clip": int(gmacs * 1e9),
        "macs_by_part": {part: int(share * gmacs * 1e9) for part, share in MACS.items()},
        "baseline": "unmerged",
        "mac_ratio": 8 / gmacs,
        "chosen": {"attention": "chunked", "matching": "xla"} if ours else {},
        "measured": {
            **(compiling if ours else {}),
            "first_run_s": 0.125,
            "program_bytes": held if ours else None,
            "scopes": {"forward": forward, "end_to_end": forward} if ours else {"forward": forward},
            "over_pytorch": {},
        },
    }


def results(*rows: dict) -> dict:
    machine = {
        "created": "2026-11-26T07:12:24Z",
        "processor": "A processor",
        "cores": 2,
        "device_kind": "cpu",
        "jax": "0.10.2",
        "load": [0.5, 2.25],
        "variables": {"XLA_FLAGS": "--a=b"},
        "idle": {},
    }
    peaks = [
        {"name": "float32", "description": "product", "unit": "MAC", "per_s": spread(45e9)},
        {"name": "copy", "description": "copy", "unit": "byte", "per_s": spread(4e9)},
    ]
    return {"name": "example", "rounds": 3, "rows": list(rows), "measured": {"machine": machine, "peaks": peaks}}


def plain() -> dict:
    """An unmerged model, two that merge, and one that could not be."""
    missing = row("merge r=60", 60, 1, 1) | {"status": "not measured", "reason": "out of <memory>"}
    missing["measured"] = {"scopes": {}, "over_pytorch": {}}
    rows = [row("unmerged", 0, 80, 8), row("merge r=20", 20, 50, 5), row("merge r=40", 40, 40, 3.2)]
    return results(*rows, missing)


def with_pytorch() -> dict:
    """Two implementations, unmerged and merged."""
    rows = []
    for implementation, slower in (("jax_vtm", 1), ("pytorch_sdpa", 2)):
        for name, r, ms in (("unmerged", 0, 80), ("merge r=40", 40, 40)):
            one = row(f"{implementation} · {name}", r, slower * ms, 8 if r == 0 else 3.2, implementation)
            one["baseline"] = f"{implementation} · unmerged"
            if implementation == "jax_vtm":
                found = {"name": f"pytorch_sdpa · {name}", "times_as_fast": spread(2.0), "largest_difference": 8.1e-7}
                one["measured"]["over_pytorch"] = {"pytorch_sdpa": found}
            rows.append(one)
    made = results(*rows)
    made["measured"]["machine"]["idle"] = {"jax_vtm": 0.001, "PyTorch": 0.0}
    return made


def growth() -> dict:
    """Two lengths, each with its truncation baseline."""
    rows = []
    for tokens, scale in ((100, 1), (200, 3)):
        rows.append(row(f"{tokens} · unmerged", 0, scale * 80, 4.0, tokens=tokens))
        rows.append(row(f"{tokens} · merge", 10, scale * 40, 4.0, tokens=tokens))
        rows[-1]["measured"]["scopes"]["forward"]["merging_share"] = spread(0.02)
        rows.append(row(f"{tokens} · merge, truncated", 10, scale * 39, 4.0, truncated=True, tokens=tokens))
    return results(*rows)
