import json

from jax_vtm import errors as exit_codes
from jax_vtm.benchmarks import parts as benchmark_parts
from jax_vtm.config import default_config
from jax_vtm.models.attention.chunked import Tile


def test_every_part_is_measured_in_every_way_that_runs_here(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark_parts, "TOKENS", (29,))
    monkeypatch.setattr(benchmark_parts, "TILES", {29: [Tile(8), Tile(29, 3)]})
    monkeypatch.setattr(benchmark_parts, "ROUNDS", 2)
    monkeypatch.setattr(benchmark_parts, "SECONDS", 1e-4)
    config = default_config("parts")
    config.model.dtype = "bfloat16"
    assert benchmark_parts.run(config, tmp_path / "out") == exit_codes.SUCCESS
    outcome = json.loads((tmp_path / "out" / "benchmark_parts.json").read_text())
    found = [(row["part"], row["tokens"], row["way"]) for row in outcome["rows"]]
    assert found == [
        ("attention", 29, "xla"),
        ("attention", 29, "chunked"),
        ("matching", 29, "xla"),
        ("matching", 29, "chunked"),
        ("merging", 29, "scatter"),
        ("merging", 29, "segment"),
        ("merging", 29, "sorted"),
        ("merging", 29, "one_hot"),
        ("tiles", 29, "chosen"),
        ("tiles", 29, "8 queries"),
        ("tiles", 29, "3 heads"),
    ]
    assert all(row["ms"] > 0 and row["speed"] > 0 for row in outcome["rows"])
    assert len(capsys.readouterr().out.splitlines()) == 12


def test_ratios_are_of_the_same_round(monkeypatch):
    # Every round is slower than the one before, for all alike.
    calls = []

    def timed(way, repeats):
        calls.append(way())
        scale = 10.0 ** (len(calls) // 2 - 2 + len(calls) % 2)
        return scale * way(), way()

    monkeypatch.setattr(benchmark_parts, "_time", timed)
    first, second = benchmark_parts.measured({"slow": lambda: 2.0, "fast": lambda: 1.0}, 3)
    # Once to know how often to repeat, then in turns.
    assert calls == [2, 1, 2, 1, 1, 2, 2, 1]
    assert (first["way"], first["ms"], first["speed"], first["cpu_speed"]) == ("slow", 20_000, 1, 1)
    assert (second["way"], second["ms"], second["speed"], second["cpu_speed"]) == ("fast", 10_000, 2, 2)
