import pathlib
import shutil

import pytest

from jax_vtm import errors as exit_codes
from jax_vtm.checkpoints import load_checkpoint
from jax_vtm.commands import finetune
from jax_vtm.config import load_config
from jax_vtm.data import moving_digits
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.lock import held
from jax_vtm.merging import no_reduction


@pytest.fixture
def config():
    config = load_config(pathlib.Path(__file__).parents[2] / "configs" / "moving_digits.py")
    config.compilation_cache = ""
    config.model.hidden_size = 16
    config.model.num_layers = 1
    config.model.mlp_dim = 16
    config.train.update({"steps": 2, "batch_size": 8, "warmup_steps": 1, "checkpoint_every": 1, "log_every": 1})
    return config


def test_training_ends_in_a_checkpoint_that_evaluate_reads(config, tmp_path, capsys):
    assert finetune.run(config, tmp_path) == exit_codes.SUCCESS
    printed = capsys.readouterr()
    assert f"wrote {tmp_path / 'checkpoint'}" in printed.out
    assert "noun/accuracy" in printed.err
    load_checkpoint(tmp_path / "checkpoint", build.model(config, no_reduction()))
    finetune.run(config, tmp_path)
    assert "continuing after step 2 of 2" in capsys.readouterr().err


@pytest.fixture
def trained(config, tmp_path):
    """The workdir of a run of two steps, whose states are there."""
    assert finetune.run(config, tmp_path) == exit_codes.SUCCESS
    return tmp_path


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped", "swapped", "no map", "renamed"])
def test_a_damaged_state_is_passed_over_for_the_one_before(config, trained, capsys, damage):
    whole = (trained / "checkpoint").read_bytes()
    newest, older = (trained / "states" / f"checkpoint_{step}" for step in (2, 1))
    flipped = bytearray(newest.read_bytes())
    flipped[len(flipped) // 2] ^= 4
    damaged = {
        "flipped": flipped,
        "cut": newest.read_bytes()[:20_000],
        "emptied": b"",
        "swapped": older.read_bytes(),
        "no map": b"\x07",
        "renamed": newest.read_bytes().replace(b"float32", b"float33", 1),
    }
    newest.write_bytes(damaged[damage])
    capsys.readouterr()
    assert finetune.run(config, trained) == exit_codes.SUCCESS
    said = capsys.readouterr().err
    assert f"warning: {newest}: this training state is" in said
    assert "going on from checkpoint_1." in said
    assert "continuing after step 1 of 2" in said
    assert (trained / "checkpoint").read_bytes() == whole


def test_without_an_intact_state_the_folder_and_a_remedy_are_named(config, trained):
    for path in (trained / "states").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"(?s)states: no training state there.*checkpoint_1: .*damaged.*Remove the fo"):
        finetune.run(config, trained)


def test_leftovers_of_a_kill_go_and_a_second_run_is_kept_out(config, tmp_path):
    left = [
        tmp_path / "states" / ".checkpoint_2.0123456789abcdef0123456789abcdef.tmp",
        tmp_path / ".checkpoint.partial",
    ]
    (tmp_path / "states").mkdir()
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
