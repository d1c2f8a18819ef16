"""`python main.py benchmark_parts`: attention, matching and merging by themselves, in every way that runs here.

At the sizes of ViViT-B on one clip of 32 frames, before merging and further in. PyTorch's fused attention is measured
too where PyTorch is installed; on a CPU, so are other tiles than those in which attention is computed there. All ways
take their turn in every round, and a ratio is the median over rounds of the first way's time over another's, so that
other work of the machine meets all alike. CPU time is of all threads of the process; for a device other than a CPU it
says little.
"""

import functools
import importlib.util
import itertools
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_vtm.config import Config
from jax_vtm.errors import SUCCESS, UserError
from jax_vtm.files import write_text
from jax_vtm.merging import MATCHINGS, MERGINGS, choose_matching, merge_weighted, nearest_by_metric
from jax_vtm.merging.matching import match_nearest
from jax_vtm.models.attention import BACKENDS, attend, choose_backend
from jax_vtm.models.attention.chunked import Tile, chunked_attention

TOKENS = (3137, 1937, 737)
# Of attention on a CPU, tokens and the tiles that are beside the chosen one.
TILES = {
    6273: [Tile(queries) for queries in (128, 192, 256, 512, 1024)],
    3137: [Tile(queries) for queries in (128, 192, 256, 512, 1024)],
    1037: [Tile(1037, heads) for heads in (1, 2, 3, 12)],
    737: [Tile(737, heads) for heads in (1, 2, 3, 6)],
}
HEADS, WIDTH = 12, 64
R = 300
ROUNDS = 9
# Of one way in one round, at least; short ones are repeated.
SECONDS = 0.05

Way = Callable[[], Any]


def run(config: Config, workdir: pathlib.Path) -> int:
    """Measures, prints a table and writes `benchmark_parts.json`.

    Returns:
        The exit code.
    """
    dtype = config.model.dtype
    rows = []
    print(f"{'part':9}  {'tokens':>6}  {'way':12}  {'ms':>8}  {'CPU ms':>8}  speed  by CPU time")
    for part, tokens, ways in itertools.chain(_parts(dtype), _tiles(dtype)):
        for row in measured(ways, ROUNDS):
            rows.append({"part": part, "tokens": tokens, **row})
            print(
                f"{part:9}  {tokens:6}  {row['way']:12}  {row['ms']:8.2f}  {row['cpu_ms']:8.2f}  "
                f"{row['speed']:5.2f}  {row['cpu_speed']:11.2f}",
                flush=True,
            )
    device = jax.local_devices()[0]
    outcome = {
        "rounds": ROUNDS,
        "dtype": dtype,
        "jax": jax.__version__,
        "device": device.device_kind,
        "cores": os.cpu_count(),
        "rows": rows,
    }
    write_text(workdir / "benchmark_parts.json", json.dumps(outcome, indent=2) + "\n")
    return SUCCESS


def measured(ways: Mapping[str, Way], rounds: int) -> list[dict[str, Any]]:
    """Times ways in turn; the first one is what the others' speeds are ratios to.

    Returns:
        One row a way: medians of milliseconds, and of ratios of the same round.
    """
    repeats = {name: _repeats(way) for name, way in ways.items()}
    seconds = {name: [] for name in ways}
    names = list(ways)
    for turn in range(rounds):
        # Another one begins every time: none always comes after the same other, whose threads may still be busy.
        begins = turn % len(names)
        for name in names[begins:] + names[:begins]:
            seconds[name].append(_time(ways[name], repeats[name]))
    first = np.array(next(iter(seconds.values())))
    rows = []
    for name, found in seconds.items():
        wall, cpu = np.median(found, axis=0)
        # A process's CPU time has steps; a round without any says nothing.
        ratios = np.median(first / np.maximum(found, 1e-9), axis=0)
        rows.append(
            {
                "way": name,
                "ms": 1e3 * float(wall),
                "cpu_ms": 1e3 * float(cpu),
                "speed": float(ratios[0]),
                "cpu_speed": float(ratios[1]),
            }
        )
    return rows


def _repeats(way: Way) -> int:
    way()
    wall, _ = _time(way, 1)
    return max(1, round(SECONDS / wall))


def _time(way: Way, repeats: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        way()
    return (time.perf_counter() - wall) / repeats, (time.process_time() - cpu) / repeats


def _parts(dtype: str) -> Iterator[tuple[str, int, dict[str, Way]]]:
    for tokens in TOKENS:
        inputs = _inputs(tokens, dtype)
        ways = {
            name: _compiled(functools.partial(attend, backend=name), *inputs)
            for name in BACKENDS[1:]
            if _runs(choose_backend, name, dtype)
        }
        if dtype == "float32" and importlib.util.find_spec("torch") is not None:
            ways = {"PyTorch SDPA": _pytorch(*inputs), **ways}
        yield "attention", tokens, ways

        *_, key, value, log_size = inputs
        metric = key.astype(jnp.float32).mean(2)
        ways = {
            name: _compiled(functools.partial(nearest_by_metric, class_token=True, how=name), metric)
            for name in MATCHINGS[1:]
            if _runs(choose_matching, name)
        }
        yield "matching", tokens, ways

        matching = match_nearest(nearest_by_metric(metric, class_token=True), R, class_token=True)
        x, size = value.astype(jnp.float32).reshape(1, tokens, -1), jnp.exp(log_size)
        ways = {
            name: _compiled(functools.partial(merge_weighted, formulation=name), matching, x, size)
            for name in MERGINGS[1:]
        }
        yield "merging", tokens, ways


def _tiles(dtype: str) -> Iterator[tuple[str, int, dict[str, Way]]]:
    for tokens, tiles in TILES.items() if choose_backend("auto", dtype) == "chunked" else ():
        inputs = _inputs(tokens, dtype)
        ways = {"chosen": _compiled(chunked_attention, *inputs)}
        for tile in tiles:
            name = f"{tile.heads} heads" if tile.queries == tokens else f"{tile.queries} queries"
            ways[name] = _compiled(functools.partial(chunked_attention, tile=tile), *inputs)
        yield "tiles", tokens, ways


def _inputs(tokens: int, dtype: str) -> list[jax.Array]:
    """Queries, keys, values and the logarithms of sizes."""
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(3, 1, tokens, HEADS, WIDTH)).astype(np.float32)
    log_size = np.log(rng.integers(1, 9, size=(1, tokens))).astype(np.float32)
    return [*(jnp.asarray(part, dtype) for part in parts), jnp.asarray(log_size)]


def _runs(choose: Callable, *asked) -> bool:
    try:
        choose(*asked)
    except UserError:
        return False
    return True


def _compiled(function: Callable, *inputs) -> Way:
    program = jax.jit(function).lower(*inputs).compile()
    return lambda: jax.block_until_ready(program(*inputs))


def _pytorch(*inputs) -> Way:
    import torch  # pyright: ignore[reportMissingImports]

    *parts, log_size = (torch.from_numpy(np.array(part)) for part in inputs)
    query, key, value = (part.transpose(1, 2) for part in parts)
    bias = log_size[:, None, None]

    def way():
        with torch.inference_mode():
            torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    return way
