"""The configs of the paper's four models on its three data sets, as they are read from disk."""

import pathlib
import re

import numpy as np
import pytest
from ml_collections import ConfigDict

from jax_vtm import cli
from jax_vtm.benchmarks.inputs import random_params
from jax_vtm.checkpoints import save_checkpoint
from jax_vtm.config import load_config
from jax_vtm.data.protocols import PROTOCOLS
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.merging import no_reduction
from jax_vtm.models.releases import class_list, classes_within, where_released
from jax_vtm.studies.layers import read_layers
from jax_vtm.studies.splicing import DONOR_KINDS
from jax_vtm.sweep.grid import read_experiments

ROOT = pathlib.Path(__file__).parents[2]
VIVIT = (3137, 2837, 2537, 2237, 1937, 1637, 1337, 1037, 737, 437, 219, 110, 56)
VIDEOMAE = (1568, 1418, 1268, 1118, 968, 818, 668, 518, 368, 218, 109, 55, 28)
PER_FRAME = (196, 178, 160, 142, 124, 106, 88, 70, 52, 34, 17, 9, 5)
# The class token, and eight frames or groups.
FRAMES_AND_CLASS = tuple(1 + 8 * tokens for tokens in PER_FRAME)

MODELS = {
    "vivit_b_16x2": ("vivit", 300, VIVIT, 32),
    "timesformer_b": ("timesformer", 18, FRAMES_AND_CLASS, 8),
    "motionformer_b": ("motionformer", 18, FRAMES_AND_CLASS, 16),
    "videomae_b": ("videomae", 150, VIDEOMAE, 16),
}
DATASETS = {
    "k400": ("kinetics400", (("", 400),)),
    "ssv2": ("ssv2", (("", 174),)),
    "epic": ("epic_kitchens_100", (("noun", 300), ("verb", 97))),
}


def load(name):
    return load_config(ROOT / "configs" / f"{name}.py")


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("model", MODELS)
def test_a_model_of_the_paper_on_a_data_set_of_the_paper(model, dataset):
    config = load(f"{model}_{dataset}")
    family, r, tokens, frames = MODELS[model]
    data_name, heads = DATASETS[dataset]
    assert config.data.name == data_name

    merged = build.model(config, build.reduction(config))
    assert merged.heads == heads
    assert merged.input_shape == (frames, 224, 224, 3)
    assert config.reduction.r == r
    assert merged.reduction.proportional_attention == (family != "videomae")
    assert merged.tokens_per_layer == tokens
    assert set(build.model(config, no_reduction()).tokens_per_layer) == {tokens[0]}

    existing = [name for name, families in PROTOCOLS.items() if data_name in families.get(family, {})]
    assert "paper" in existing
    assert config.data.protocol in existing
    for name in existing:
        config.data.protocol = name
        protocol = build.protocol(config, merged)
        assert (protocol.num_frames, protocol.crop) == (frames, 224)
        assert (protocol.num_views == 1) == (name == "paper")
    if "standard" not in existing:
        config.data.protocol = "standard"
        with pytest.raises(UserError, match=f"no protocol 'standard' for {family} on '{data_name}'"):
            build.protocol(config, merged)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda path: path.stem)
def test_docstrings_say_what_to_expect_and_where_it_is_from(path):
    config, doc = load_config(path), " ".join(path.read_text().split('"""')[1].split())
    assert f"--config=configs/{config.name}.py" in doc
    # Others than these have a published accuracy.
    if config.data.name in ("", "moving_digits"):
        return
    assert "not measured here" in doc or "No published accuracy is quoted here" in doc
    assert "Checkpoint: " in doc
    where = where_released(config.model.name, config.data.name)
    if config.data.protocol == "paper":
        assert where.startswith("No released checkpoint of")
    else:
        assert where.split(" as ")[1].split(";")[0].removesuffix(".") in doc


def test_the_study_of_layers_goes_through_all_layers_of_whatever_model():
    config = load("layer_duplication")
    alone = read_layers(config)
    assert [(one.layer, one.times) for one in alone] == [(layer, times) for times in (4, 8) for layer in range(4)]
    last = [*alone.values()][-1]
    assert build.model(config, last).tokens_per_layer[:4] == (513, 513, 513, 513)

    # As the paper's commands have it: twelve times r = 300 in the first or the last of twelve layers.
    config = load("vivit_b_16x2_k400")
    config.study.times, config.study.layers = (12,), (0, 11)
    theirs = next(one for one in read_experiments(load("paper_grid")) if one.name == "vivit_k400").runs
    assert {*read_layers(config).values()} == {run.effective for run in theirs if run.reduction.repeat_layer}
    config.study.layers = ()
    assert len(read_layers(config)) == 12


@pytest.mark.parametrize("name", ["moving_digits", "equal_cost"])
def test_sweeps_that_ship_have_random_dropping_at_several_r(name):
    (experiment,) = read_experiments(load(name))
    assert len({one.r for one in experiment.reductions if one.mode == "random_drop"}) >= 3


def test_equal_cost_has_runs_around_half_of_the_macs_and_less_where_patches_go_first():
    (experiment,) = read_experiments(load("equal_cost"))
    config = experiment.config
    assert len(experiment.reductions) == len(experiment.runs)
    assert f"evaluates {len(experiment.runs)} reductions" in (ROOT / "configs" / "equal_cost.py").read_text()
    whole = build.model(config, no_reduction()).macs.total
    plain = [run for run in experiment.runs if not run.series.startswith("searched")]
    shares = {run.effective: build.model(config, run.effective).macs.total / whole for run in plain}
    assert min(share for one, share in shares.items() if one.input is None) > 0.35
    assert min(share for one, share in shares.items() if one.input is not None) < 0.14
    for mode in ("merge", "random_drop"):
        of_mode = [share for one, share in shares.items() if one.input is None and one.mode == mode]
        assert min(of_mode) < 0.4 < 0.5 < max(of_mode)


@pytest.mark.parametrize(
    ("name", "series"),
    [("SEARCHED", "searched"), ("SEARCHED_WITH_INPUT", "searched, input by run length")],
)
def test_equal_cost_has_searched_schedules_of_the_budgets_it_names_on_clips_not_searched_on(name, series):
    (experiment,) = read_experiments(load("equal_cost"))
    text = (ROOT / "configs" / "equal_cost.py").read_text()
    (budgets,) = re.findall(rf"calibrate.budget=([\d.,]+).*\n{name} = ", text)
    config = experiment.config
    assert config.data.leave_out == config.calibrate.clips
    whole = build.model(config, no_reduction()).macs.total
    runs = [run for run in experiment.runs if run.series == series]
    for run, budget in zip(runs, map(float, budgets.split(",")), strict=True):
        assert 0.95 * budget < build.model(config, run.effective).macs.total / whole <= budget
        assert (run.reduction.input is not None) == (series != "searched")


def test_the_study_of_splices_is_of_the_embedded_model_and_of_any_other():
    config = load("clip_splicing")
    assert build.reduction(config) == build.reduction(load("moving_digits"))
    assert (config.study.head, config.study.tubelets) == ("noun", 0)
    assert tuple(config.study.donors) == DONOR_KINDS
    for name in ("vivit_b_16x2_k400", "timesformer_b_ssv2"):
        assert load(name).study == load("moving_digits").study


def test_flags_take_the_place_of_single_values_of_a_protocol():
    flags = [
        "--config.data.protocol=paper",
        "--config.data.num_crops=3",
        "--config.data.rate_fps=25",
        "--config.data.view_average=max",
        "--config.data.mean=(0.5,0.5,0.5)",
        "--config.data.channels=bgr",
    ]
    config_file = ROOT / "configs" / "vivit_b_16x2_k400.py"
    _, config, _ = cli.parse(["main.py", f"--config={config_file}", *flags], config_file)
    protocol = build.protocol(config, build.model(config, no_reduction()))
    assert (protocol.num_crops, protocol.rate_fps, protocol.view_average) == (3, 25.0, "max")
    assert (protocol.mean, protocol.std, protocol.channels) == ((0.5,) * 3, (0.225,) * 3, "bgr")
    assert (protocol.sampling, protocol.stride, protocol.short_side) == ("slowfast_paper", 2, 256)


def test_without_a_protocol_everything_is_said_by_hand():
    config = load("moving_digits")
    model = build.model(config, no_reduction())
    protocol = build.protocol(config, model)
    assert (protocol.num_frames, protocol.stride, protocol.short_side, protocol.crop) == (16, 1, 64, 64)
    assert (protocol.num_views, protocol.sampling, protocol.mean) == (1, "scenic", (0.5, 0.5, 0.5))
    config.data.sampling, config.data.pad = "slowfast_segments", "clamp"
    assert build.protocol(config, model).stride is None
    config.data.protocol = "standard"
    with pytest.raises(UserError, match="no protocol 'standard' for vivit on 'moving_digits'"):
        build.protocol(config, model)


@pytest.mark.parametrize(
    ("num_classes", "heads"), [(7, (("", 7),)), (ConfigDict({"verb": 3, "noun": 2}), (("noun", 2), ("verb", 3)))]
)
def test_classes_may_be_a_number_or_one_per_head(num_classes, heads):
    config = load("vivit_b_16x2_k400")
    config.model.num_classes = num_classes
    assert build.model(config, no_reduction()).heads == heads


def test_of_a_checkpoint_of_710_classes_those_of_kinetics_400_are_kept(tmp_path):
    config = load("videomae_v2_b_k400")
    config.model.update(hidden_size=8, num_heads=2, num_layers=1, mlp_dim=8, image_size=32, num_frames=4)
    model = build.model(config, no_reduction())
    stored = model.clone(num_classes=710)
    params = random_params(stored)
    config.checkpoint = str(save_checkpoint(tmp_path / "checkpoint", params))
    rows = classes_within("kinetics710_videomae_v2", "kinetics400")
    assert len(set(rows)) == 400
    kept = build.params(config, model)["output_projection"]
    np.testing.assert_array_equal(kept["kernel"], params["output_projection"]["kernel"][:, rows])

    # Where classes of both have one name, the map leads to it; the others are those that were united under another.
    names, theirs = class_list("kinetics400"), class_list("kinetics710_videomae_v2")
    other = {name: theirs[row] for name, row in zip(names, rows, strict=True) if name != theirs[row]}
    assert len(other) == 13
    assert not set(other) & set(theirs)
    assert other["dying hair"] == "dyeing hair"

    config.data.name = "ssv2"
    with pytest.raises(UserError, match="'ssv2' are among those is not known"):
        build.params(config, model)
    config.data.name = "kinetics400"
    with pytest.raises(UserError, match="num_classes is 7; expected 400"):
        build.params(config, build.model(config, no_reduction()).clone(num_classes=7))
