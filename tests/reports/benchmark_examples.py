"""Results of a benchmark as they lie in `benchmark.json`, with round numbers."""

REDUCTION = {"mode": "merge", "r": 0, "inflection": 0.0, "threshold": 0.0, "layout": "reference"}


def spread(median: float) -> dict:
    return {"median": median, "low": 0.9 * median, "high": 1.1 * median, "rounds": 3}


def row(name: str, r: int, ms: float, gmacs: float, **changes) -> dict:
    """One setting; its baseline takes 80 ms for 8 GMACs."""
    level = {
        "seconds": [ms / 1e3] * 3,
        "clips": 1,
        "repeats": 1,
        "ms_per_clip": spread(ms),
        "clips_per_s": spread(1e3 / ms),
        "speed_up": spread(80 / ms),
        "percent_of_mac_ratio": spread(80 / ms / (8 / gmacs) * 100),
        "share_of_peak": spread(0.5),
    }
    return {
        "name": name,
        "status": "measured",
        "reason": "",
        "implementation": "jax_vtm",
        "batch": 1,
        "sliced": False,
        "model": {"name": "vivit_b_16x2", "num_frames": 32},
        "reduction": {**REDUCTION, "mode": "merge" if r else "none", "r": r},
        "tokens_per_layer": [100, 100 - r],
        "macs_per_clip": int(gmacs * 1e9),
        "baseline": "unmerged",
        "mac_ratio": 8 / gmacs,
        "chosen": {"attention": "chunked", "matching": "xla"},
        "traces": 1,
        "trace_s": 0.5,
        "compile_s": 12.5,
        "cached_compile_s": 0.25,
        "first_run_s": 0.125,
        "program_bytes": {"arguments": 2**20, "outputs": 0, "temporaries": 2**21, "together": 3 * 2**20},
        "levels": {"model": level, "decoding": level},
        "beside": {},
        **changes,
    }


def results(*rows: dict) -> dict:
    return {
        "name": "example",
        "rounds": 3,
        "min_seconds": 0.2,
        "machine": {
            "created": "2026-11-26T07:12:24Z",
            "processor": "A processor",
            "cores": 2,
            "device_kind": "cpu",
            "jax": "0.10.2",
            "load": [0.5, 2.25],
            "variables": {"XLA_FLAGS": "--a=b"},
            "idle": {},
        },
        "peaks": [
            {"name": "float32", "description": "product", "unit": "MAC", "per_s": spread(45e9)},
            {"name": "copy", "description": "copy", "unit": "byte", "per_s": spread(4e9)},
        ],
        "rows": list(rows),
    }


def plain() -> dict:
    """An unmerged model, two that merge, and one that could not be."""
    missing = row("merge r=60", 60, 1, 1) | {"status": "not measured", "reason": "out of <memory>", "levels": {}}
    rows = [row("unmerged", 0, 80, 8), row("merge r=20", 20, 50, 5), row("merge r=40", 40, 40, 3.2)]
    return results(*rows, missing)


def beside_pytorch() -> dict:
    """Two implementations, unmerged and merged."""
    rows = []
    for implementation, slower in (("jax_vtm", 1), ("pytorch_sdpa", 2)):
        for name, r, ms in (("unmerged", 0, 80), ("merge r=40", 40, 40)):
            own = f"{implementation} · {name}"
            rows.append(row(own, r, slower * ms, 8 if r == 0 else 3.2, implementation=implementation))
            rows[-1]["baseline"] = f"{implementation} · unmerged"
            if implementation == "jax_vtm":
                found = {"name": f"pytorch_sdpa · {name}", "times_as_fast": spread(2.0), "largest_difference": 8.1e-7}
                rows[-1]["beside"] = {"pytorch_sdpa": found}
            else:
                rows[-1] |= {"compile_s": None, "program_bytes": None}
    one = results(*rows)
    one["machine"]["idle"] = {"jax_vtm": 0.001, "PyTorch": 0.0}
    return one


def growth() -> dict:
    """Two lengths, each with what is left without merging."""
    rows = []
    for tokens, scale in ((100, 1), (200, 3)):
        for name, r, ms, sliced in (
            ("unmerged", 0, 80, False),
            ("merge", 10, 40, False),
            ("merge, sliced", 10, 39, True),
        ):
            model = {"name": "vivit_b_16x2", "num_frames": tokens}
            counts = {"tokens_per_layer": [tokens, tokens - r]}
            rows.append(row(f"{tokens} · {name}", r, scale * ms, 4.0, sliced=sliced, model=model, **counts))
            if sliced:
                rows[-1]["levels"]["model"]["share_of_merging"] = spread(0.02)
    return results(*rows)
