"""`main.py parity` on tiny models: what it prints and writes, and what it refuses."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_evaluation import write_config, write_videos

from jax_vtm import cli
from jax_vtm import errors as exit_codes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A config file for three tiny videos and a checkpoint with two heads."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("tiny")
    write_videos(folder / "videos", 3)
    return write_config(folder, folder / "videos")


def parity(config, workdir, *words: str) -> int:
    quick = ["--config.parity.clips=2", "--config.parity.rounds=1", "--config.parity.threads=1"]
    return cli.run(["main.py", "parity", f"--config={config}", f"--workdir={workdir}", *quick, *words], ROOT)


def results(workdir):
    return json.loads((workdir / "parity" / "parity.json").read_text())


def test_without_pytorch_one_error_says_what_to_install(tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith(("jax_vtm.pytorch", "jax_vtm.parity."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert parity(ROOT / "configs" / "torch_parity.py", tmp_path) == exit_codes.MISTAKE
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "needs torch" in said
    assert 'pip install "jax_vtm[torch]"' in said


@pytest.fixture(autouse=True)
def _quick(request, monkeypatch):
    if "torch" in request.keywords:
        # The models are tiny: more threads would only wait for each other.
        pytest.importorskip("torch").set_num_threads(1)
        pytest.importorskip("transformers")
        monkeypatch.setattr(importlib.import_module("jax_vtm.parity.command"), "SECONDS_PER_TIMING", 0.001)


@pytest.mark.torch
@pytest.mark.parametrize(
    "words",
    [
        ("--config.reduction.mode=merge",),
        ("--config.reduction.mode=drop", "--config.parity.attention=eager"),
        (
            "--config.reduction.mode=hybrid",
            "--config.reduction.threshold=0.9",
            "--config.reduction.inflection=-1.0",
            "--config.checkpoint=",
        ),
    ],
    ids=["merge", "drop", "hybrid, decreasing, random weights"],
)
def test_both_sides_agree(config, tmp_path, capsys, words):
    assert parity(config, tmp_path, *words) == exit_codes.SUCCESS
    found = results(tmp_path)
    assert [layer["name"] for layer in found["layers"]] == ["embedding", "layer 0", "layer 1", "logits"]
    assert [layer["tokens"] for layer in found["layers"][:-1]] == found["tokens_per_layer"]
    assert found["tokens_per_layer"][0] == 33
    for layer in found["layers"]:
        assert 0 <= layer["replayed"]["relative"] < 2e-6
        assert layer["own"]["largest"] < 1e-4
        assert layer["own"].get("groups_alike", 1) == 1
    matched = [layer["matching"] for layer in found["layers"] if layer["matching"]]
    assert matched
    for matching in matched:
        assert matching["removed"]["of"] > 0
        assert all(matching[key]["alike"] == matching[key]["of"] for key in ("removed", "targets", "positions"))
        assert matching["scores"] < 1e-5
    assert found["same_class"] == 2
    assert found["measured"]["ratio"]["median"] > 0
    assert found["environment"]["threads"] == 1
    printed = capsys.readouterr().out
    assert "merging decisions; logits" in printed
    page = (tmp_path / "parity" / "report.html").read_text()
    assert "<h1>JAX and PyTorch agree in all" in page


@pytest.mark.torch
def test_random_reductions_share_their_scores(config, tmp_path):
    # Nothing is decided by keys, so that only groups can be compared, and these are the same.
    assert parity(config, tmp_path) == exit_codes.SUCCESS
    found = results(tmp_path)
    assert found["reduction"]["mode"] == "random_merge"
    assert [layer["matching"] for layer in found["layers"]] == [None] * 4
    assert all(layer["own"].get("groups_alike", 1) == 1 for layer in found["layers"])
    assert found["layers"][-1]["own"]["relative"] < 2e-6


@pytest.mark.torch
@pytest.mark.parametrize("layout", ["reference", "fixed"])
def test_videomae_with_random_weights(config, tmp_path, layout):
    text = config.read_text().replace("vivit_moving_digits", "videomae_b_16")
    (tmp_path / "mae.py").write_text(text)
    words = ("--config.checkpoint=", "--config.reduction.mode=merge", f"--config.reduction.layout={layout}")
    assert parity(tmp_path / "mae.py", tmp_path, *words) == exit_codes.SUCCESS
    found = results(tmp_path)
    assert found["model"]["library_class"] == "VideoMAEForVideoClassification"
    assert found["tokens_per_layer"] == [32, 26, 20]
    assert found["layers"][-1]["replayed"]["relative"] < 2e-6
    assert found["model"]["weights"] == "random, seed 0"


@pytest.mark.torch
@pytest.mark.parametrize(
    ("mode", "r", "others"),
    [
        ("merge", 0, ()),
        ("merge", 5, ("head_aggregation=concat",)),
        ("merge", 5, ("layout=fixed",)),
        ("hybrid", 5, ("layout=fixed", "threshold=0.9")),
        ("random_drop", 5, ()),
    ],
)
def test_timesformer_merges_the_same_in_every_frame(config, tmp_path, mode, r, others):
    text = config.read_text().replace("vivit_moving_digits", "timesformer_b_8").replace("(2, 4, 4)", "(1, 4, 4)")
    (tmp_path / "frames.py").write_text(text)
    words = ["--config.checkpoint=", *(f"--config.reduction.{word}" for word in (f"mode={mode}", f"r={r}", *others))]
    assert parity(tmp_path / "frames.py", tmp_path, *words) == exit_codes.SUCCESS
    found = results(tmp_path)
    assert found["model"]["library_class"] == "TimesformerForVideoClassification"
    # Two clips of four frames with sixteen patches each.
    matched = [layer["matching"] for layer in found["layers"] if layer["matching"]]
    assert [matching["removed"]["of"] for matching in matched] == ([8 * r] * 2 if r and mode != "random_drop" else [])
    for matching in matched:
        assert all(matching[key]["alike"] == matching[key]["of"] for key in ("removed", "targets", "positions"))
    assert found["tokens_per_layer"] == [65, 65 - 4 * r, 65 - 8 * r]
    for layer in found["layers"]:
        assert layer["replayed"]["relative"] < 2e-6
        assert layer["own"]["relative"] < 2e-6
        assert layer["own"].get("groups_alike", 1) == 1


@pytest.mark.torch
def test_a_difference_is_found(config, tmp_path, monkeypatch):
    """With another weight on one side, everything from there on differs."""
    from jax_vtm.parity import command

    def tampered(*args, **kwargs):
        variables, theirs = command_weights(*args, **kwargs)
        variables["params"]["Transformer"]["encoderblock_1"]["MlpBlock_0"]["Dense_0"]["bias"] = np.full(32, 0.3, "f4")
        return variables, theirs

    command_weights = command.same_weights
    monkeypatch.setattr(command, "same_weights", tampered)
    assert parity(config, tmp_path, "--config.reduction.mode=merge") == exit_codes.SUCCESS
    apart = [layer["replayed"]["relative"] for layer in results(tmp_path)["layers"]]
    assert max(apart[:2]) < 2e-6
    assert min(apart[2:]) > 1e-4


@pytest.mark.torch
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--config.parity.clips=0",), "config.parity.clips is 0"),
        (("--config.parity.clips=4",), "config.parity.clips is 4; there are 3 videos"),
        (("--config.parity.rounds=-1",), "config.parity.rounds is -1"),
        (("--config.parity.threads=-1",), "config.parity.threads is -1; expected 0 or more"),
        (("--config.parity.attention=flash",), "config.parity.attention is 'flash'; known are sdpa, eager"),
        (("--config.checkpoint=nowhere",), "nowhere"),
    ],
)
def test_mistakes(config, tmp_path, capsys, words, message):
    assert parity(config, tmp_path, *words) == exit_codes.MISTAKE
    assert message in capsys.readouterr().err


@pytest.mark.torch
def test_models_that_hugging_face_does_not_have(tmp_path, capsys):
    path = ROOT / "configs" / "motionformer_b_k400.py"
    assert cli.run(["main.py", "parity", f"--config={path}", f"--workdir={tmp_path}"], ROOT) == exit_codes.MISTAKE
    assert "Hugging Face has no Motionformer" in capsys.readouterr().err
