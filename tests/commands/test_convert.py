import errno
import hashlib
import json
import os
import pathlib

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.checkpoints import CheckpointError, checkpoint_digest, from_torch_state_dict, load_checkpoint
from jax_vtm.commands import convert, evaluate
from jax_vtm.config import default_config, load_config
from jax_vtm.data import write_h264
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build
from jax_vtm.merging import no_reduction

DIGITS = pathlib.Path(__file__).parents[2] / "configs" / "moving_digits.py"
TORCH = pathlib.Path(__file__).parents[1] / "golden" / "torch"
PRESETS = {
    "vivit": "vivit_b_16x2",
    "timesformer": "timesformer_b_8",
    "motionformer": "motionformer_b_16",
    "videomae": "videomae_b_16",
}


def released(kind):
    """The tensors of a small model under the names of its released files."""
    with np.load(TORCH / f"model_{kind}.npz") as file:
        return {name.removeprefix("param/"): file[name] for name in file.files if name.startswith("param/")}


def config_of(kind):
    """A config of that small model."""
    size = json.loads((TORCH / "manifest.json").read_text())["models"][kind]["config"]
    config = default_config(kind)
    config.compilation_cache = ""
    config.model = {
        "name": PRESETS[kind],
        "dtype": "float32",
        "attention": "auto",
        "num_classes": size["classes"],
        "image_size": size["image"],
        "num_frames": size["frames"],
        "patch_size": (size["tubelet"], size["patch"], size["patch"]),
        "hidden_size": size["dim"],
        "num_heads": size["heads"],
        "num_layers": size["depth"],
        "mlp_dim": size["dim"] * size["mlp_ratio"],
    }
    return config


def write_safetensors(folder, tensors):
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / "in.safetensors")
    return folder / "in.safetensors"


def write_npz(folder, tensors):
    np.savez(folder / "in.npz", **tensors)
    return folder / "in.npz"


def write_index(folder, tensors):
    homes = {name: f"part-{place % 2}.safetensors" for place, name in enumerate(sorted(tensors))}
    for home in set(homes.values()):
        part = {name: np.ascontiguousarray(tensors[name]) for name in tensors if homes[name] == home}
        save_file(part, folder / home)
    (folder / "in.index.json").write_text(json.dumps({"weight_map": homes}))
    return folder / "in.index.json"


def write_torch(folder, tensors):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()}
    torch.save(state, folder / "in.pth")
    return folder / "in.pth"


def digests(written):
    """What the file beside a converted checkpoint says, and what is so."""
    digest, name = (written.parent / "checkpoint.sha256").read_text().split()
    assert name == written.name
    return digest, hashlib.sha256(written.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "write", [write_safetensors, write_npz, write_index, pytest.param(write_torch, marks=pytest.mark.torch)]
)
@pytest.mark.parametrize("kind", PRESETS)
def test_released_files_of_every_kind_become_our_own_form(tmp_path, capsys, kind, write):
    config, tensors = config_of(kind), released(kind)
    config.checkpoint = str(write(tmp_path, tensors))
    assert convert.run(config, tmp_path / "out") == exit_codes.SUCCESS
    written = tmp_path / "out" / "checkpoint"
    stated, found = digests(written)
    assert stated == found == checkpoint_digest(tmp_path / "out")
    assert f"sha256 {found}" in capsys.readouterr().out
    model = build.model(config, no_reduction())
    expected = flatten_dict(from_torch_state_dict(tensors, model)["params"], sep="/")
    converted = flatten_dict(load_checkpoint(written, model)["params"], sep="/")
    assert converted.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(converted[name], value, err_msg=name)


def test_our_own_form_under_tensor_names_becomes_our_own_form(tmp_path):
    config = load_config(DIGITS)
    model = build.model(config, no_reduction())
    original = flatten_dict(load_checkpoint(config.checkpoint, model)["params"], sep="/")
    config.checkpoint = str(write_safetensors(tmp_path, original))
    assert convert.run(config, tmp_path / "out") == exit_codes.SUCCESS
    converted = flatten_dict(load_checkpoint(tmp_path / "out" / "checkpoint", model)["params"], sep="/")
    assert converted.keys() == original.keys()
    for name, value in original.items():
        np.testing.assert_array_equal(converted[name], value, err_msg=name)


@pytest.mark.parametrize("kind", ["timesformer", "videomae"])
def test_evaluate_takes_either_form(tmp_path, kind):
    config = config_of(kind)
    config.checkpoint = str(write_safetensors(tmp_path, released(kind)))
    config.data.path, config.data.short_side = str(tmp_path / "videos"), config.model.image_size
    config.reduction.r = 3
    (tmp_path / "videos").mkdir()
    frames = np.random.default_rng(0).integers(256, size=(9, 32, 40, 3), dtype=np.uint8)
    write_h264(tmp_path / "videos" / "0.mp4", frames)

    def logits(checkpoint, workdir):
        config.checkpoint = str(checkpoint)
        assert evaluate.run(config, workdir) == exit_codes.SUCCESS
        results = json.loads((workdir / "results.json").read_text())
        assert results["model"]["checkpoint_sha256"] == checkpoint_digest(checkpoint)
        with np.load(workdir / "predictions.npz") as saved:
            return {name: saved[name] for name in saved.files if "/logits" in name}

    original = logits(config.checkpoint, tmp_path / "first")
    assert convert.run(config, tmp_path / "converted") == exit_codes.SUCCESS
    again = logits(tmp_path / "converted", tmp_path / "second")
    assert original.keys() == again.keys() != set()
    for name, value in original.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


def test_a_file_that_does_not_fit_is_not_converted(tmp_path):
    config = config_of("videomae")
    config.checkpoint = str(write_safetensors(tmp_path, released("timesformer")))
    with pytest.raises(CheckpointError, match="named as in the files of TimeSformer; the model is VideoMAE"):
        convert.run(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"\x81\xa6params" + b"\x81\xa1a" * 1020 + b"\xc0", b"PK\x03\x04", None])
def test_the_command_line_refuses_crafted_files_in_one_sentence(tmp_path, capsys, content):
    path = tmp_path / "crafted\x1b[31m"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    words = ["convert", f"--workdir={tmp_path / 'out'}", f"--config.checkpoint={path}"]
    assert cli.run(["main.py", *words], DIGITS) == exit_codes.MISTAKE
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}/crafted\\x1b[31m: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_full_leaves_neither_checkpoint_nor_digest(tmp_path, capsys, monkeypatch):
    def full(file_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert cli.run(["main.py", "convert", f"--workdir={tmp_path / 'out'}"], DIGITS) == exit_codes.MISTAKE
    assert "checkpoint: cannot be written: No space left on device" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_without_a_checkpoint_there_is_nothing_to_convert(tmp_path):
    config = load_config(DIGITS)
    config.checkpoint = ""
    with pytest.raises(UserError, match=r"config\.checkpoint is empty"):
        convert.run(config, tmp_path)
