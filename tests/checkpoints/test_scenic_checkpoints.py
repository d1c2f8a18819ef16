"""Scenic's own files, msgpack and orbax, in the layouts of 2021 and of today: the recorded parameters and logits."""

import json
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
from checkpoint_cases import SCENIC, SCENICS, TreeModel, assert_same_tree, refusal, scenic_params, spacetime_model
from flax import serialization
from flax.traverse_util import unflatten_dict

from jax_vtm.checkpoints import load_checkpoint
from jax_vtm.models import from_scenic_config

MODELS = ["vivit_spacetime", "vivit_fe", "vivit_factorised_self_attention", "vivit_factorised_dot_product"]
STEP = "vivit_spacetime/new_orbax/checkpoint_1234"
ONE = {"a": {"kernel": np.arange(4, dtype=np.float32)}}
FILES = [
    *((name, f"{name}/{layout}") for name in MODELS for layout in ("legacy_2021", "new_msgpack/checkpoint_1234")),
    *(("vivit_spacetime", f"vivit_spacetime/{name}") for name in ("legacy_2021/checkpoint", "new_msgpack")),
    *(("vivit_spacetime", name) for name in (STEP, "vivit_spacetime/new_orbax")),
    *(("vivit_spacetime", f"odd/{name}") for name in ("chunked_arrays", "empty_pre_logits", "pre_linen_names")),
    ("vivit_spacetime", "odd/new_layout_null_state"),
]


def write(path, state):
    path.write_bytes(serialization.msgpack_serialize(state))
    return path


def write_orbax(path, state):
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(path, state)
    return path


@pytest.mark.parametrize(("name", "path"), FILES)
def test_scenics_files_give_the_recorded_parameters(name, path):
    params = scenic_params(f"models/{name}")
    loaded = load_checkpoint(SCENICS / path, TreeModel(params))
    assert set(loaded) == {"params"}
    assert_same_tree(loaded, params)


@pytest.mark.parametrize("name", MODELS)
def test_real_models_reproduce_scenics_logits(name):
    config = json.loads((SCENIC / "models" / "models.json").read_text())[name]["config"]
    with np.load(SCENIC / "models" / f"{name}.npz") as arrays:
        video, logits = arrays["video"], arrays["logits"]
    model = from_scenic_config(config, num_classes=11, input_shape=video.shape[1:])
    variables = load_checkpoint(str(SCENICS / name / "legacy_2021"), model)
    np.testing.assert_allclose(jax.jit(model.apply)(variables, video), logits, atol=2e-5)
    # Scenic's own joint head of Epic-Kitchens.
    two = from_scenic_config(config, num_classes={"verb": 4, "noun": 7}, input_shape=video.shape[1:])
    assert_same_tree(load_checkpoint(SCENICS / name / "legacy_2021", two), variables)


@pytest.mark.parametrize(
    "leaf",
    [
        np.float32(1.5),
        np.zeros((), np.float32),
        np.zeros((0, 3), np.float32),
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.asarray([1.0, -2.5], ml_dtypes.bfloat16),
        np.asarray([1.0, -2.5], np.float16),
        None,
    ],
)
def test_leaves_come_back_as_written(tmp_path, leaf):
    leaf = np.arange(104 * 2**20 // 4, dtype=np.float32) if leaf is None else leaf  # msgpack's own buffer is 100 MiB
    state = {
        "opt_state": {"0": {"count": np.int32(3), "z": 1 + 2j}, "1": None},
        "optimizer": {"target": {"old": np.ones(1)}},  # today's place wins over the old one
        "metadata": {"note": "x", "list": {"0": 1.5}},
        "params": {"params": {"a": leaf}},
        "model_state": None,
    }
    expected = {"a": np.asarray(leaf)}
    assert_same_tree(load_checkpoint(write(tmp_path / "checkpoint", state), TreeModel(expected)), expected)


BLOCK = "Transformer/encoderblock_0"


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (
            [f"{BLOCK}/{name}" for name in ("LayerNorm_0", "Attention_1", "LayerNorm_2", "MlpBlock_3/Dense_0")],
            [f"{BLOCK}/{name}" for name in ("LayerNorm_0", "Attention_0", "LayerNorm_1", "MlpBlock_0/Dense_0")],
        ),
        # Numbers are ordered as numbers.
        (["Dense_2", "Conv_3", "Dense_10"], ["Dense_0", "Conv_0", "Dense_1"]),
        # Names that are Linen's already, or that a person chose, stay.
        *[[["LayerNorm_0", "Attention_0", "LayerNorm_1", "MlpBlock_0/Dense_1", "MlpBlock_0/Dense_0"]] * 2],
        *[[["encoderblock_0/a", "encoderblock_2/a", "cls", "LayerNorm_time"]] * 2],
    ],
)
def test_modules_of_before_linen_are_renumbered_per_class(tmp_path, stored, expected):
    leaves = [np.full(1, number, np.float32) for number in range(len(stored))]
    tree = unflatten_dict(dict(zip(stored, leaves, strict=True)), sep="/")
    write(tmp_path / "checkpoint", {"optimizer": {"target": {"params": tree}}})
    wanted = unflatten_dict(dict(zip(expected, leaves, strict=True)), sep="/")
    assert_same_tree(load_checkpoint(tmp_path, TreeModel(wanted)), wanted)


# The high-water mark of this program alone: ru_maxrss of a child also covers its parent at the time of the fork.
MEASURE = """
import pathlib, resource, sys, types
import jax, jax.numpy as jnp
from jax_vtm.checkpoints import load_checkpoint

leaves, size = int(sys.argv[2]), int(sys.argv[3])
model = types.SimpleNamespace(
    input_shape=(2, 4, 4, 3),
    heads=(("", 1),),
    init=lambda key, video: {"params": {f"p{i}": jnp.zeros(size) for i in range(leaves)}},
)

def peak():
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

jax.eval_shape(lambda: model.init(jax.random.key(0), None))
before = peak()
params = load_checkpoint(sys.argv[1], model)["params"]
print(before, peak())
assert all((params[f"p{i}"] == i).all() for i in range(leaves))
"""


def test_optimizer_state_never_reaches_memory(tmp_path):
    leaves, size = 20, 2_000_000  # 20 arrays of 8 MB: 160 MB of parameters, 160 MB of momentum
    target = {f"p{index}": np.full(size, index, np.float32) for index in range(leaves)}
    state = {"param_states": {name: {"momentum": leaf} for name, leaf in target.items()}}
    path = write(tmp_path / "checkpoint", {"global_step": 7, "optimizer": {"target": target, "state": state}})
    command = [sys.executable, "-c", MEASURE, str(path), str(leaves), str(size)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    before, after = map(int, run.stdout.split())
    grown, params, file = after - before, leaves * size * 4, path.stat().st_size
    report = f"peak memory grew by {grown / 1e6:.0f} MB for {params / 1e6:.0f} MB of parameters in {file / 1e6:.0f} MB"
    assert file > 1.99 * params
    assert grown > 0.8 * params, f"the measurement is blind: {report}"
    assert grown < params + 70e6, report


# Orbax.


def test_only_the_parameters_are_restored(monkeypatch):
    asked = []
    restore = ocp.Checkpointer.restore

    def spy(self, directory, *args, **kwargs):
        asked.append(set(kwargs["args"].item))
        return restore(self, directory, *args, **kwargs)

    monkeypatch.setattr(ocp.Checkpointer, "restore", spy)
    load_checkpoint(SCENICS / STEP, spacetime_model())
    assert asked == [{"params"}]
    wrong = TreeModel({"cls": np.zeros(7, np.float32)})
    assert "cls: found (1, 1, 24), expected (7,)" in refusal(SCENICS / STEP, wrong)
    assert len(asked) == 1, "nothing is restored of what does not fit"


def test_legacy_layout_empty_subtrees_and_relative_item(tmp_path):
    state = {"optimizer": {"target": {**ONE, "pre_logits": {}}, "state": {"step": np.int32(1)}}}
    write_orbax(tmp_path / "step" / "default", state)
    (tmp_path / "step" / "_CHECKPOINT_METADATA").write_text("{}")
    assert_same_tree(load_checkpoint(tmp_path / "step", TreeModel(ONE)), ONE)


def test_directory_without_parameters(tmp_path):
    write_orbax(tmp_path / "other", {"weights": np.ones(2), "global_step": np.int32(1)})
    message = refusal(tmp_path / "other", spacetime_model())
    assert "no parameters found" in message
    assert "Top-level keys: global_step, weights" in message


# Orbax reads many arrays at once. With really damaged files its threads go on complaining after the error,
# in the middle of later tests; so this test only imitates what it does then.
def test_directories_that_orbax_cannot_read(monkeypatch):
    def fail(self, directory, **options):
        raise ValueError("OUT_OF_RANGE: byte range is not valid")

    monkeypatch.setattr(ocp.Checkpointer, "restore", fail)
    assert refusal(SCENICS / STEP, spacetime_model()) == (
        f"{SCENICS / STEP}: orbax cannot restore this directory; if files are missing or cut short, copy it again "
        "(ValueError: OUT_OF_RANGE: byte range is not valid)."
    )
    monkeypatch.setattr(ocp.Checkpointer, "metadata", lambda self, directory: None)
    assert "no readable description of its content" in refusal(SCENICS / STEP, spacetime_model())


def test_the_folder_of_a_checkpoint_manager_is_its_last_step(tmp_path):
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        for step in (3, 20):
            state = {"params": {"a": {"kernel": ONE["a"]["kernel"] * (step == 20)}}}
            manager.save(step, args=ocp.args.StandardSave(state))
    for path in ("run", "run/20", "run/20/default"):
        assert_same_tree(load_checkpoint(tmp_path / path, TreeModel(ONE)), ONE)
    (tmp_path / "run" / "21").mkdir()
    message = "21: a directory that orbax did not write, or did not finish writing"
    assert message in refusal(tmp_path / "run", TreeModel(ONE))


@pytest.mark.parametrize("form", [write, write_orbax])
def test_parameters_by_themselves(tmp_path, form):
    params = {**ONE, "cls": np.ones(2, np.float32)}
    assert_same_tree(load_checkpoint(form(tmp_path / "bare", params), TreeModel(params)), params)
    more = form(tmp_path / "more", {**params, "step": np.ones(1, np.float32)})
    assert "1 unexpected:\n    step: found" in refusal(more, TreeModel(params))
