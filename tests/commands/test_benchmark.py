"""The whole command, on models and films of a moment."""

import json

import jax
import pytest

from jax_vtm import errors as exit_codes
from jax_vtm.benchmarks import command as benchmark
from jax_vtm.benchmarks import subject as benchmark_subject
from jax_vtm.config import default_config
from jax_vtm.errors import UserError

TINY = {
    "num_frames": 4,
    "image_size": 16,
    "patch_size": (2, 4, 4),
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "mlp_dim": 32,
}


def tiny_config(*grids, name="vivit_moving_digits", **fields):
    config = default_config("tiny")
    config.model = {"name": name, "dtype": "float32", "attention": "auto", **TINY, **fields}
    config.reduction.r = 6
    config.benchmark.grids = grids
    config.benchmark.rounds = 3
    config.benchmark.min_seconds = 0.0
    config.benchmark.videos = 2
    return config


@pytest.fixture(autouse=True)
def small_peaks(monkeypatch):
    monkeypatch.setattr(benchmark, "MATRIX_SIZE", {"cpu": 32})
    monkeypatch.setattr(benchmark, "COPIED_BYTES", {"cpu": 4096})


def test_every_setting_has_a_row_with_all_that_was_measured(tmp_path, capsys):
    grids = ({"reduction.r": (0, 6), "batch": 2}, {"batch": 2, "sliced": True})
    assert benchmark.run(tiny_config(*grids), tmp_path) == exit_codes.SUCCESS
    rows = [json.loads(line) for line in (tmp_path / "benchmark.jsonl").read_text().splitlines()]
    assert [row["name"] for row in rows] == ["unmerged", "merge r=6", "merge r=6, sliced"]
    unmerged, merged, sliced = rows
    for row in rows:
        assert row["status"] == "measured"
        assert row["traces"] == 1
        assert row["chosen"] == {"attention": "chunked", "matching": "chunked", "merging": "scatter"}
        assert min(row[key] for key in ("trace_s", "compile_s", "cached_compile_s", "first_run_s")) > 0
        assert row["program_bytes"]["together"] > 0
        assert row["flop_per_clip"] == 2 * row["macs_per_clip"]
        assert row["mac_ratio"] == unmerged["macs_per_clip"] / row["macs_per_clip"]
        assert list(row["levels"]) == ["model", "transfer", "decoding"]
        for name, level in row["levels"].items():
            assert len(level["seconds"]) == 3
            assert level["clips"] == (4 if name == "decoding" else 2)
            fast = level["clips_per_s"]["median"]
            assert fast == pytest.approx(1e3 / level["ms_per_clip"]["median"])
            ratios = [a / b for a, b in zip(unmerged["levels"][name]["seconds"], level["seconds"], strict=True)]
            assert level["speed_up"]["median"] == pytest.approx(sorted(ratios)[1])
            assert level["percent_of_mac_ratio"]["median"] == pytest.approx(100 * sorted(ratios)[1] / row["mac_ratio"])
        assert row["levels"]["model"]["share_of_peak"]["median"] > 0
    assert merged["tokens_per_layer"] == [33, 27, 21] == sliced["tokens_per_layer"]
    assert sliced["macs_per_clip"] == merged["macs_per_clip"] - merged["macs_by_part"]["matching"]
    shares = [1 - b / a for a, b in zip(*(row["levels"]["model"]["seconds"] for row in (merged, sliced)), strict=True)]
    assert sliced["levels"]["model"]["share_of_merging"]["median"] == pytest.approx(sorted(shares)[1])

    results = json.loads((tmp_path / "benchmark.json").read_text())
    assert results["rows"] == rows
    assert results["rounds"] == 3
    assert [peak["name"] for peak in results["peaks"]] == ["float32", "copy"]
    printed = capsys.readouterr().out
    assert "Model alone: clips on the device, medians [quartiles] over rounds" in printed
    assert "What matching and merging take of the time" in printed
    page = (tmp_path / "benchmark.html").read_text()
    assert "merge r=6, sliced" in page


def test_what_cannot_run_here_is_a_row_with_its_reason(tmp_path, capsys, monkeypatch):
    prepare = benchmark_subject._prepare

    def picky(config, setting, *rest):
        if setting.batch == 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.\n a long story")
        if setting.fields["dtype"] == "bfloat16":
            raise NotImplementedError("no such kernel on a cpu")
        return prepare(config, setting, *rest)

    monkeypatch.setattr(benchmark_subject, "_prepare", picky)
    config = tiny_config({"batch": (1, 2)}, {"model.attention": "cudnn"}, {"model.dtype": "bfloat16"})
    config.benchmark.levels = ("model",)
    assert benchmark.run(config, tmp_path) == exit_codes.SUCCESS
    rows = json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    assert [(row["status"], row["reason"]) for row in rows] == [
        ("measured", ""),
        ("not measured", "out of memory: RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes."),
        (
            "not measured",
            "attention is 'cudnn', which needs an NVIDIA GPU, but JAX runs on 'cpu' here. Use 'auto', 'xla' or "
            "'chunked', which run everywhere.",
        ),
        ("not measured", "not for this device: no such kernel on a cpu"),
    ]
    # Without a baseline there is no speed-up, and nothing is made up.
    assert rows[0]["mac_ratio"] is None
    assert "speed_up" not in rows[0]["levels"]["model"]
    printed = capsys.readouterr().out
    assert "not measured: attention auto · float32 · batch 2 · merge r=6: out of memory" in printed

    config.benchmark.grids = ({"batch": 2},)
    with pytest.raises(UserError, match=r"none of the settings can be measured here:\n  merge r=6: out of memory"):
        benchmark.run(config, tmp_path / "other")


def test_memory_that_runs_out_when_everything_is_there_is_noticed_too():
    config = tiny_config()
    (setting,) = benchmark.read_settings(config)

    def fails(times):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no room")

    subjects = {setting: benchmark.Subject({"model": (fails, 1)}, {}, {})}
    reasons = {}
    assert benchmark._warm(config, subjects, reasons, {}) == {}
    assert (subjects, reasons) == ({}, {setting: "out of memory: RESOURCE_EXHAUSTED: no room"})


def test_a_fault_is_not_taken_for_a_reason():
    assert str(benchmark_subject.cannot_run(MemoryError())) == "out of memory"
    assert isinstance(benchmark_subject.cannot_run(ValueError("odd")), ValueError)
    assert isinstance(benchmark_subject.cannot_run(jax.errors.JaxRuntimeError("INTERNAL: odd")), RuntimeError)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("levels", ("model", "disk"), "benchmark.levels is 'disk'; known are model, transfer, decoding"),
        ("levels", ("transfer",), "'model' has to be among them"),
        ("rounds", 0, "benchmark.rounds is 0; expected at least 1"),
        ("videos", 0, "benchmark.videos is 0; expected at least 1"),
    ],
)
def test_values_that_cannot_be(tmp_path, key, value, message):
    config = tiny_config()
    config.benchmark[key] = value
    with pytest.raises(UserError, match=message):
        benchmark.run(config, tmp_path)


def test_random_reductions_and_two_models(tmp_path):
    config = tiny_config({"reduction.mode": "random_drop"}, {"model.name": "videomae_b_16", "reduction.r": 3})
    config.benchmark.levels = ("model",)
    config.benchmark.cached_compile = False
    assert benchmark.run(config, tmp_path) == exit_codes.SUCCESS
    rows = json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    assert [row["name"] for row in rows] == [
        "vivit_moving_digits · random_drop r=6",
        "videomae_b_16 · merge r=3",
    ]
    assert all(row["cached_compile_s"] is None for row in rows)


def test_without_pytorch_its_rows_say_so(tmp_path, monkeypatch):
    def missing(*question):
        raise UserError("comparing with PyTorch needs torch, not installed here.")

    monkeypatch.setattr(benchmark.PytorchProcess, "_ask", missing)
    config = tiny_config({"implementation": ("jax_vtm", "pytorch_sdpa")})
    config.benchmark.levels = ("model",)
    assert benchmark.run(config, tmp_path) == exit_codes.SUCCESS
    ours, theirs = json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    assert ours["beside"] == {}
    assert theirs["reason"] == "comparing with PyTorch needs torch, not installed here."


@pytest.mark.torch
def test_beside_pytorch(tmp_path, capsys):
    pytest.importorskip("torch")
    config = tiny_config(
        {"implementation": ("jax_vtm", "pytorch_eager", "pytorch_sdpa"), "reduction.r": (0, 6)},
        {"implementation": "pytorch_sdpa", "model.name": "timesformer_b_8"},
        name="vivit_b_16x2",
        num_classes=5,
    )
    config.benchmark.levels = ("model",)
    assert benchmark.run(config, tmp_path) == exit_codes.SUCCESS
    results = json.loads((tmp_path / "benchmark.json").read_text())
    *measured, missing = results["rows"]
    assert "Hugging Face has no model like 'timesformer_b_8'" in missing["reason"]
    for ours in measured[:2]:
        assert list(ours["beside"]) == ["pytorch_eager", "pytorch_sdpa"]
        for found in ours["beside"].values():
            theirs = next(row for row in measured if row["name"] == found["name"])
            assert theirs["tokens_per_layer"] == ours["tokens_per_layer"]
            seconds = [row["levels"]["model"]["seconds"] for row in (theirs, ours)]
            assert found["times_as_fast"]["median"] == pytest.approx(
                sorted(a / b for a, b in zip(*seconds, strict=True))[1]
            )
            # The same weights, clips, matching and merging: it is the same work.
            assert found["largest_difference"] < 1e-4
    assert set(results["machine"]["idle"]) == {"jax_vtm", "PyTorch"}
    assert results["machine"]["torch_threads"] >= 1
    assert "Beside PyTorch, same weights and clips" in capsys.readouterr().out
