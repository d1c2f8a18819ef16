"""`benchmark.what=device`: the recorded models that are shipped, and what certifies a machine with them."""

import json

import jax
import make_recorded
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from recorded import RECORDED, reduction_of

from jax_vtm import errors as exit_codes
from jax_vtm.benchmarks import command, device
from jax_vtm.benchmarks.recorded import recorded_models
from jax_vtm.config import default_config

MODELS = {one.family: one for one in recorded_models()}


@pytest.mark.parametrize("kind", RECORDED)
def test_what_is_shipped_is_what_was_recorded(kind):
    """Weights and clips, drawn again, but for the rounding of PyTorch's float32 functions; all else exactly."""
    shipped, recorded = MODELS[kind], RECORDED[kind]
    assert shipped.model() == recorded.model(reduction_of(recorded.cases["merge"]))
    ours, theirs = (flatten_dict(params) for params in (shipped.params, recorded.variables["params"]))
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=0, atol=3e-7)
    np.testing.assert_allclose(shipped.video, recorded.video, rtol=0, atol=2e-6)
    for prefix, merged in (("base", False), ("merge", True)):
        logits = shipped.logits(merged).astype(np.float32)
        np.testing.assert_array_equal(logits, recorded.arrays[f"{prefix}/{recorded.logits}"])
    for ours, theirs in zip(
        make_recorded.grouped(recorded, shipped.memberships), make_recorded.recorded_groups(recorded), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_machine_that_computes_as_recorded_is_certified(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(device, "recorded_models", lambda: [MODELS["videomae"]])
    monkeypatch.setattr(device, "MERGINGS", ("auto", "scatter", "one_hot"))
    config = default_config("tiny")
    config.benchmark.what = "device"
    small = "model.image_size=32 model.num_frames=4 model.num_layers=2 model.hidden_size=24 model.mlp_dim=24"
    config.benchmark.axes = f"{small} model.num_heads=3 reduction.r=0,2"
    assert command.run(config, tmp_path) == exit_codes.SUCCESS
    results = json.loads((tmp_path / "benchmark_device.json").read_text())
    assert [(row["check"], row["backend"]) for row in results["rows"]] == [
        *(
            row
            for dtype in device.DTYPES
            for row in (
                (f"recorded videomae, unmerged, {dtype}", "xla"),
                (f"recorded videomae, unmerged, {dtype}", "chunked"),
                (f"recorded videomae, {dtype}", "xla, xla, scatter"),
                (f"recorded videomae, {dtype}", "chunked, chunked, one_hot"),
            )
        ),
        *((f"attention of 9 tokens, {dtype}", name) for dtype in device.DTYPES for name in ("xla", "chunked")),
        *(("matching of 9 tokens, float32", name) for name in ("xla", "chunked")),
        *(("merging of 9 tokens, float32", name) for name in ("scatter", "sorted", "one_hot")),
        *(
            (f"vivit_b_16x2, float32, batch 1: {name}", "chunked, chunked, scatter")
            for name in ("unmerged", "merge r=2")
        ),
    ]
    assert all(row["ok"] for row in results["rows"])
    recorded = results["rows"][:8]
    assert [row.get("same_per_layer") for row in recorded] == [None, None, [1] * 4, [1] * 4] * 2
    assert max(row["logits"] for row in recorded[:4]) < 1e-5 < min(row["logits"] for row in recorded[4:])
    assert results["rows"][-1]["clips_per_s"]["median"] > 0
    said = " ".join(capsys.readouterr().out.split())
    assert "CERTIFIED: all 19 checks passed on cpu. vivit_b_16x2, float32, batch 1: merge r=2: " in said
    assert "CERTIFIED: all 19 checks" in (tmp_path / "benchmark_device" / "report.html").read_text()


FAULTS = {
    "logits": "logits differ by 0.0002 of the largest",
    "unmerged": "logits differ by 0.0002 of the largest",
    "groups": "other tokens are merged from layer 2 on",
    "fails": "fails: INTERNAL: Mosaic failed to compile",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_that_does_not_is_not(monkeypatch, fault):
    one = MODELS["vivit"]

    def computed(one, backends, dtype, scores, *, merged):
        logits, memberships = one.logits(merged), one.memberships
        here = "chunked" if fault == "unmerged" else "chunked, chunked, sorted"
        if dtype == "float32" and ", ".join(backends.values()) == here:
            if fault == "fails":
                raise jax.errors.JaxRuntimeError("INTERNAL: Mosaic failed to compile")
            if fault == "groups":
                memberships = memberships.copy()
                memberships[2:, 1, 7] += 1
            else:
                logits = logits + 2e-4 * np.abs(logits).max()
        return logits, memberships, {}

    monkeypatch.setattr(device, "recorded_outputs", computed)
    rows = list(device._recorded_rows(one))
    assert [row["ok"] for row in rows].count(False) == 1
    results = {"rows": rows, "measured": {"machine": {"device_kind": "TPU v5e"}}}
    named = "unmerged, float32 (chunked)" if fault == "unmerged" else "float32 (chunked, chunked, sorted)"
    assert device.REPORT.headline(results) == (
        f"NOT CERTIFIED: 1 of {len(rows)} checks failed on TPU v5e: recorded vivit, {named}: {FAULTS[fault]}."
    )


def test_a_machine_that_is_not_certified_is_no_success(tmp_path, monkeypatch, capsys):
    row = {"check": "recorded vivit, float32", "backend": "xla, xla, scatter", "ok": False, "reason": "it failed"}
    found = {"rows": [row], "measured": {"seconds": 1.0}}
    monkeypatch.setattr(device, "measure", lambda config, workdir: iter([found]))
    config = default_config("tiny")
    config.benchmark.what = "device"
    assert command.run(config, tmp_path) == exit_codes.FAILURE
    assert "NOT CERTIFIED: 1 of 1 check failed" in capsys.readouterr().out
