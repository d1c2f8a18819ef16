"""The whole command, on models and videos of a moment."""

import csv
import json
import os

import jax
import pytest

from jax_vtm import errors as exit_codes
from jax_vtm.benchmarks import command, model, pytorch
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
    config.benchmark.scopes = ("forward",)
    config.benchmark.rounds = 3
    config.benchmark.min_seconds = 0.0
    config.benchmark.videos = 2
    config.benchmark.cached_compile = False
    return config


@pytest.fixture(autouse=True)
def small_peaks(monkeypatch):
    monkeypatch.setattr(model, "MATRIX_SIZE", {"cpu": 32})
    monkeypatch.setattr(model, "COPIED_BYTES", {"cpu": 4096})


def rows_of(config, workdir):
    assert command.run(config, workdir) == exit_codes.SUCCESS
    return json.loads((workdir / "benchmark.json").read_text())["rows"]


def median_ratio(numerator, denominator):
    return sorted(a / b for a, b in zip(numerator, denominator, strict=True))[1]


def test_every_experiment_has_a_row_with_all_that_was_measured(tmp_path, capsys):
    config = tiny_config({"reduction.r": (0, 6), "batch": 2}, {"batch": 2, "truncated": True})
    config.benchmark.scopes = ("forward", "host_to_device", "end_to_end")
    config.benchmark.cached_compile = True
    rows = rows_of(config, tmp_path)
    assert [row["name"] for row in rows] == ["unmerged", "merge r=6", "merge r=6, truncated"]
    unmerged, merged, truncated = rows
    for row in rows:
        assert row["status"] == "measured"
        assert row["chosen"] == {"attention": "chunked", "matching": "chunked", "merging": "scatter"}
        assert row["flop_per_clip"] == 2 * row["macs_per_clip"]
        assert row["mac_ratio"] == unmerged["macs_per_clip"] / row["macs_per_clip"]
        measured = row["measured"]
        assert measured["traces"] == 1
        assert min(measured[key] for key in ("trace_s", "compile_s", "cached_compile_s", "first_run_s")) > 0
        assert measured["program_bytes"]["total"] > 0
        assert list(measured["scopes"]) == ["forward", "host_to_device", "end_to_end"]
        for scope, found in measured["scopes"].items():
            assert found["clips"] == (4 if scope == "end_to_end" else 2)
            assert found["clips_per_s"]["median"] == pytest.approx(1e3 / found["ms_per_clip"]["median"])
            speedup = median_ratio(unmerged["measured"]["scopes"][scope]["seconds"], found["seconds"])
            assert found["speedup"]["median"] == pytest.approx(speedup)
            assert found["percent_of_mac_ratio"]["median"] == pytest.approx(100 * speedup / row["mac_ratio"])
        assert measured["scopes"]["forward"]["share_of_peak"]["median"] > 0
    assert merged["tokens_per_layer"] == [33, 27, 21] == truncated["tokens_per_layer"]
    assert truncated["macs_per_clip"] == merged["macs_per_clip"] - merged["macs_by_part"]["matching"]
    forward = [row["measured"]["scopes"]["forward"] for row in (merged, truncated)]
    left = median_ratio(forward[1]["seconds"], forward[0]["seconds"])
    assert forward[0]["merging_share"]["median"] == pytest.approx(1 - left)
    assert "merging_share" not in forward[1]

    results = json.loads((tmp_path / "benchmark.json").read_text())
    assert [json.loads(line) for line in (tmp_path / "benchmark.jsonl").read_text().splitlines()] == rows
    assert (results["schema_version"], results["rounds"]) == (3, 3)
    assert [peak["name"] for peak in results["measured"]["peaks"]] == ["float32", "copy"]
    with (tmp_path / "benchmark.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["speedup"]) for row in table] == [
        row["measured"]["scopes"]["forward"]["speedup"]["median"] for row in rows
    ]
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    assert "merge r=6, truncated" in (tmp_path / "benchmark" / "report.html").read_text()
    # The page and the videos of an evaluation in the same workdir are left alone.
    assert not (tmp_path / "report.html").exists()
    assert not (tmp_path / "videos").exists()


def test_what_cannot_run_here_is_a_row_with_its_reason(tmp_path, capsys, monkeypatch):
    prepare = model.prepare

    def picky(config, case, *rest):
        if case.experiment.batch == 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.\n a long story")
        if case.experiment.fields["dtype"] == "bfloat16":
            raise NotImplementedError("no such kernel on a cpu")
        return prepare(config, case, *rest)

    monkeypatch.setattr(model, "prepare", picky)
    config = tiny_config({"batch": (1, 2)}, {"model.attention": "cudnn"}, {"model.dtype": "bfloat16"})
    rows = rows_of(config, tmp_path)
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
    assert "speedup" not in rows[0]["measured"]["scopes"]["forward"]
    printed = capsys.readouterr().out
    assert "3 of 4 experiments could not be measured here." in printed
    assert "out of memory" in printed

    config.benchmark.grids = ({"batch": 2},)
    with pytest.raises(UserError, match=r"none of the experiments can be measured here:\n  merge r=6: out of memory"):
        command.run(config, tmp_path / "other")


def test_memory_that_runs_out_when_everything_is_there_is_noticed_too(tmp_path, monkeypatch):
    warm = model.Case.warm

    def full(case, least):
        if case.experiment.batch == 2:
            case.timers["forward"] = None  # nothing of it is timed any more
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: not enough")
        warm(case, least)

    monkeypatch.setattr(model.Case, "warm", full)
    one, two = rows_of(tiny_config({"batch": (1, 2)}), tmp_path)
    assert one["status"] == "measured"
    assert two["reason"] == "out of memory: RESOURCE_EXHAUSTED: not enough"


def test_a_fault_is_not_taken_for_a_reason():
    assert model.cannot_run(MemoryError()) == "out of memory"
    assert (
        model.cannot_run(jax.errors.JaxRuntimeError("UNIMPLEMENTED: odd")) == "not for this device: UNIMPLEMENTED: odd"
    )
    for fault in (ValueError("odd"), jax.errors.JaxRuntimeError("INTERNAL: odd")):
        assert model.cannot_run(fault) == ""


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("what", "modle", "benchmark.what is 'modle'; known are model, training, parts, data, scaling"),
        ("scopes", ("forward", "disk"), "benchmark.scopes is 'disk'; known are forward, host_to_device, end_to_end"),
        ("scopes", ("host_to_device",), "'forward' has to be among them"),
        ("rounds", 0, "benchmark.rounds is 0; expected at least 1"),
        ("videos", 0, "benchmark.videos is 0; expected at least 1"),
    ],
)
def test_values_that_cannot_be(tmp_path, key, value, message):
    config = tiny_config()
    config.benchmark[key] = value
    with pytest.raises(UserError, match=message):
        command.run(config, tmp_path)


def test_a_workdir_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "benchmark.jsonl").mkdir()
    (tmp_path / "benchmark.jsonl" / "in the way").touch()
    with pytest.raises(UserError, match=r"benchmark\.jsonl: cannot be written"):
        command.run(tiny_config(), tmp_path)


def test_random_reductions_two_models_and_a_damaged_file_of_an_earlier_run(tmp_path):
    (tmp_path / "benchmark.jsonl").write_bytes(b'{"name": "unme\x00\xff')
    config = tiny_config({"reduction.mode": "random_drop"}, {"model.name": "videomae_b_16", "reduction.r": 3})
    rows = rows_of(config, tmp_path)
    assert [row["name"] for row in rows] == ["vivit_moving_digits · random_drop r=6", "videomae_b_16 · merge r=3"]
    assert len((tmp_path / "benchmark.jsonl").read_text().splitlines()) == 2


def test_the_models_own_proportional_attention_is_one_experiment(tmp_path):
    grid = {"model.name": "videomae_b_16", "reduction.proportional_attention": (None, False, True), "reduction.r": 3}
    assert [one.name for one in command.read_experiments(tiny_config(grid))] == [
        "merge r=3, no proportional attention",
        "merge r=3",
    ]


def test_without_pytorch_its_rows_say_so(tmp_path, monkeypatch):
    def missing(*question):
        raise UserError("comparing with PyTorch needs torch, not installed here.")

    monkeypatch.setattr(pytorch.PytorchProcess, "_ask", missing)
    ours, theirs = rows_of(tiny_config({"implementation": ("jax_vtm", "pytorch_sdpa")}), tmp_path)
    assert ours["measured"]["over_pytorch"] == {}
    assert theirs["reason"] == "comparing with PyTorch needs torch, not installed here."


@pytest.mark.torch
def test_pytorch_does_the_same_work_in_its_process(tmp_path, capsys):
    pytest.importorskip("torch")
    config = tiny_config(
        {"implementation": ("jax_vtm", "pytorch_eager", "pytorch_sdpa"), "reduction.r": (0, 6)},
        {"implementation": "pytorch_sdpa", "model.name": "motionformer_b_16"},
        name="vivit_b_16x2",
        num_classes=5,
    )
    *measured, missing = rows_of(config, tmp_path)
    assert "Hugging Face has no Motionformer" in missing["reason"]
    seconds = {row["name"]: row["measured"]["scopes"]["forward"]["seconds"] for row in measured}
    for ours in measured[:2]:
        over = ours["measured"]["over_pytorch"]
        assert list(over) == ["pytorch_eager", "pytorch_sdpa"]
        for found in over.values():
            assert found["times_as_fast"]["median"] == pytest.approx(
                median_ratio(seconds[found["name"]], seconds[ours["name"]])
            )
            # The same weights, clips, matching and merging: it is the same work.
            assert found["largest_difference"] < 1e-4
    machine = json.loads((tmp_path / "benchmark.json").read_text())["measured"]["machine"]
    assert set(machine["idle"]) == {"jax_vtm", "PyTorch"}
    assert machine["torch_threads"] >= 1
    assert "Compared with PyTorch" in capsys.readouterr().out


@pytest.mark.torch
def test_a_process_of_pytorch_that_dies_is_one_sentence():
    pytest.importorskip("torch")
    with pytorch.PytorchProcess(1) as process:
        process._ask("start", 1, False)
        assert process.environment["torch_threads"] == 1
        process._executor.submit(os._exit, 1)
        with pytest.raises(UserError, match="the process of PyTorch ended before it answered"):
            process._ask("rest")
