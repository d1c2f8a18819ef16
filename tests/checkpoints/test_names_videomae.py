"""VideoMAE's released tensors, by name, in our tree."""

import json
import re

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jax_vtm.checkpoints import CheckpointError, from_torch_state_dict, load_checkpoint
from jax_vtm.checkpoints.tensors import unwrap
from jax_vtm.models import create_model

HEADS = {"verb": 5, "noun": 7}


@pytest.fixture(scope="module")
def recorded(golden):
    # The folder's own `golden` is Scenic's; PyTorch's lies beside it.
    with np.load(golden.parent / "torch" / "model_videomae.npz") as file:
        return {name: file[name] for name in file.files if name.startswith("param")}


@pytest.fixture(scope="module")
def tensors(recorded):
    return {name.removeprefix("param/"): a for name, a in recorded.items() if name.startswith("param/")}


@pytest.fixture(scope="module")
def model(golden):
    manifest = json.loads((golden.parent / "torch" / "manifest.json").read_text())
    size = manifest["models"]["videomae"]["config"]
    return create_model(
        "videomae_b_16",
        num_classes=10,
        image_size=size["image"],
        num_frames=size["frames"],
        patch_size=(size["tubelet"], size["patch"], size["patch"]),
        hidden_size=size["dim"],
        num_heads=size["heads"],
        num_layers=size["depth"],
        mlp_dim=size["dim"] * size["mlp_ratio"],
    )


@pytest.fixture(scope="module")
def params(tensors, model):
    return flatten_dict(from_torch_state_dict(tensors, model)["params"], sep="/")


def test_tree_is_the_models(params, model):
    expected = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, *model.input_shape), np.float32))
    expected = flatten_dict(expected["params"], sep="/")
    assert {path: leaf.shape for path, leaf in params.items()} == {p: leaf.shape for p, leaf in expected.items()}


def test_every_value_is_used_once(params, tensors):
    # Sums of squares, since a permutation keeps them; the recorded values are random.
    used = sum(float(np.sum(np.float64(leaf) ** 2)) for leaf in params.values())
    leftover = ()
    given = sum(float(np.sum(np.float64(a) ** 2)) for name, a in tensors.items() if name not in leftover)
    np.testing.assert_allclose(used, given, rtol=1e-12)
    assert sum(leaf.size for leaf in params.values()) == sum(a.size for n, a in tensors.items() if n not in leftover)


def test_query_key_and_value_are_parts_of_one_tensor(params, tensors):
    joint = tensors["model.blocks.1.attn.qkv.weight"]
    for index, name in enumerate(("query", "key", "value")):
        kernel = params[f"encoderblock_1/attention/{name}/kernel"]
        assert kernel.shape == (48, 3, 16)
        np.testing.assert_array_equal(kernel[:, 2, 5], joint[48 * index + 2 * 16 + 5])


@pytest.mark.parametrize("wrap", ["", "model.", "module.", "module.model."])
def test_prefix_of_all_names_does_not_matter(params, tensors, model, wrap):
    bare = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    wrapped = {wrap + name: tensor for name, tensor in bare.items()}
    found = flatten_dict(from_torch_state_dict(wrapped, model)["params"], sep="/")
    for path, leaf in params.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path)


def test_two_heads_are_joined_in_alphabetical_order(recorded, tensors, model):
    both = {name: tensor for name, tensor in tensors.items() if not re.match(r"(model\.)?head\.", name)}
    both |= {name.removeprefix("param_ek/"): a for name, a in recorded.items() if name.startswith("param_ek/")}
    kernel = from_torch_state_dict(both, model.clone(num_classes=HEADS))["params"]["output_projection"]["kernel"]
    np.testing.assert_array_equal(kernel[:, :7].T, recorded["param_ek/model.head1.weight"])
    np.testing.assert_array_equal(kernel[:, 7:].T, recorded["param_ek/model.head0.weight"])


def test_heads_of_other_names_are_refused(tensors, model):
    with pytest.raises(CheckpointError, match=r"VideoMAE's files .* output_projection/bias.*verb"):
        from_torch_state_dict(tensors, model.clone(num_classes={"object": 3}))


def test_missing_unexpected_and_misshapen_tensors_are_all_named(tensors, model):
    changed = dict(tensors)
    del changed["model.blocks.2.mlp.fc1.bias"]
    changed["model.decoder.weight"] = np.zeros((2, 2), np.float32)
    changed["model.head.weight"] = np.zeros((11, 48), np.float32)
    with pytest.raises(CheckpointError) as caught:
        from_torch_state_dict(changed, model)
    message = str(caught.value)
    assert "blocks.2.mlp.fc1.bias: expected (96,)" in message
    assert "decoder.weight: found (2, 2)" in message
    assert "head.weight: found (11, 48), expected (10, 48)" in message


def test_file_of_another_model_is_refused(golden, model):
    with np.load(golden.parent / "torch" / "model_timesformer.npz") as file:
        others = {name.removeprefix("param/"): file[name] for name in file.files if name.startswith("param/")}
    with pytest.raises(CheckpointError, match="does not fit the model"):
        from_torch_state_dict(others, model)


def test_safetensors_file(tmp_path, params, tensors, model):
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(a) for name, a in tensors.items()}, tmp_path / "model.safetensors")
    found = flatten_dict(load_checkpoint(tmp_path / "model.safetensors", model)["params"], sep="/")
    for path, leaf in params.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path)


@pytest.mark.parametrize("container", ["module", "model"])
def test_training_programs_file(tmp_path, params, tensors, model, container):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
    torch.save({container: state, "epoch": 3, "cfg": "..."}, tmp_path / "checkpoint.pyth")
    found = load_checkpoint(tmp_path / "checkpoint.pyth", model)["params"]
    assert flatten_dict(found, sep="/").keys() == params.keys()


def test_keys_have_no_bias(params):
    assert "encoderblock_0/attention/query/bias" in params
    assert "encoderblock_0/attention/key/bias" not in params


def test_containers_are_opened():
    tensors = {"head.bias": np.zeros(3)}
    for container in ("model_state", "module", "model"):
        assert unwrap({container: tensors, "epoch": 3}) is tensors
    assert unwrap(tensors) is tensors
    # A tensor may have such a name.
    assert unwrap({"model": np.zeros(3)}).keys() == {"model"}
