"""configs/paper_grid.py beside the 534 commands that the reference ships, as recorded from its experiments.sh."""

import collections
import csv
import pathlib
import re

import pytest

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.config import load_config
from jax_vtm.evaluation import build
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.sweep.grid import read_experiments

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "paper_grid.py"
DATASETS = {"kinetics": "k400", "ssv2": "ssv2", "epickitchens": "epic"}
# Models whose own default the reference leaves untouched unless a command says otherwise.
PROPORTIONAL = {"": True, "False": False}


def recorded(golden):
    with (golden / "experiments" / "reference_runs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def options(row) -> dict[str, str]:
    return dict(word.split("=", 1) for word in row["other"].split())


def experiment_of(row) -> str:
    frames = options(row).get("DATA.NUM_FRAMES")
    return f"{row['model']}_{DATASETS[row['dataset']]}" + (f"_{frames}_frames" if frames else "")


def asked_for(row) -> tuple:
    """What a command sets: mode, r, schedule, heads, threshold, repeated layer."""
    if not row["r_value"]:
        return ("none",)
    given, r, repeat = options(row), int(row["r_value"]), None
    amount = r
    if "TOME.LAYER_TO_DUPLICATE" in given:
        layer, times = int(given["TOME.LAYER_TO_DUPLICATE"]), int(given["TOME.LAYER_QUANTITY"])
        # As its notebook and its benchmark fill the list: 23 entries, one for each step of the twelve layers.
        repeat, amount = (layer, times), (0,) * layer + (r,) * times + (0,) * (11 - layer)
    return (
        row["mode"] or "merge",
        amount,
        float(row["schedule"] or 0),
        PROPORTIONAL[row["prop_attn"]],
        row["head_aggregation"] or "mean",
        float(row["threshold"] or 0),
        repeat,
    )


def listed(reduction: Reduction) -> tuple:
    if reduction.mode == "none":
        return ("none",)
    amount = reduction.r
    if reduction.repeat_layer is not None:
        assert isinstance(amount, tuple)
        amount = amount + (0,) * (23 - len(amount))
    return (
        reduction.mode,
        amount,
        float(reduction.inflection),
        reduction.proportional_attention,
        reduction.head_aggregation,
        reduction.threshold,
        reduction.repeat_layer,
    )


@pytest.fixture(scope="module")
def experiments():
    return read_experiments(load_config(CONFIG))


def test_every_command_is_in_its_experiment_and_nothing_else(golden, experiments):
    rows = recorded(golden)
    assert len(rows) == 534
    ours = collections.Counter(
        (one.name, run.purpose, listed(run.reduction)) for one in experiments for run in one.runs
    )
    assert ours == collections.Counter((experiment_of(row), row["section"], asked_for(row)) for row in rows)
    assert sum(ours.values()) == 534
    assert len(experiments) == 14
    # Random dropping, which a method has to beat, is there wherever more than curves of merging are.
    without = [one.name for one in experiments if all(run.reduction.mode != "random_drop" for run in one.runs)]
    assert sorted(without) == ["videomae_k400_32_frames", "vivit_k400_16_frames"]


def test_what_the_reference_cannot_run_as_shipped_is_marked(golden, experiments):
    ours = collections.Counter(
        one.name for one in experiments for run in one.runs if run.remark.startswith("not run as shipped")
    )
    # Five of its config files do not load, and a list of r together with a schedule is refused.
    theirs = collections.Counter(
        experiment_of(row)
        for row in recorded(golden)
        if row["dataset"] == "ssv2"
        or (row["model"], row["dataset"]) == ("vivit", "epickitchens")
        or "LAYER_TO_DUPLICATE" in row["other"]
    )
    assert ours == theirs
    assert ours.total() == 133


@pytest.mark.parametrize(
    ("name", "frames", "tokens"), [("vivit_k400_16_frames", 16, 1569), ("videomae_k400_32_frames", 32, 3136)]
)
def test_the_swapped_frame_counts_are_experiments_of_their_own(experiments, name, frames, tokens):
    config = next(one.config for one in experiments if one.name == name)
    model = build.model(config, no_reduction())
    assert (model.input_shape[0], model.tokens_per_layer[0]) == (frames, tokens)
    assert build.protocol(config, model).num_frames == frames


def test_every_experiment_is_tested_as_the_paper_tests_it(experiments):
    assert {one.config.data.protocol for one in experiments} == {"paper"}
    for one in experiments:
        model = build.model(one.config, no_reduction())
        assert build.protocol(one.config, model).num_views == 1


def test_the_listing_has_every_run_with_the_macs_of_its_shapes(capsys):
    assert cli.run(["main.py", "sweep", f"--config={CONFIG}", "--dry_run"], CONFIG) == exit_codes.SUCCESS
    text = capsys.readouterr().out
    rows = [match for line in text.splitlines() if (match := re.match(r"(\d+) {2,3}\S.*", line))]
    numbers = [int(row[1]) for row in rows]
    assert numbers == list(range(1, 535))
    assert "534 runs listed" in text
    assert "127 of those listed: not run as shipped: the reference's config file does not load." in text
    # The recorded counts of ViViT and VideoMAE, and the paper's r.
    lines = "\n".join(row[0] for row in rows)
    assert re.search(r"merge r=300 +3137 2837 2537 … +179 +0\.40 +Roughly optimal", lines)
    assert re.search(r"merge r=300, decreasing .* 109 +0\.24 +Decreasing", lines)
    assert re.search(r"1568 1418 1268 … .*\n +(\S+ )*55 → 28\b", text)


def test_one_experiment_takes_paths_from_flags_and_the_rest_from_its_config_file():
    words = ["--config.sweep.experiment=videomae_epic", "--config.data.path=/videos", "--config.data.batch_size=4"]
    _, config, _ = cli.parse(["main.py", "sweep", f"--config={CONFIG}", "--config.checkpoint=file", *words], CONFIG)
    (one,) = read_experiments(config)
    own = load_config(CONFIG.with_name("videomae_b_epic.py"))
    assert (one.config.checkpoint, one.config.data.path, one.config.data.batch_size) == ("file", "/videos", 4)
    assert one.config.model.to_dict() == own.model.to_dict()
    assert one.config.data.name == own.data.name == "epic_kitchens_100"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--config.sweep.experiment=vivit_ucf"],
            "config.sweep.experiment is 'vivit_ucf'; its experiments are motionformer_epic, ",
        ),
        ([], "no checkpoint is given for motionformer_epic, .*Choose one with --config.sweep.experiment=NAME"),
    ],
)
def test_an_experiment_has_to_be_chosen(words, message, capsys, tmp_path):
    arguments = ["main.py", "sweep", f"--config={CONFIG}", f"--workdir={tmp_path}", *words]
    assert cli.run(arguments, CONFIG) == exit_codes.MISTAKE
    assert re.search(message, capsys.readouterr().err)
