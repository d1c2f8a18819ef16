"""Every form of file: whole ones load, and what is damaged or is no checkpoint is refused by name."""

import json
import pathlib
import zipfile

import numpy as np
import pytest
from checkpoint_cases import (
    KINDS,
    RECORDED,
    SCENICS,
    TreeModel,
    assert_same_tree,
    hugging_face_vivit,
    refusal,
    spacetime_model,
    write_index,
    write_safetensors,
)
from etils import epath
from flax.traverse_util import flatten_dict

from jax_vtm.checkpoints import CheckpointError, checkpoint_digest, load_checkpoint, save_checkpoint


def write_native(folder, kind):
    return pathlib.Path(save_checkpoint(folder / "native", RECORDED[kind].params))


def write_released(folder, kind):
    return write_safetensors(folder / "a file of any name", RECORDED[kind].tensors)


def write_npz(folder, kind):
    np.savez(folder / "weights.npz", **RECORDED[kind].tensors)
    return folder / "weights.npz"


def write_own_names(folder, kind):
    return write_safetensors(folder / "own.safetensors", flatten_dict(RECORDED[kind].params, sep="/"))


def write_parts(folder, kind):
    return write_index(folder / "index.json", RECORDED[kind].tensors)


def write_torch(folder, kind, **options):
    """As the authors wrote theirs: in a container, next to other things."""
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(tensor.copy()) for name, tensor in RECORDED[kind].tensors.items()}
    containers = RECORDED[kind].containers
    torch.save({containers[0]: state, "epoch": 3} if containers else state, folder / "model.pyth", **options)
    return folder / "model.pyth"


def write_old_torch(folder, kind):
    return write_torch(folder, kind, _use_new_zipfile_serialization=False)


TORCH_WRITERS = [pytest.param(write, marks=pytest.mark.torch) for write in (write_torch, write_old_torch)]
WRITERS = [write_native, write_released, write_npz, write_own_names, write_parts, *TORCH_WRITERS]


def given(path):
    """What a user gives: of several parts, their index."""
    index = path.parent / "index.json"
    return index if index.exists() else path


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_of_every_kind_load(tmp_path, kind, write):
    assert_same_tree(load_checkpoint(given(write(tmp_path, kind)), RECORDED[kind].tree), RECORDED[kind].params)


@pytest.mark.parametrize("write", WRITERS)
def test_files_that_are_cut_short_empty_or_unreadable(tmp_path, monkeypatch, write):
    model, path = RECORDED["motionformer"].tree, write(tmp_path, "motionformer")
    content = path.read_bytes()
    for size in (9, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        message = refusal(given(path), model)
        assert str(tmp_path) in message
    assert "truncated" in message or "cut short" in message
    path.write_bytes(b"")
    assert f"{path}: the file is empty (0 bytes)" in refusal(given(path), model)
    path.write_bytes(content)
    # Not by the file's mode: tests may run as root, whom no mode keeps out.
    real = type(epath.Path(path)).open

    def refuse(self, *arguments, **options):
        if str(self) == str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(self, *arguments, **options)

    monkeypatch.setattr(type(epath.Path(path)), "open", refuse)
    assert "cannot be read: [Errno 13] Permission denied" in refusal(given(path), model)
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint_digest(path)


# Scenic's files and others that are none.

BAD = {
    "empty_file": ["the file is empty (0 bytes)", "Download it again"],
    "error_page": ["an HTML or XML page, not a checkpoint", "<Code>NoSuchKey</Code>"],
    "truncated_60pct": ["truncated", "ends after 85,450 bytes", "Download it again"],
    "truncated_last_9_bytes": ["truncated", "ends after 71,003 bytes", "Download it again"],
    "no_params": ["no parameters found", "accum_train_time, global_step, model_state, rng"],
    "wrong_shape": [
        "1 of another shape:\n",
        "Transformer/encoderblock_1/MlpBlock_0/Dense_0/kernel: found (24, 28), expected (24, 32)",
    ],
    "missing_layer": [
        "16 missing:\n",
        "Transformer/encoderblock_1/LayerNorm_0/bias: expected (24,)",
        "Transformer/encoderblock_1/MultiHeadDotProductAttention_0/value/kernel: expected (24, 4, 6)",
        "Hint: layer 1 is absent from the checkpoint's Transformer",
    ],
    "missing_cls": ["1 missing:\n    cls: expected (1, 1, 24)"],
    "extra_layer": [
        "16 unexpected:\n",
        "Transformer/encoderblock_3/MlpBlock_0/Dense_0/kernel: found (24, 32)",
        "Hint: the checkpoint's Transformer has 4 layers, the model's 3",
    ],
    "nan_leaf": ["1 not finite (NaN or infinite):\n", " values"],
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_files_are_refused_with_the_reason(name):
    path = SCENICS / "bad" / name / "checkpoint"
    message = refusal(path, spacetime_model())
    assert message.startswith(f"{path}: ")
    for part in BAD[name]:
        assert part in message


def test_every_cut_of_a_file_is_refused(tmp_path):
    data = (SCENICS / "vivit_spacetime" / "legacy_2021" / "checkpoint").read_bytes()
    for size in [1, 2, 13, 500, len(data) // 3, int(len(data) * 0.9), len(data) - 1]:
        (tmp_path / "checkpoint").write_bytes(data[:size])
        assert f"truncated: it ends after {size:,} bytes" in refusal(tmp_path, spacetime_model())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x80", "Top-level keys: none"),
        (b"\x81\xa6params\xc0", "`params` is not a tree of parameters; it is null"),
        (b"\x81\xa9optimizer\xc0", "Top-level keys: optimizer"),
        (b"\x81\xa6params\xc1", "not a flax msgpack checkpoint, or a damaged one"),
        (b"\x81\xa6params\x80rest", "its data ends at byte 9, the file has 13 bytes"),
        (b"\x81\xa6params\x81\xa1a\xc7\x01\x05x", "unknown msgpack extension type 5"),
        (b"\x93\x01\x02\x03", "not a known checkpoint format"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b'{"error": "not found"}', "a text file, not a checkpoint"),
        (b"\n <!DOCTYPE html><html>", "an HTML or XML page"),
        (b"PK\x03\x04 and no more", "truncated or damaged; it has 16 bytes"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, reason):
    (tmp_path / "checkpoint").write_bytes(content)
    message = refusal(tmp_path, spacetime_model())
    assert reason in message
    assert str(tmp_path / "checkpoint") in message


def test_other_zip_archives_are_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    message = refusal(tmp_path / "x.zip", spacetime_model())
    assert "neither npz nor PyTorch; its first entries: readme.txt" in message


# Types and names.


@pytest.mark.parametrize("prefix", ["", "params/"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_npz_with_the_packages_own_names(tmp_path, prefix, dtype):
    params = {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "cls": np.ones(1, np.float32)}
    np.savez(tmp_path / "weights.npz", **{prefix + name: leaf.astype(dtype) for name, leaf in params.items()})
    tree = {"a": {"kernel": params["a/kernel"]}, "cls": params["cls"]}
    assert_same_tree(load_checkpoint(tmp_path / "weights.npz", TreeModel(tree)), tree)


@pytest.mark.torch
def test_bfloat16_is_widened(tmp_path):
    torch = pytest.importorskip("torch")
    expected = {"a": np.asarray([1, -2], np.float32)}
    header = json.dumps({"params/a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\x80\x3f\x00\xc0")
    assert_same_tree(load_checkpoint(path, TreeModel(expected)), expected)
    path.write_bytes(path.read_bytes().replace(b'"BF16"', b'"FP16"'))
    assert "`params/a` has the dtype FP16, which cannot be read" in refusal(path, TreeModel(expected))
    torch.save({"params/a": torch.tensor([1, -2], dtype=torch.bfloat16)}, tmp_path / "x.pt")
    assert_same_tree(load_checkpoint(tmp_path / "x.pt", TreeModel(expected)), expected)


# An index and its parts.


@pytest.fixture
def index(tmp_path):
    write_index(tmp_path / "model.safetensors.index.json", hugging_face_vivit()[1])
    return tmp_path / "model.safetensors.index.json"


def test_parts_that_are_missing_elsewhere_or_other_than_listed_are_refused(index):
    model = hugging_face_vivit()[0]
    homes = json.loads(index.read_text())["weight_map"]
    name, home = next(iter(homes.items()))
    for changed, message in (
        ({**homes, "extra": home}, f"does not hold what {index.name} says: missing ['extra']"),
        ({**homes, name: "../elsewhere.safetensors"}, "names the file '../elsewhere.safetensors'; expected one in the"),
        (3, "no readable `weight_map`"),
        ({"classifier.bias": 3}, "names files by something else"),
        ({name: "part-7.safetensors"}, "names part-7.safetensors, which is not next to it. Download every part"),
    ):
        index.write_text(json.dumps({"weight_map": changed}))
        assert message in refusal(index, model)


def test_the_digest_covers_the_parts(index, tmp_path):
    digest = checkpoint_digest(index)
    part = next(tmp_path.glob("*.safetensors"))
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert checkpoint_digest(index) != digest
    part.write_bytes(content)
    assert checkpoint_digest(index) == digest
    part.unlink()
    with pytest.raises(CheckpointError, match="which is not next to it"):
        checkpoint_digest(index)
