import pathlib

import pytest

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.config import default_config
from jax_vtm.errors import UserError
from jax_vtm.evaluation.run_names import run_name
from jax_vtm.sweep.grid import read_experiments

ROOT = pathlib.Path(__file__).parents[2]
DEFAULT = ROOT / "configs" / "moving_digits.py"


def names(base=None, **lists):
    """The different runs of a sweep with these lists, by name."""
    config = default_config("some")
    config.model.name = "vivit_moving_digits"
    config.reduction.r = 50
    config.reduction.update(base or {})
    config.sweep.update(lists)
    (one,) = read_experiments(config)
    return [run_name(reduction) for reduction in one.reductions]


def test_lists_multiply_and_what_has_none_is_the_configs():
    assert names() == ["merge r=50"]
    assert names(r=(10, 20), inflection=(-1, 0, 0.5), mode=("drop",)) == [
        f"drop r={r}{slope}" for r in (10, 20) for slope in (", decreasing", "", ", inflection 0.5")
    ]
    assert names(head_aggregation=("mean", "concat"), proportional_attention=(True, False, None)) == [
        f"merge r=50{heads}{sizes}" for heads in ("", ", concat heads") for sizes in ("", ", no proportional attention")
    ]
    assert names(layout=("reference", "fixed"), repeat_layer=((1, 3), None)) == [
        "merge r=50, layer 1 3 times",
        "merge r=50",
        "merge r=50, fixed layout, layer 1 3 times",
        "merge r=50, fixed layout",
    ]


def test_lists_of_r_stand_beside_numbers_and_have_no_schedule():
    assert names(r=((3, 3, 2),), inflection=(-1, 1)) == ["merge r=[3 x 2, 2]"]
    assert names(r=(7, (3, 3, 2)), inflection=(-1, 1)) == [
        "merge r=7, decreasing",
        "merge r=7, increasing",
        "merge r=[3 x 2, 2]",
    ]
    # A single pair needs no list around it.
    assert names(r=((3, 3, 2),), repeat_layer=(0, 2)) == ["merge r=[3 x 2, 2], layer 0 2 times"]


def test_lists_of_modes_stand_beside_modes():
    assert names(mode=(("drop", "drop", "merge"), "merge")) == ["drop x 2 then merge r=50", "merge r=50"]
    assert names(mode=("(drop,merge),random_drop",)) == ["drop then merge r=50", "random_drop r=50"]
    assert names(runs=({"mode": ("drop", "merge"), "r": 3},)) == ["drop r=3", "merge r=3"]


def test_single_runs_come_first_and_stand_alone_without_lists():
    runs = ({"r": 3}, {"r": (4, 5), "mode": "drop", "purpose": "why"})
    assert names(runs=runs) == ["merge r=3", "drop r=4", "drop r=5"]
    assert names(runs=runs, r=(9, 3)) == ["merge r=3", "drop r=4", "drop r=5", "merge r=9"]


def test_a_base_reduction_needs_to_hold_only_with_the_modes_of_the_runs():
    shift = {"importance": "shift"}
    assert names(shift, mode=("drop",)) == ["drop r=50, by shift"]
    assert names({"r": (9, 8)}, mode=("merge", "drop"), inflection=(-1.0, 0.0)) == ["merge r=[9, 8]", "drop r=[9, 8]"]
    with pytest.raises(UserError, match="chooses tokens in the modes drop and hybrid, but"):
        names(shift, mode=("drop", "merge"))


def test_runs_that_do_the_same_are_one():
    assert names(threshold=(0.1, 0.2), mode=("merge", "hybrid")) == [
        "merge r=50",
        "hybrid r=50, threshold 0.1",
        "hybrid r=50, threshold 0.2",
    ]
    assert names(proportional_attention=(True, False), mode=("drop", "random_drop")) == [
        "drop r=50",
        "random_drop r=50",
    ]
    assert names(head_aggregation=("mean", "concat"), mode=("random_merge",)) == ["random_merge r=50"]
    assert names(r=(0, 20), mode=("none", "merge")) == ["merge r=20"]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"r": (1.5,)}, "config.sweep.r holds 1.5; expected a whole number of tokens"),
        ({"r": (-1,)}, "r is -1; expected 0"),
        (
            {"r": ((200, 1.5),)},
            r"config.sweep.r holds \(200, 1.5\); expected a whole number of tokens, or one per layer",
        ),
        ({"runs": ({"r_per_layer": (5, 4)},)}, "has an unknown axis 'r_per_layer'. It is now r, in a list"),
        ({"mode": ("mrege",)}, "reduction.mode is 'mrege'; known are none, merge"),
        ({"inflection": (2,)}, "inflection is 2"),
        ({"proportional_attention": ("yes",)}, "proportional_attention holds 'yes'; expected True, False or None"),
        ({"repeat_layer": (0, 12, 1)}, r"config.sweep.repeat_layer holds 0; expected \(layer, times\) or None"),
        ({"runs": ({"series": 3, "r": 5},)}, "config.sweep.runs: series is 3; expected a text"),
        (
            {"runs": ({"rr": 5},)},
            r"has an unknown axis 'rr'\. Did you mean 'r'\? Axes are mode, r, inflection, ",
        ),
        ({"experiment": "a"}, "config.sweep.experiment is 'a'; it has no experiments"),
        ({"experiments": {"a": {"config": str(DEFAULT)}}}, "but config.model.name is 'vivit_moving_digits' as well"),
    ],
)
def test_mistakes_are_named(lists, message):
    with pytest.raises(UserError, match=message):
        names(**lists)


def test_experiments_are_config_files_with_changes_and_their_own_runs():
    config = default_config("two")
    config.seed = 7
    config.sweep.r = (6,)
    config.sweep.experiments = {
        "small": {"config": str(DEFAULT), "changes": {"model": {"num_frames": 8}}, "runs": ({"r": 5},)},
        "whole": {"config": str(DEFAULT)},
    }
    small, whole = read_experiments(config)
    assert (small.name, small.config.model.num_frames, small.config.seed) == ("small", 8, 7)
    assert (whole.config.name, whole.config.seed, whole.config.checkpoint) == (
        "moving_digits",
        7,
        "embedded:moving_digits",
    )
    assert [run_name(one) for one in small.reductions] == ["merge r=5", "merge r=6"]
    assert [run_name(one) for one in whole.reductions] == ["merge r=6"]
    config.sweep.experiments = {"none": {}}
    with pytest.raises(UserError, match=r"config.sweep.experiments.none has no 'config'"):
        read_experiments(config)


def test_flags_take_words_with_commas_and_dry_run():
    words = ["--config.sweep.mode=merge,drop", "--config.sweep.r=10,20", "--dry_run"]
    _, config, _ = cli.parse(["main.py", "sweep", *words, "--config.sweep.inflection=0"], DEFAULT)
    assert config.sweep.dry_run
    (one,) = read_experiments(config)
    assert [run_name(reduction) for reduction in one.reductions] == [
        "merge r=10",
        "merge r=20",
        "drop r=10",
        "drop r=20",
    ]
    with pytest.raises(UserError, match="--dry_run is of the commands sweep and benchmark; evaluate has no such flag"):
        cli.parse(["main.py", "--dry_run"], DEFAULT)


def test_a_dry_run_needs_neither_checkpoint_nor_videos(tmp_path, capsys):
    words = ["--config.checkpoint=nowhere", "--config.data.path=nowhere", "--dry_run", f"--workdir={tmp_path / 'out'}"]
    words += ["--config.sweep.r=138", "--config.sweep.mode=merge,merge", "--config.sweep.inflection=0"]
    assert cli.run(["main.py", "sweep", *words], DEFAULT) == exit_codes.SUCCESS
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "moving_digits: vivit_moving_digits on moving_digits, 16 frames, 513 tokens, 0.248 GMACs"
    )
    rows = [line.split() for line in lines if line.startswith(("1  ", "2  "))]
    assert rows == [
        ["1", "merge", "r=138", "513", "375", "237", "119", "→", "60", "0.123", "0.50"],
        ["2", "merge", "r=138", "513", "375", "237", "119", "→", "60", "0.123", "0.50", "as", "1"],
    ]
    assert "2 runs listed, 1 of them different." in lines
    assert not (tmp_path / "out").exists()
