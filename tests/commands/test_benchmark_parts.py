import json

from jax_vtm.commands import benchmark_parts, cli
from jax_vtm.commands.defaults import default_config


def test_every_part_is_measured_in_every_way_that_runs_here(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark_parts, "TOKENS", (29,))
    monkeypatch.setattr(benchmark_parts, "ROUNDS", 2)
    monkeypatch.setattr(benchmark_parts, "SECONDS", 1e-4)
    config = default_config("parts")
    config.model.dtype = "bfloat16"
    assert benchmark_parts.run(config, tmp_path / "out") == cli.SUCCESS
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
    ]
    assert all(row["ms"] > 0 and row["speed"] > 0 for row in outcome["rows"])
    assert len(capsys.readouterr().out.splitlines()) == 9


def test_ratios_are_of_the_same_round(monkeypatch):
    # Every round is slower than the one before, for all alike.
    times = iter([(1.0, 1.0), (1.0, 1.0), *[(scale * way, way) for scale in (1, 10, 100) for way in (2.0, 1.0)]])
    monkeypatch.setattr(benchmark_parts, "_time", lambda way, repeats: next(times))
    first, second = benchmark_parts.measured({"slow": lambda: None, "fast": lambda: None}, 3)
    assert (first["way"], first["ms"], first["speed"], first["cpu_speed"]) == ("slow", 20_000, 1, 1)
    assert (second["way"], second["ms"], second["speed"], second["cpu_speed"]) == ("fast", 10_000, 2, 2)
