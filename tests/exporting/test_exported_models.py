"""Models as programs: the same logits as the model, whatever the batch, without Flax."""

import json
import pathlib
import subprocess
import sys

import jax
import jaxtyping
import numpy as np
import pytest

import jax_vtm
from jax_vtm.checkpoints import abstract_params
from jax_vtm.commands import convert
from jax_vtm.config import load_config
from jax_vtm.data import ClipProtocol
from jax_vtm.errors import UserError
from jax_vtm.exporting.export import export_model
from jax_vtm.exporting.load import DESCRIPTION, PARAMS, PROGRAM

DIGITS = pathlib.Path(__file__).parents[2] / "configs" / "moving_digits.py"
TINY = {"image_size": 32, "num_frames": 4, "hidden_size": 16, "num_heads": 2, "num_layers": 2, "mlp_dim": 16}
MODELS = {
    "vivit_b_16x2": {"patch_size": (2, 8, 8), "num_classes": {"verb": 3, "noun": 4}},
    "timesformer_b_8": {"patch_size": (1, 8, 8), "num_classes": 5},
    "motionformer_b_16": {"patch_size": (2, 8, 8), "num_classes": 5},
    "videomae_b_16": {"patch_size": (2, 8, 8), "num_classes": 5, "dtype": "bfloat16"},
}
PROTOCOL = ClipProtocol(num_frames=4, crop=32, stride=1, short_side=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


@pytest.fixture(scope="module", autouse=True)
def symbolic_batch():
    """The checks of array types take an unknown number of clips for no whole number."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def tiny(name, **fields):
    model = jax_vtm.create_model(name, **TINY, **MODELS[name], **fields)
    rng = np.random.default_rng(1)
    return model, jax.tree.map(lambda leaf: rng.normal(0, 0.25, leaf.shape).astype(leaf.dtype), abstract_params(model))


@pytest.mark.parametrize("mode", ["merge", "hybrid"])
@pytest.mark.parametrize("name", MODELS)
def test_a_program_computes_what_the_model_does_for_any_number_of_clips(tmp_path, name, mode):
    model, params = tiny(name, reduction=jax_vtm.Reduction(mode=mode, r=3, threshold=0.5))
    export_model(tmp_path, model, params, PROTOCOL, class_names={})
    exported = jax_vtm.load_exported(tmp_path)
    video = np.random.default_rng(0).integers(256, size=(3, *model.input_shape), dtype=np.uint8)
    logits = exported(video)
    expected = jax.jit(model.apply)({"params": params}, PROTOCOL.normalise(video))
    tolerance = {"rtol": 0, "atol": 0.05 if model.dtype == "bfloat16" else 1e-4}
    assert jax.tree.structure(logits) == jax.tree.structure(expected)
    jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, **tolerance), logits, expected)
    alone = exported(video[:1])
    jax.tree.map(lambda one, all: np.testing.assert_allclose(one, all[:1], **tolerance), alone, logits)
    assert exported.description["tokens_per_layer"] == list(model.tokens_per_layer)
    assert exported.description["platforms"] == ["cpu", "cuda", "tpu"]


def test_random_reductions_draw_from_the_seed_and_the_place_in_the_batch(tmp_path):
    model, params = tiny("vivit_b_16x2", reduction=jax_vtm.Reduction(mode="random_drop", r=9))
    video = np.random.default_rng(0).integers(256, size=(1, *model.input_shape), dtype=np.uint8).repeat(2, axis=0)
    found = []
    for seed in (0, 0, 1):
        export_model(tmp_path, model, params, PROTOCOL, class_names={}, random_seed=seed)
        found.append(jax_vtm.load_exported(tmp_path)(video)["noun"])
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])
    assert not np.allclose(found[0][0], found[0][1])


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The embedded model, exported by the command."""
    workdir = tmp_path_factory.mktemp("digits")
    config = load_config(DIGITS)
    config.compilation_cache = ""
    config.convert.to = "stablehlo"
    assert convert.run(config, workdir) == 0
    return workdir / "exported"


def test_it_runs_without_flax_and_says_what_it_is(digits):
    description = json.loads((digits / DESCRIPTION).read_text())
    assert description["reduction"]["r"] == 138
    assert description["tokens_per_layer"] == [513, 375, 237, 119, 60]
    assert len(description["class_names"]["verb"]) == 8
    assert len(description["checkpoint_sha256"]) == 64
    code = (
        "import sys, numpy as np, jax_vtm\n"
        f"logits = jax_vtm.load_exported({str(digits)!r})(np.zeros((1, 16, 64, 64, 3), np.uint8))\n"
        "print({head: values.shape for head, values in logits.items()}, 'flax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'noun': (1, 10), 'verb': (1, 8)} False"


@pytest.mark.parametrize("file", [PROGRAM, PARAMS, DESCRIPTION])
def test_what_is_missing_or_damaged_is_one_sentence(digits, tmp_path, file):
    for path in digits.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:100])
    with pytest.raises(UserError, match="is damaged, or of a JAX that"):
        jax_vtm.load_exported(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(UserError, match="expected a folder that `convert"):
        jax_vtm.load_exported(tmp_path)


def test_other_frames_are_refused(digits):
    exported = jax_vtm.load_exported(digits)
    for video in (np.zeros((1, 8, 64, 64, 3), np.uint8), np.zeros((1, 16, 64, 64, 3), np.float32)):
        with pytest.raises(UserError, match=r"takes uint8 \[B, 16, 64, 64, 3\]; got"):
            exported(video)
    config = load_config(DIGITS)
    config.convert.to = "onnx"
    with pytest.raises(UserError, match="'onnx'; known are checkpoint, stablehlo"):
        convert.run(config, digits.parent)
