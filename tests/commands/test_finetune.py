import csv
import json
import pathlib
import shutil
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jax_vtm import errors as exit_codes
from jax_vtm.checkpoints import abstract_params, load_checkpoint
from jax_vtm.commands import finetune
from jax_vtm.config import load_config
from jax_vtm.data import moving_digits
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.lock import held
from jax_vtm.merging import no_reduction

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def config():
    config = load_config(pathlib.Path(__file__).parents[2] / "configs" / "moving_digits.py")
    config.compilation_cache = ""
    config.model.patch_size = (2, 16, 16)
    config.model.hidden_size = 16
    config.model.num_layers = 1
    config.model.mlp_dim = 16
    config.data.num_videos, config.reduction.r = 4, 30
    config.train.update({"steps": 2, "batch_size": 8, "warmup_steps": 1, "checkpoint_every": 1, "log_every": 1})
    return config


def test_training_ends_in_a_checkpoint_that_is_evaluated_and_shown(config, tmp_path, capsys):
    config.train.evaluate_every = 2 * 8 / 11496
    config.train.reduction = "r=0,30"
    assert finetune.run(config, tmp_path) == exit_codes.SUCCESS
    printed = capsys.readouterr()
    assert f"wrote {tmp_path / 'checkpoint'}" in printed.out
    assert "noun/accuracy" in printed.err
    model = build.model(config, no_reduction())
    weights = load_checkpoint(tmp_path / "checkpoint", model)
    # The states are checkpoints, too.
    jax.tree.map(np.testing.assert_array_equal, load_checkpoint(tmp_path / "states", model), weights)
    rows = list(csv.DictReader((tmp_path / "train.csv").open()))
    assert [row["step"] for row in rows] == ["1", "2"]
    assert float(rows[1]["learning_rate"]) == pytest.approx(1.5e-3)
    (evaluated,) = csv.DictReader((tmp_path / "evaluations.csv").open())
    final = json.loads((tmp_path / "evaluation" / "results.json").read_text())
    assert set(evaluated) == {"step", *(run["name"] for run in final["runs"])}
    for run in final["runs"]:
        assert float(evaluated[run["name"]]) == run["metrics"]["action/top1"]["value"]
    page = (tmp_path / "report.html").read_text()
    assert "Training is finished: step 2 of 2" in page
    assert 'http-equiv="refresh"' not in page
    before = (tmp_path / "checkpoint").read_bytes()
    config.train.evaluate = False
    assert finetune.run(config, tmp_path) == exit_codes.SUCCESS
    assert "continuing after step 2 of 2" in capsys.readouterr().err
    assert (tmp_path / "checkpoint").read_bytes() == before
    config.train.learning_rate = 0.5
    with pytest.raises(UserError, match=r"(?s)other settings:.*config.train.learning_rate was 0.0015, is 0.5"):
        finetune.run(config, tmp_path)


@pytest.fixture
def trained(config, tmp_path):
    """The workdir of a run of two steps, whose states are there."""
    config.train.evaluate = False
    assert finetune.run(config, tmp_path) == exit_codes.SUCCESS
    return tmp_path


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_a_damaged_state_is_passed_over_for_the_one_before(config, trained, capsys):
    whole = (trained / "checkpoint").read_bytes()
    for damage in ("cut", "emptied", "flipped"):
        newest = largest_file(trained / "states" / "2" / "state")
        flipped = bytearray(newest.read_bytes())
        flipped[len(flipped) // 2] ^= 4
        newest.write_bytes({"flipped": flipped, "cut": newest.read_bytes()[:2000], "emptied": b""}[damage])
        capsys.readouterr()
        assert finetune.run(config, trained) == exit_codes.SUCCESS
        said = capsys.readouterr().err
        assert f"warning: {trained / 'states' / '2'}: this training state is damaged" in said
        assert "going on from step 1." in said
        assert "continuing after step 1 of 2" in said
        assert (trained / "checkpoint").read_bytes() == whole


def test_without_an_intact_state_the_folder_and_a_remedy_are_named(config, trained):
    for step in ("1", "2"):
        largest_file(trained / "states" / step / "state").write_bytes(b"")
    with pytest.raises(UserError, match=r"(?s)states: no training state there.*states/1: .*damaged.*Remove the fo"):
        finetune.run(config, trained)


def test_a_killed_run_goes_on_to_the_same_bytes(config, tmp_path):
    config.train.update({"steps": 12, "checkpoint_every": 2, "evaluate": False})
    assert finetune.run(config, tmp_path / "whole") == exit_codes.SUCCESS
    flags = [f"--config.train.{key}={config.train[key]}" for key in ("steps", "batch_size", "warmup_steps")]
    flags += ["--config.train.checkpoint_every=2", "--config.train.log_every=1", "--config.train.evaluate=False"]
    flags += [f"--config.model.{key}=16" for key in ("hidden_size", "mlp_dim")] + ["--config.model.num_layers=1"]
    flags += ["--config.model.patch_size=(2, 16, 16)"]
    flags += ["--config.compilation_cache=", f"--workdir={tmp_path / 'killed'}"]
    command = [sys.executable, "-m", "jax_vtm", "finetune", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    while process.poll() is None and not (tmp_path / "killed" / "states" / "4" / "state").exists():
        time.sleep(0.02)
    process.kill()
    process.communicate()
    config.train.evaluate = False
    assert finetune.run(config, tmp_path / "killed") == exit_codes.SUCCESS
    whole, again = ((tmp_path / name / "checkpoint").read_bytes() for name in ("whole", "killed"))
    assert again == whole


def test_an_image_vit_begins_training(config, tmp_path, capsys):
    model = build.model(config, no_reduction())
    rng = np.random.default_rng(0)
    image = {}
    for name, leaf in flatten_dict(abstract_params(model), sep="/").items():
        shape = {"embedding/kernel": leaf.shape[1:], "Transformer/posembed_input/pos_embedding": (1, 17, 16)}
        image[name] = rng.normal(size=shape.get(name, leaf.shape)).astype(np.float32)
    np.savez(tmp_path / "image.npz", **image)
    config.init_from = str(tmp_path / "image.npz")
    config.train.evaluate = False
    assert finetune.run(config, tmp_path / "out") == exit_codes.SUCCESS
    assert "embedding/kernel (central_frame)" in capsys.readouterr().err
    rows = {row["leaf"]: row["how"] for row in csv.DictReader((tmp_path / "out" / "init.csv").open())}
    assert rows["Transformer/posembed_input/pos_embedding"] == "repeated 8 times"
    assert rows["output_projection/kernel"] == "new"


def test_leftovers_of_a_kill_go_and_a_second_run_is_kept_out(config, tmp_path):
    config.train.evaluate = False
    left = [
        tmp_path / ".checkpoint.0123456789abcdef0123456789abcdef.tmp",
        tmp_path / ".checkpoint.partial",
    ]
    for path in left:
        path.write_bytes(b"half of it")
    with held(tmp_path / ".lock"), pytest.raises(UserError, match="another run is at work in this folder"):
        finetune.run(config, tmp_path)
    assert finetune.run(config, tmp_path) == exit_codes.SUCCESS
    assert not [path for path in tmp_path.rglob(".*")]


def test_a_workdir_removed_during_training_is_noticed(config, tmp_path, monkeypatch):
    batch = moving_digits.training_batch

    def then_remove(*arguments):
        shutil.rmtree(tmp_path)
        return batch(*arguments)

    monkeypatch.setattr(moving_digits, "training_batch", then_remove)
    with pytest.raises(UserError, match="was removed or renamed while this run was at work"):
        finetune.run(config, tmp_path)


def test_other_data_than_the_digits_have_to_be_there(config, tmp_path):
    config.data.name = "kinetics400"
    with pytest.raises(UserError, match=r"config.data.path is empty; moving_digits needs videos"):
        finetune.run(config, tmp_path)
