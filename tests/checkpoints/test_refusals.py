"""What every kind of file and every kind of model refuses, and how it says so."""

import functools
import json
import pathlib
import pickle
import sys
import zipfile

import numpy as np
import pytest
from etils import epath
from flax.traverse_util import flatten_dict
from recorded_tensors import RECORDED
from safetensors.numpy import save_file

from jax_vtm.checkpoints import (
    CheckpointError,
    checkpoint_digest,
    from_torch_state_dict,
    load_checkpoint,
    save_checkpoint,
)

KINDS = list(RECORDED)
IN_FRAMES = ["timesformer", "motionformer"]
FAMILY = {
    "vivit": "the unfactorised ViViT",
    "timesformer": "TimeSformer",
    "motionformer": "Motionformer",
    "videomae": "VideoMAE",
}


@functools.cache
def params(kind):
    return from_torch_state_dict(RECORDED[kind].tensors, RECORDED[kind].model)["params"]


def write_safetensors(path, tensors):
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    return path


def write_native(folder, kind):
    return pathlib.Path(save_checkpoint(folder / "native", params(kind)))


def write_released(folder, kind):
    return write_safetensors(folder / "model.safetensors", RECORDED[kind].tensors)


def write_npz(folder, kind):
    np.savez(folder / "weights.npz", **RECORDED[kind].tensors)
    return folder / "weights.npz"


def write_own_names(folder, kind):
    return write_safetensors(folder / "own.safetensors", flatten_dict(params(kind), sep="/"))


def write_index(folder, kind):
    """Returns the first of the two parts; `index.json` lists both."""
    tensors = RECORDED[kind].tensors
    homes = {name: f"part-{place % 2}.safetensors" for place, name in enumerate(sorted(tensors))}
    for home in sorted(set(homes.values())):
        write_safetensors(folder / home, {name: tensors[name] for name in tensors if homes[name] == home})
    (folder / "index.json").write_text(json.dumps({"weight_map": homes}))
    return folder / "part-0.safetensors"


def write_torch(folder, kind, **options):
    """As the authors wrote theirs: in a container, beside other things."""
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(tensor.copy()) for name, tensor in RECORDED[kind].tensors.items()}
    containers = RECORDED[kind].containers
    torch.save({containers[0]: state, "epoch": 3} if containers else state, folder / "model.pyth", **options)
    return folder / "model.pyth"


def write_old_torch(folder, kind):
    return write_torch(folder, kind, _use_new_zipfile_serialization=False)


TORCH_WRITERS = [pytest.param(write, marks=pytest.mark.torch) for write in (write_torch, write_old_torch)]
WRITERS = [write_native, write_released, write_npz, write_own_names, write_index, *TORCH_WRITERS]


def load(path, kind):
    index = path.parent / "index.json"
    return load_checkpoint(index if index.exists() else path, RECORDED[kind].model)


def refusal(path, kind) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(path, kind)
    message = str(caught.value)
    assert str(path.parent) in message, "the message names the file"
    return message


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_of_every_kind_load(tmp_path, kind, write):
    found = flatten_dict(load(write(tmp_path, kind), kind)["params"], sep="/")
    expected = flatten_dict(params(kind), sep="/")
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path)


@pytest.mark.parametrize("write", WRITERS)
def test_truncated_files(tmp_path, write):
    path = write(tmp_path, "motionformer")
    content = path.read_bytes()
    for size in (9, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        refusal(path, "motionformer")
    assert "truncated" in refusal(path, "motionformer") or "cut short" in refusal(path, "motionformer")


@pytest.mark.parametrize("write", [write_native, write_released, write_npz, write_index])
def test_empty_files(tmp_path, write):
    path = write(tmp_path, "videomae")
    path.write_bytes(b"")
    assert f"{path}: the file is empty (0 bytes)" in refusal(path, "videomae")


def test_a_part_that_is_missing(tmp_path):
    path = write_index(tmp_path, "timesformer")
    path.unlink()
    assert "names part-0.safetensors, which is not beside it" in refusal(path, "timesformer")


@pytest.mark.parametrize("write", [write_native, write_released, write_npz, write_index, TORCH_WRITERS[0]])
def test_unreadable_permissions(tmp_path, monkeypatch, write):
    # Not by the file's mode: tests may run as root, whom no mode keeps out.
    path = write(tmp_path, "videomae")
    real = type(epath.Path(path)).open

    def refuse(self, *arguments, **options):
        if str(self) == str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(self, *arguments, **options)

    monkeypatch.setattr(type(epath.Path(path)), "open", refuse)
    assert "cannot be read: [Errno 13] Permission denied" in refusal(path, "videomae")
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint_digest(path)


def test_unreadable_directory(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(epath.Path(tmp_path)), "iterdir", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be read: .*Permission denied"):
        load_checkpoint(tmp_path, RECORDED["videomae"].model)


@pytest.mark.parametrize("write", [write_native, write_released])
@pytest.mark.parametrize("kind", KINDS)
def test_files_of_another_model_are_called_by_its_name(tmp_path, kind, write):
    other = RECORDED[kind].other
    message = refusal(write(tmp_path, other), kind)
    assert message.count("Hint:") == 1
    source = "the tensors are named as in the files of" if write is write_released else "this is a checkpoint of"
    assert f"Hint: {source} {FAMILY[other]}; the model is {FAMILY[kind]}." in message
    assert "missing:" in message
    assert "unexpected:" in message


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("blocks.0.timeattn.qkv.weight", "Motionformer with divided attention"),
        ("patch_embed_3d.proj.weight", "Motionformer with joint attention"),
        ("mask_token", "VideoMAE's pre-training, which have no classifier"),
        ("cls_head.fc_cls.bias", "mmaction2"),
    ],
)
@pytest.mark.parametrize("kind", ["motionformer", "videomae"])
def test_files_that_no_model_here_reads_are_called_by_their_name(kind, name, who):
    with pytest.raises(CheckpointError, match=f"named as in the files of {who} .*; the model is {FAMILY[kind]}"):
        from_torch_state_dict({name: np.zeros(3, np.float32)}, RECORDED[kind].model)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_extra_and_misshapen_tensors_are_all_named(tmp_path, kind):
    entry, tensors = RECORDED[kind], RECORDED[kind].tensors
    missing = next(name for name in tensors if name.endswith(("mlp.fc1.bias", "intermediate.dense.bias")))
    head = f"{entry.prefix}{entry.head}.weight"
    assert tensors[missing].shape == (96,)
    assert tensors[head].shape == (10, 48)
    changed = {name: tensor for name, tensor in tensors.items() if name != missing}
    changed |= {f"{entry.prefix}decoder.weight": np.zeros((2, 2), np.float32), head: np.zeros((11, 48), np.float32)}
    message = refusal(write_safetensors(tmp_path / "x.safetensors", changed), kind)
    assert f"1 missing:\n    {missing.removeprefix(entry.prefix)}: expected (96,)" in message
    assert "1 unexpected:\n    decoder.weight: found (2, 2)" in message
    assert f"1 of another shape:\n    {entry.head}.weight: found (11, 48), expected (10, 48)" in message


@pytest.mark.parametrize("write", [write_native, write_released])
@pytest.mark.parametrize("kind", KINDS)
def test_another_number_of_classes_is_named(tmp_path, kind, write):
    path = write(tmp_path, kind)
    with pytest.raises(CheckpointError, match="Hint: the checkpoint predicts 10 classes, the model 174"):
        load_checkpoint(path, RECORDED[kind].model.clone(num_classes=174))


@pytest.mark.parametrize("kind", ["timesformer", "motionformer", "videomae"])
def test_one_head_instead_of_two(kind):
    model = RECORDED[kind].model.clone(num_classes={"verb": 5, "noun": 7})
    with pytest.raises(CheckpointError, match=r"(?s)missing:.*head0\.weight.*head1\.weight.*unexpected:.*head\.weight"):
        from_torch_state_dict(RECORDED[kind].tensors, model)


@pytest.mark.parametrize("write", [write_native, write_released])
@pytest.mark.parametrize("kind", IN_FRAMES)
def test_another_input_size_is_named_with_what_would_fit(tmp_path, kind, write):
    path, model = write(tmp_path, kind), RECORDED[kind].model
    depth = model.patch_size[0]
    other = model.clone(num_frames=2 * model.num_frames, image_size=(48, 64))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, other)
    message = str(caught.value)
    assert message.count("Hint:") == 1
    assert "positions of 4 times and 16 places, the model asks for 8 and 48" in message
    assert f"Build the model with num_frames={4 * depth} and image_size=32; or keep {8 * depth} frames" in message
    assert "of 48x64 and let position_grid=(4, 4, 4) interpolate them" in message
    # Both pieces of advice are good.
    load_checkpoint(path, other.clone(num_frames=4 * depth, image_size=32))
    load_checkpoint(path, other.clone(position_grid=(4, 4, 4)))


def test_places_that_are_no_square_get_no_numbers():
    model = RECORDED["timesformer"].model
    tensors = {**RECORDED["timesformer"].tensors, "model.pos_embed": np.zeros((1, 13, 48), np.float32)}
    with pytest.raises(CheckpointError, match=r"4 times and 12 places, .* 4 and 16\. Build the model with the check"):
        from_torch_state_dict(tensors, model)


class Code:
    """Pickled, an order to create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (pathlib.Path.touch, (self.path,))


@pytest.mark.parametrize("protocol", [2, 4])
def test_without_torch_no_pickle_is_opened(tmp_path, monkeypatch, protocol):
    monkeypatch.setitem(sys.modules, "torch", None)
    pickled = pickle.dumps({"model_state": Code(tmp_path / "ran")}, protocol)
    (tmp_path / "bare.pyth").write_bytes(pickled)
    with zipfile.ZipFile(tmp_path / "zipped.pyth", "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    for name in ("bare.pyth", "zipped.pyth"):
        assert "needs torch" in refusal(tmp_path / name, "timesformer")
    assert not (tmp_path / "ran").exists()


def test_npz_with_code_in_it(tmp_path):
    np.savez(tmp_path / "x.npz", code=np.asarray([Code(tmp_path / "ran")], dtype=object))
    assert "the entry `code` cannot be read" in refusal(tmp_path / "x.npz", "videomae")
    assert not (tmp_path / "ran").exists()
