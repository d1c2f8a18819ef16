import json
import pickle
import struct
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest

from jax_vtm.checkpoints import CheckpointError, load_checkpoint


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


def test_safetensors_with_an_unreadable_dtype(tmp_path, spacetime_model):
    header = {"a": {"dtype": "F8_E8M0", "shape": [2], "data_offsets": [0, 2]}}
    with pytest.raises(CheckpointError, match="`a` has the dtype F8_E8M0"):
        load_checkpoint(write_safetensors(tmp_path / "x", header, b"\x00\x00"), spacetime_model)


def test_npz_is_never_unpickled(tmp_path, spacetime_model):
    np.savez(tmp_path / "x.npz", good=np.ones(2), bad=np.asarray([{}], dtype=object))
    with pytest.raises(CheckpointError, match=r"x\.npz: the entry `bad` cannot be read"):
        load_checkpoint(tmp_path / "x.npz", spacetime_model)


def write_torch_like_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}))
    return path


def test_torch_file_without_torch(tmp_path, spacetime_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = write_torch_like_zip(tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match=r"model\.bin: .*pip install jax_vtm\[torch\]"):
        load_checkpoint(path, spacetime_model)


def test_old_torch_file_is_recognised_too(tmp_path, spacetime_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "model.pt").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2))
    with pytest.raises(CheckpointError, match=r"pip install jax_vtm\[torch\]"):
        load_checkpoint(tmp_path / "model.pt", spacetime_model)


def test_other_zip_archives_are_named(tmp_path, spacetime_model):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"neither npz nor PyTorch.*readme\.txt"):
        load_checkpoint(tmp_path / "x.zip", spacetime_model)


class Code:
    def __reduce__(self):
        return (print, ("this must never run",))


@pytest.mark.torch
def test_torch_files(golden, tmp_path, read_params, tree_model, assert_same_tree, capsys):
    torch = pytest.importorskip("torch")
    from safetensors.numpy import load_file

    params = read_params(golden / "hf" / "scenic.npz")
    model = tree_model(params, input_shape=(8, 16, 16, 3), heads=(("", 7),))
    tensors = {name: torch.from_numpy(array) for name, array in load_file(golden / "hf" / "model.safetensors").items()}
    for number, options in enumerate([{}, {"_use_new_zipfile_serialization": False}]):
        torch.save(tensors, tmp_path / f"{number}.bin", **options)
        assert_same_tree(load_checkpoint(tmp_path / f"{number}.bin", model)["params"], params)

    narrow = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
    torch.save(narrow, tmp_path / "bfloat16.pt")
    widened = load_checkpoint(tmp_path / "bfloat16.pt", model)["params"]["cls"]
    np.testing.assert_array_equal(widened, params["cls"].astype(ml_dtypes.bfloat16).astype(np.float32))

    torch.save({**tensors, "code": Code()}, tmp_path / "code.pt")
    with pytest.raises(CheckpointError, match=r"code\.pt: torch cannot read this file with `weights_only=True`"):
        load_checkpoint(tmp_path / "code.pt", model)
    assert "never run" not in capsys.readouterr().out
