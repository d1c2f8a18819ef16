import pathlib
import re

import pytest

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.benchmarks.experiments import read_experiments
from jax_vtm.config import default_config, load_config
from jax_vtm.config.grid import axes_of_words
from jax_vtm.errors import UserError
from jax_vtm.models import create_model
from jax_vtm.reports import formatting

ROOT = pathlib.Path(__file__).parents[2]
DEFAULT = ROOT / "configs" / "moving_digits.py"


def experiments(*grids, axes=""):
    config = default_config("some")
    config.model.name = "vivit_moving_digits"
    config.reduction.r = 50
    config.benchmark.grids = grids
    config.benchmark.axes = axes
    return read_experiments(config)


def names(*grids, axes=""):
    return [one.name for one in experiments(*grids, axes=axes)]


def test_axes_multiply_and_names_say_what_differs():
    assert names() == ["merge r=50"]
    assert names({"reduction.r": (0, 20), "batch": (1, 4)}) == [
        *("batch 1 · unmerged", "batch 4 · unmerged"),
        *("batch 1 · merge r=20", "batch 4 · merge r=20"),
    ]
    assert names({"model.attention": ("xla", "chunked"), "reduction.mode": ("merge", "drop")}) == [
        *("attention xla · merge r=50", "attention xla · drop r=50"),
        *("attention chunked · merge r=50", "attention chunked · drop r=50"),
    ]
    assert names({"model.num_frames": range(4, 9, 4), "reduction.r": 9}, axes="model.dtype=bfloat16") == [
        "num_frames 4 · merge r=9",
        "num_frames 8 · merge r=9",
    ]


def test_what_comes_to_the_same_is_measured_once():
    assert names({"reduction.r": 0, "reduction.inflection": (0.0, 1.0), "truncated": (True, False)}) == ["unmerged"]
    assert names({"reduction.r": 5}, {"reduction.r": (5, 6)}) == ["merge r=5", "merge r=6"]
    # Ways of our own make no difference to others.
    listed = experiments({"implementation": ("jax_vtm", "pytorch_sdpa"), "model.attention": ("xla", "chunked")})
    assert [one.name for one in listed] == [
        "attention xla · jax_vtm · merge r=50",
        "attention chunked · jax_vtm · merge r=50",
        "pytorch_sdpa · merge r=50",
    ]
    assert len({one.task for one in listed}) == 1
    assert len({one.group for one in listed}) == 3


def test_a_baseline_is_what_is_otherwise_the_same():
    listed = experiments({"reduction.r": (0, 5), "batch": (1, 2)}, {"reduction.r": 5, "batch": 2, "truncated": True})
    baselines = {one.group for one in listed if one.is_baseline}
    assert len(baselines) == 2
    assert {one.group for one in listed} == baselines
    assert [one.name for one in listed if one.truncated] == ["batch 2 · merge r=5, truncated"]


def test_axes_in_words():
    assert axes_of_words("reduction.r=0,100 model.attention=xla,chunked batch=8", "") == {
        "reduction.r": (0, 100),
        "model.attention": ("xla", "chunked"),
        "batch": (8,),
    }
    assert axes_of_words("model.patch_size=(2, 8, 8),(1,8,8)  truncated=True", "") == {
        "model.patch_size": ((2, 8, 8), (1, 8, 8)),
        "truncated": (True,),
    }
    assert axes_of_words("", "") == {}
    (one,) = experiments({"model.patch_size": ((4, 16, 16),)}, axes="reduction.r=(5,4,3)")
    assert one.model.patch_size == (4, 16, 16)
    assert one.reduction.r == (5, 4, 3)


@pytest.mark.parametrize(
    ("grid", "axes", "message"),
    [
        ({"reduction.R": 1}, "", r"an unknown axis 'reduction.R'. Did you mean 'reduction.r'\?"),
        ({"batchsize": 1}, "", r"an unknown axis 'batchsize'. Did you mean 'batch'\? Axes are batch, impl"),
        ({"data.stride": 1}, "", "an unknown axis 'data.stride'"),
        ({"model.hidden": 1}, "", r"has no field 'hidden'. Did you mean 'hidden_size'\?"),
        ({"model.attention": "flash"}, "", "model.attention is 'flash'; known are auto, xla, chunked"),
        ({"model.merging": "sum"}, "", "model.merging is 'sum'; known are auto, scatter"),
        ({"model.dtype": "float8"}, "", "model.dtype is 'float8'; known are float32, bfloat16"),
        ({"model.name": "vivit"}, "", "model 'vivit' is not known"),
        ({"reduction.mode": "prune"}, "", "reduction.mode is 'prune'; known are none, merge"),
        ({"reduction.r": ()}, "", "the axis reduction.r has no values"),
        ({"sliced": True}, "", "the axis sliced of config.benchmark is now truncated"),
        ({"batch": 0}, "", "config.benchmark.batch holds 0; expected a whole number of clips, at least 1"),
        ({"truncated": 1}, "", "truncated holds 1; expected True or False"),
        (
            {"implementation": "torch"},
            "",
            "implementation holds 'torch'; expected one of jax_vtm, pytorch_eager",
        ),
        (
            {"implementation": "pytorch_sdpa", "truncated": True},
            "",
            "truncated goes with implementation jax_vtm, found",
        ),
        ({}, "batch", "config.benchmark.axes holds 'batch'; expected axis=value,value"),
        ({}, "batch=", "config.benchmark.axes holds 'batch='; expected axis=value,value"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(grid, axes, message):
    with pytest.raises(UserError, match=message):
        experiments(grid, axes=axes)


def test_a_scenic_configs_model_has_no_axes():
    config = default_config("some")
    config.model = {"name": "vivit", "dtype": "float32", "scenic": {}}
    config.benchmark.axes = "batch=2 model.dtype=bfloat16"
    with pytest.raises(UserError, match=r"an axis 'model\.dtype', but Scenic's own config describes the model"):
        read_experiments(config)


def test_the_command_has_a_config_of_its_own_unless_one_is_given():
    _, config, workdir = cli.parse(["main.py", "benchmark", "--dry_run"], DEFAULT)
    assert (config.name, config.benchmark.dry_run) == ("benchmark", True)
    assert str(workdir).startswith("runs/benchmark-")
    _, config, _ = cli.parse(["main.py", "benchmark", f"--config={DEFAULT}"], DEFAULT)
    assert config.name == "moving_digits"
    assert not config.benchmark.dry_run
    _, config, _ = cli.parse(["main.py", "sweep", "--dry_run"], DEFAULT)
    assert config.name == "moving_digits"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("benchmark*.py")), ids=lambda path: path.stem)
def test_shipped_benchmarks_have_baselines_for_all(path, capsys):
    listed = read_experiments(load_config(path))
    baselines = {one.group for one in listed if one.is_baseline}
    assert {one.group for one in listed} == baselines
    assert any(not one.is_baseline for one in listed)
    assert len({one.name for one in listed}) == len(listed)
    assert cli.run(["main.py", "benchmark", f"--config={path}", "--dry_run"], path) == exit_codes.SUCCESS
    printed = capsys.readouterr().out
    assert printed.endswith(f"{len(listed)} experiments. Of one clip, matrix products only; 1 MAC is 2 FLOP.\n")
    assert max(map(len, printed.splitlines())) <= 80
    if path.stem == "benchmark_cpu":
        assert re.search(r"unmerged +452 +903 +1\.00 .*\n.*merge r=300 +179 +358 +2\.52 ", printed)


def test_the_table_of_what_arithmetic_allows_is_what_the_command_says():
    listed = [
        one
        for name in ("gpu", "growth")
        for one in read_experiments(load_config(ROOT / f"configs/benchmark_{name}.py"))
    ]
    expected = {}
    for one in listed:
        if one.is_baseline or one.truncated:
            continue
        model = one.model
        unmerged = next(other for other in listed if other.is_baseline and other.group == one.group).model
        expected[one.fields["name"], model.num_frames, f"r={one.reduction.r}"] = [
            str(unmerged.tokens_per_layer[0]),
            formatting.number(unmerged.macs.total / 1e9),
            formatting.number(2 * unmerged.macs.total / 1e9),
            str(model.tokens_per_layer[-1]),
            formatting.number(model.macs.total / 1e9),
            f"{unmerged.macs.total / model.macs.total:.2f}",
        ]
    text = (ROOT / "docs" / "benchmarks.md").read_text().split("## What arithmetic allows")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)`(?:, (\d+) frames)? \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) == 7
    for name, frames, cells in rows:
        tokens, macs, flop, merged, left, merged_macs, ratio = cells.split(" | ")
        key = (name, int(frames or create_model(name).num_frames), merged)
        assert [tokens, macs, flop, left, merged_macs, ratio] == expected[key]
