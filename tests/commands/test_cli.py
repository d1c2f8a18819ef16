import os
import pathlib
import re
import subprocess
import sys

import pytest

from jax_vtm import cli
from jax_vtm.config import load_config
from jax_vtm.errors import UserError
from jax_vtm.running import exit_codes

ROOT = pathlib.Path(__file__).parents[2]
DEFAULT = ROOT / "configs" / "moving_digits.py"
# All but the one that has no model of its own.
CONFIGS = sorted(set((ROOT / "configs").glob("*.py")) - {ROOT / "configs" / "paper_grid.py"})


def parse(*words: str):
    return cli.parse(["main.py", *words], DEFAULT)


def test_without_arguments_the_embedded_default_is_evaluated():
    command, config, workdir = parse()
    assert (command, config.name, workdir) == ("evaluate", "moving_digits", pathlib.Path("runs/moving_digits"))


def test_flags_may_stand_anywhere_and_override_the_config():
    command, config, workdir = parse(
        "finetune", "--config.train.steps=7", f"--config={DEFAULT}", "--workdir=here", "--config.reduction.mode=drop"
    )
    assert (command, config.train.steps, config.reduction.mode, workdir) == (
        "finetune",
        7,
        "drop",
        pathlib.Path("here"),
    )
    _, config, _ = parse("--config.reduction.r_per_layer=(200, 100)")
    assert config.reduction.r_per_layer == (200, 100)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config.reduction.mod=drop"], r"no key 'reduction.mod'. Did you mean --config.reduction.mode\?"),
        (["--config.batch_size=4"], r"no key 'batch_size'. Did you mean --config.(data|train).batch_size\?"),
        (["--config.zzz=1"], r"no key 'zzz'. Its keys are .*reduction.mode"),
        (["--confg=x"], r"'confg'"),
        (["evalute"], r"no command 'evalute'. Did you mean 'evaluate'\?"),
        (["evaluate", "finetune"], r"expected one command, found evaluate finetune"),
        (["--config.reduction.r=many"], r"reduction.r.*many"),
        (["--config=configs/none.py"], r"configs/none.py: there is no such config file"),
    ],
)
def test_mistakes_are_explained_and_exit_with_two(words, message, capsys):
    with pytest.raises(UserError, match=message):
        parse(*words)
    assert cli.run(["main.py", *words], DEFAULT) == exit_codes.MISTAKE
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.out == ""


def test_help_names_commands_flags_keys_and_exit_codes(capsys):
    assert cli.run(["main.py", "--help", "--config.reduction.r=99"], DEFAULT) == 0
    text = capsys.readouterr().out
    for word in ("evaluate", "finetune", "--workdir", "reduction.r = 99", "results.json", "exit codes"):
        assert word in text


def test_a_reader_that_has_seen_enough_is_no_reason_for_a_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "main.py", "--help"]
    done = subprocess.run(words, cwd=DEFAULT.parents[1], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (exit_codes.FAILURE, b"")


def test_a_config_that_is_no_python_is_named(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def get_config(:")
    with pytest.raises(UserError, match=r"broken.py: the config cannot be read: SyntaxError"):
        parse(f"--config={path}")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds_its_model_and_begins_with_its_command(path):
    from jax_vtm.running import build

    config = load_config(path)
    assert config.name == path.stem
    assert "python main.py" in path.read_text().split('"""')[1]
    model = build.model(config, build.reduction(config))
    assert model.tokens_per_layer[-1] < model.tokens_per_layer[0]
    assert build.protocol(config, model).crop == model.input_shape[1]
    assert config.checkpoint or config.checkpoint_help


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config.model.attention=cudnn"], "attention is 'cudnn', which needs an NVIDIA GPU.*Use 'auto'"),
        (["--config.model.attention=flash"], "attention is 'flash'; known are auto, xla, chunked, cudnn, tpu_flash"),
        (["--config.model.matching=pallas"], "matching is 'pallas', which needs a GPU or a TPU"),
        (["--config.model.merging=fast"], "merging is 'fast'; known are auto, scatter"),
        (["--config.model.dtype=half"], "dtype is 'half'; known are float32, bfloat16"),
    ],
)
def test_what_cannot_be_computed_here_is_refused_before_anything_is_read(words, message, tmp_path, capsys):
    words = [*words, f"--workdir={tmp_path / 'out'}", "--config.compilation_cache="]
    assert cli.run(["main.py", *words], DEFAULT) == exit_codes.MISTAKE
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out" / "videos").exists()
