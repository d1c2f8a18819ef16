import pathlib

import pytest

from jax_vtm.checkpoints import load_checkpoint
from jax_vtm.commands import finetune
from jax_vtm.config import load_config
from jax_vtm.errors import UserError
from jax_vtm.merging import no_reduction
from jax_vtm.running import build, exit_codes


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


def test_there_is_training_data_for_the_digits_only(config, tmp_path):
    config.data.name = "kinetics400"
    with pytest.raises(UserError, match="training data exists for moving_digits only"):
        finetune.run(config, tmp_path)
