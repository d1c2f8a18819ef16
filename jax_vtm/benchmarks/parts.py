"""Attention, matching and merging by themselves, with every backend that runs here (`benchmark.what=parts`).

At the sizes of ViViT-B on one clip of 32 frames, before merging and further in. PyTorch's fused attention is measured
too where PyTorch is installed; on a CPU, so are other tiles than those in which attention is computed there. CPU time
is of all threads of the process; for a device other than a CPU it says little.
"""

import functools
import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jax_vtm.benchmarks.report import Report, Row
from jax_vtm.config import Config
from jax_vtm.evaluation.backend_trials import Part, attention, matching, merging
from jax_vtm.files import AnyPath
from jax_vtm.models.attention import choose_backend
from jax_vtm.models.attention.chunked import Tile, chunked_attention
from jax_vtm.reports import Column
from jax_vtm.reports.formatting import TIMES, factor, number
from jax_vtm.timing import interleaved, ratios, repeats, spread, timed

TOKENS = (3137, 1937, 737)
# Of attention on a CPU, tokens and the tiles that are compared with the chosen one.
TILES = {
    6273: [Tile(queries) for queries in (128, 192, 256, 512, 1024)],
    3137: [Tile(queries) for queries in (128, 192, 256, 512, 1024)],
    1037: [Tile(1037, heads) for heads in (1, 2, 3, 12)],
    737: [Tile(737, heads) for heads in (1, 2, 3, 6)],
}
HEADS, WIDTH = 12, 64
R = 300
ROUNDS = 9
# Of one backend in one round, at least; short ones are repeated.
SECONDS = 0.05

Call = Callable[[], object]


def measure(config: Config, workdir: AnyPath) -> Iterator[dict[str, Any]]:
    """Times every part with every backend, and yields the rows so far; speeds are ratios to the first backend."""
    dtype = config.model.dtype
    rows = []
    for part, tokens, calls in itertools.chain(_parts(dtype), _tiles(dtype)):
        print(f"measuring {part}, {tokens} tokens", file=sys.stderr, flush=True)
        rows += [{"part": part, "tokens": tokens, **row} for row in measured(calls, ROUNDS)]
        yield {"rounds": ROUNDS, "dtype": dtype, "rows": rows, "measured": {}}


def measured(calls: dict[str, Call], rounds: int) -> list[dict[str, Any]]:
    """Times backends in turn.

    Returns:
        A row each: milliseconds, and medians and quartiles of the ratios of the first one's time over its own.
    """
    timers = {name: timed(call) for name, call in calls.items()}
    seconds = list(interleaved({name: (timer, repeats(timer, SECONDS)) for name, timer in timers.items()}, rounds))
    rows, first = [], next(iter(calls))
    for name in calls:
        row: dict[str, Any] = {"backend": name}
        for key, clock in (("", "wall"), ("cpu_", "cpu")):
            # A process's CPU time has steps; a round without any says nothing.
            ours, reference = ([max(getattr(one[which], clock), 1e-9) for one in seconds] for which in (name, first))
            row[f"{key}ms"] = spread([1e3 * value for value in ours])
            row[f"{key}speed"] = spread(ratios(reference, ours))
        rows.append(row)
    return rows


def _parts(dtype: str) -> Iterator[tuple[str, int, dict[str, Call]]]:
    for tokens in TOKENS:
        channels = HEADS * WIDTH
        parts = (
            _attention(tokens, dtype),
            matching(1, tokens, WIDTH),
            merging(1, tokens, min(R, tokens // 2), channels),
        )
        for part in parts:
            inputs = part.make()
            calls = {name: _compiled(backend, *inputs) for name, backend in part.backends.items()}
            if part.what == "attention" and dtype == "float32" and importlib.util.find_spec("torch") is not None:
                calls = {"PyTorch SDPA": _pytorch(*inputs), **calls}
            yield part.what, tokens, calls


def _tiles(dtype: str) -> Iterator[tuple[str, int, dict[str, Call]]]:
    for tokens, tiles in TILES.items() if choose_backend("auto", dtype=dtype) == "chunked" else ():
        inputs = _attention(tokens, dtype).make()
        calls = {"chosen": _compiled(chunked_attention, *inputs)}
        for tile in tiles:
            name = f"{tile.heads} heads" if tile.queries == tokens else f"{tile.queries} queries"
            calls[name] = _compiled(functools.partial(chunked_attention, tile=tile), *inputs)
        yield "tiles", tokens, calls


def _attention(tokens: int, dtype: str) -> Part:
    return attention(1, tokens, tokens, HEADS, WIDTH, dtype)


def _compiled(function: Callable, *inputs) -> Call:
    program = jax.jit(function).lower(*inputs).compile()
    return lambda: jax.block_until_ready(program(*inputs))


def _pytorch(*inputs) -> Call:
    import torch  # pyright: ignore[reportMissingImports]

    *parts, log_size = (torch.from_numpy(np.array(part)) for part in inputs)
    query, key, value = (part.transpose(1, 2) for part in parts)
    attend = torch.nn.functional.scaled_dot_product_attention
    return torch.inference_mode()(lambda: attend(query, key, value, attn_mask=log_size[:, None, None]))


def _headline(results: Row) -> str:
    """Which backend is the fastest where there are most tokens."""
    said = []
    for part in dict.fromkeys(row["part"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["part"] == part]
        most = max(row["tokens"] for row in rows)
        best = min((row for row in rows if row["tokens"] == most), key=lambda row: row["ms"]["median"])
        said.append(f"{part} of {most} tokens {number(best['ms']['median'])} ms ({best['backend']})")
    return f"Fastest here: {', '.join(said)}."


REPORT = Report(
    names=(Column("part", "part"), Column("tokens", "tokens", format=str), Column("backend", "backend")),
    columns={
        "Parts": (
            Column("ms", "time", "ms", number, "Median of the rounds, and quartiles."),
            Column("cpu_ms", "CPU time", "ms", number, "Of all threads of the process."),
            Column("speed", "speed", TIMES, factor, "Median of the rounds' ratios to the first backend."),
            Column("cpu_speed", "by CPU time", TIMES, factor),
        )
    },
    headline=_headline,
)
