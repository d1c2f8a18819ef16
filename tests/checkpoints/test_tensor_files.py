"""Files of named tensors: safetensors, npz, PyTorch, and an index of several."""

import json
import pickle
import struct
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jax_vtm.checkpoints import CheckpointError, checkpoint_digest, load_checkpoint


@pytest.fixture(scope="module")
def params(golden, read_params):
    return read_params(golden / "hf" / "scenic.npz")


@pytest.fixture(scope="module")
def tensors(golden):
    return load_file(golden / "hf" / "model.safetensors")


@pytest.fixture(scope="module")
def model(params, tree_model):
    return tree_model(params, input_shape=(8, 16, 16, 3), heads=(("", 7),))


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_safetensors_with_bfloat16(tmp_path, tree_model):
    header = {"params/a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    path = write_safetensors(tmp_path / "x", header, b"\x80\x3f\x00\xc0")
    found = load_checkpoint(path, tree_model({"a": np.ones(2, np.float32)}))["params"]["a"]
    assert found.dtype == np.float32
    assert found.tolist() == [1.0, -2.0]


def test_safetensors_with_an_unreadable_dtype(tmp_path, model):
    header = {"a": {"dtype": "F8_E8M0", "shape": [2], "data_offsets": [0, 2]}}
    with pytest.raises(CheckpointError, match="`a` has the dtype F8_E8M0"):
        load_checkpoint(write_safetensors(tmp_path / "x", header, b"\x00\x00"), model)


def test_npz_is_never_unpickled(tmp_path, model):
    np.savez(tmp_path / "x.npz", good=np.ones(2), bad=np.asarray([{}], dtype=object))
    with pytest.raises(CheckpointError, match=r"x\.npz: the entry `bad` cannot be read"):
        load_checkpoint(tmp_path / "x.npz", model)


def test_pytorch_files_without_torch(tmp_path, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with zipfile.ZipFile(tmp_path / "zip.bin", "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}))
    (tmp_path / "old.pt").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2))
    for name in ("zip.bin", "old.pt"):
        with pytest.raises(CheckpointError, match=rf"{name}: .*pip install jax_vtm\[torch\]"):
            load_checkpoint(tmp_path / name, model)


def test_other_zip_archives_are_named(tmp_path, model):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"neither npz nor PyTorch.*readme\.txt"):
        load_checkpoint(tmp_path / "x.zip", model)


@pytest.mark.torch
def test_pytorch_files(tmp_path, tensors, params, model, assert_same_tree):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    for number, options in enumerate([{}, {"_use_new_zipfile_serialization": False}]):
        torch.save(state, tmp_path / f"{number}.bin", **options)
        assert_same_tree(load_checkpoint(tmp_path / f"{number}.bin", model)["params"], params)
    torch.save({name: tensor.to(torch.bfloat16) for name, tensor in state.items()}, tmp_path / "bfloat16.pt")
    widened = load_checkpoint(tmp_path / "bfloat16.pt", model)["params"]["cls"]
    np.testing.assert_array_equal(widened, params["cls"].astype(ml_dtypes.bfloat16).astype(np.float32))


@pytest.fixture
def index(tensors, tmp_path):
    """The recorded Hugging Face file, cut into two with an index."""
    homes = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(sorted(tensors))}
    for home in set(homes.values()):
        save_file({name: tensors[name] for name in tensors if homes[name] == home}, tmp_path / home)
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": homes}))
    return path


def test_an_index_and_its_parts_load_as_the_whole_file(index, params, model, assert_same_tree):
    assert_same_tree(load_checkpoint(index, model)["params"], params)


def test_parts_that_are_missing_elsewhere_or_other_than_listed_are_refused(index, model, tmp_path):
    homes = json.loads(index.read_text())["weight_map"]
    name, home = next(iter(homes.items()))
    for changed, message in (
        ({**homes, "extra": home}, r"does not hold what .*index.json says: missing \['extra'\]"),
        ({**homes, name: "../elsewhere.safetensors"}, "names the file '../elsewhere.safetensors'; expected one in the"),
        (3, "no readable `weight_map`"),
        ({"classifier.bias": 3}, "names files by something else"),
    ):
        index.write_text(json.dumps({"weight_map": changed}))
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(index, model)
    index.write_text(json.dumps({"weight_map": homes}))
    (tmp_path / home).unlink()
    with pytest.raises(CheckpointError, match=r"which is not beside it. Download every part"):
        load_checkpoint(index, model)


def test_the_digest_covers_the_parts(index, tmp_path):
    digest = checkpoint_digest(index)
    part = next(tmp_path.glob("*.safetensors"))
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert checkpoint_digest(index) != digest
    part.write_bytes(content)
    assert checkpoint_digest(index) == digest
    part.unlink()
    with pytest.raises(CheckpointError, match="which is not beside it"):
        checkpoint_digest(index)
