import pathlib

import numpy as np
import pytest
from safetensors.numpy import save_file

from jax_vtm.checkpoints import checkpoint_digest, load_checkpoint
from jax_vtm.commands import build, cli, convert
from jax_vtm.errors import UserError
from jax_vtm.merging import no_reduction

DIGITS = pathlib.Path(__file__).parents[2] / "configs" / "moving_digits.py"


def leaves(tree, prefix=""):
    for name, child in tree.items():
        yield from leaves(child, f"{prefix}{name}/") if isinstance(child, dict) else [(prefix + name, child)]


def test_a_checkpoint_of_another_kind_becomes_one_that_evaluate_reads(tmp_path, capsys):
    config = cli.load_config(DIGITS)
    model = build.model(config, no_reduction())
    original = dict(leaves(load_checkpoint(config.checkpoint, model)["params"]))
    save_file({name: np.ascontiguousarray(value) for name, value in original.items()}, tmp_path / "x.safetensors")
    config.checkpoint = str(tmp_path / "x.safetensors")

    assert convert.run(config, tmp_path / "out") == cli.SUCCESS
    written = tmp_path / "out" / "checkpoint"
    assert checkpoint_digest(written) in capsys.readouterr().out
    converted = dict(leaves(load_checkpoint(written, model)["params"]))
    assert set(converted) == set(original)
    for name, value in original.items():
        np.testing.assert_array_equal(converted[name], value)


def test_without_a_checkpoint_there_is_nothing_to_convert(tmp_path):
    config = cli.load_config(DIGITS)
    config.checkpoint = ""
    with pytest.raises(UserError, match=r"config\.checkpoint is empty"):
        convert.run(config, tmp_path)
