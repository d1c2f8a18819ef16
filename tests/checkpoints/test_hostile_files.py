"""Crafted and damaged files, at the doors: nothing hangs, nothing asks for memory, nothing passes changed."""

import contextlib
import io
import json
import os
import pathlib
import resource
import struct
import zipfile

import msgpack
import numpy as np
import pytest
from flax import serialization
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

import jax_vtm.checkpoints.save
from jax_vtm.checkpoints import CheckpointError, checkpoint_digest, load_checkpoint, read_train_state, save_checkpoint

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
ONE = {"m": {"a": ARRAY}}


@pytest.fixture
def model(tree_model):
    return tree_model(ONE)


def refusal(load) -> str:
    with pytest.raises(CheckpointError) as caught:
        load()
    return str(caught.value)


# Checksums.


def test_every_changed_byte_of_our_own_form_is_noticed(tmp_path, model):
    path = pathlib.Path(save_checkpoint(tmp_path / "checkpoint", ONE, opt_state={"mu": np.ones(3)}))
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        # A change of a key's name leaves no digest; then the weights are what they were.
        with contextlib.suppress(CheckpointError):
            np.testing.assert_array_equal(load_checkpoint(path, model)["params"]["m"]["a"], ARRAY)
            assert serialization.msgpack_restore(path.read_bytes())["opt_state"]["mu"].tolist() == [1, 1, 1]
    path.write_bytes(whole.replace(ARRAY.tobytes(), np.ones(6, np.float32).tobytes()))
    assert "damaged: its content is not what was written" in refusal(lambda: load_checkpoint(path, model))
    assert "damaged" in refusal(lambda: read_train_state(path))


def test_files_of_ours_from_before_the_digest_still_load(tmp_path, model):
    state = {"opt_state": {}, "params": ONE, "global_step": 0, "model_state": {}, "rng": None, "metadata": None}
    (tmp_path / "checkpoint").write_bytes(serialization.msgpack_serialize(state))
    np.testing.assert_array_equal(load_checkpoint(tmp_path, model)["params"]["m"]["a"], ARRAY)


def test_a_digest_beside_a_file_is_compared(tmp_path, model):
    path = tmp_path / "model.safetensors"
    save_file({"m/a": ARRAY}, path)
    beside = tmp_path / "model.safetensors.sha256"
    beside.write_text(f"{checkpoint_digest(path)}  model.safetensors\n")
    load_checkpoint(path, model)
    save_file({"m/a": ARRAY + 1}, path)
    assert "says" in refusal(lambda: load_checkpoint(path, model))
    beside.write_text("")
    assert f"{beside}: holds no SHA-256" in refusal(lambda: load_checkpoint(path, model))
    beside.unlink()
    os.mkfifo(beside)
    assert "named pipe" in refusal(lambda: load_checkpoint(path, model))


def test_a_new_file_is_not_compared_with_the_digest_of_an_old_one(tmp_path, model):
    (tmp_path / "checkpoint.sha256").write_text("0" * 64 + "  checkpoint\n")
    load_checkpoint(save_checkpoint(tmp_path / "checkpoint", ONE), model)


@pytest.mark.torch
@pytest.mark.parametrize("checksums", [True, False])
def test_the_checksums_of_pytorchs_archives_are_compared_where_they_are(tmp_path, model, checksums):
    torch = pytest.importorskip("torch")
    torch.serialization.set_crc32_options(checksums)
    try:
        torch.save({"params/m/a": torch.from_numpy(ARRAY)}, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    np.testing.assert_array_equal(load_checkpoint(tmp_path / "a.pth", model)["params"]["m"]["a"], ARRAY)
    changed = (tmp_path / "a.pth").read_bytes().replace(ARRAY.tobytes(), (ARRAY + 1).tobytes())
    (tmp_path / "a.pth").write_bytes(changed)
    if checksums:
        assert "the checksum of" in refusal(lambda: load_checkpoint(tmp_path / "a.pth", model))
    else:
        np.testing.assert_array_equal(load_checkpoint(tmp_path / "a.pth", model)["params"]["m"]["a"], ARRAY + 1)


# What is no file.


@pytest.mark.parametrize("name", ["checkpoint", "model.safetensors", "checkpoint_7"])
def test_pipes_and_devices_are_refused(tmp_path, model, name):
    os.mkfifo(tmp_path / name)
    for path in (tmp_path / name, tmp_path):
        message = refusal(lambda path=path: load_checkpoint(path, model))
        assert f"{name}: is a named pipe, expected a regular file" in message
        assert "named pipe" in refusal(lambda path=path: checkpoint_digest(path))
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    assert "is a device" in refusal(lambda: load_checkpoint(tmp_path / name, model))


def test_pipes_among_parts_and_in_directories_are_refused(tmp_path, model):
    (tmp_path / "index.json").write_text(json.dumps({"weight_map": {"a": "part.safetensors"}}))
    os.mkfifo(tmp_path / "part.safetensors")
    assert "named pipe" in refusal(lambda: load_checkpoint(tmp_path / "index.json", model))
    (tmp_path / "orbax" / "d").mkdir(parents=True)
    os.mkfifo(tmp_path / "orbax" / "_METADATA")
    assert "named pipe" in refusal(lambda: load_checkpoint(tmp_path / "orbax", model))
    (tmp_path / "orbax" / "_METADATA").unlink()
    (tmp_path / "orbax" / "manifest.ocdbt").touch()
    (tmp_path / "orbax" / "d" / "loop").symlink_to(tmp_path / "orbax")
    os.mkfifo(tmp_path / "orbax" / "d" / "pipe")
    assert "pipe: is a named pipe" in refusal(lambda: load_checkpoint(tmp_path / "orbax", model))


def test_paths_that_no_file_can_have(model):
    for path in ("a\0b", "embedded:\0", "a" * 5000):
        refusal(lambda path=path: load_checkpoint(path, model))


# Headers that ask for memory.


def npy(descr="<f4", shape: object = (2, 3), data=b"", version=b"\1\0") -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def npz(path, *members: tuple[str, bytes]):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def safetensors(path, header: object, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def write_msgpack(path, leaf):
    path.write_bytes(msgpack.packb({"params": {"m": {"a": leaf}}}))
    return path


def array(shape, dtype, data) -> msgpack.ExtType:
    return msgpack.ExtType(1, msgpack.packb((shape, dtype, data)))


def tensor(dtype, shape, offsets):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


BIG = 2**40
CRAFTED = {
    "npz, huge": lambda path: npz(path, ("m/a.npy", npy(shape=(BIG, 3)))),
    "npz, huge for numpy": lambda path: npz(path, ("m/a.npy", npy(shape=(2**62, 2**62)))),
    "npz, negative": lambda path: npz(path, ("m/a.npy", npy(shape=(-2, -3)))),
    "npz, wide type": lambda path: npz(path, ("m/a.npy", npy(descr="|S1000000000"))),
    "npz, text": lambda path: npz(path, ("m/a.npy", npy(descr="<U9", data=bytes(216)))),
    "npz, fields": lambda path: npz(path, ("m/a.npy", npy(descr=[("x", "<f4")], data=bytes(24)))),
    "npz, bad shape": lambda path: npz(path, ("m/a.npy", npy(shape="2, 3"))),
    "npz, half a header": lambda path: npz(path, ("m/a.npy", npy(shape="((((("))),
    "npz, deep header": lambda path: npz(path, ("m/a.npy", npy(shape="(" * 9000))),
    "npz, version 9": lambda path: npz(path, ("m/a.npy", npy(version=b"\x09\0"))),
    "npz, no data": lambda path: npz(path, ("m/a.npy", npy())),
    "npz, more data": lambda path: npz(path, ("m/a.npy", npy(data=bytes(28)))),
    "npz, empty entry": lambda path: npz(path, ("m/a.npy", b"")),
    "npz, bomb": lambda path: npz(path, ("m/a.npy", npy(shape=(2**28, 3), data=bytes(2**24)))),
    "safetensors, zero": lambda path: safetensors(path, {"m/a": tensor("F32", [BIG, 0], [0, 0])}),
    "safetensors, huge": lambda path: safetensors(path, {"m/a": tensor("F32", [BIG, BIG], [0, 4 * BIG * BIG])}),
    "safetensors, negative": lambda path: safetensors(path, {"m/a": tensor("F32", [-2, -3], [0, 24])}, bytes(24)),
    "safetensors, overlap": lambda path: safetensors(
        path, {"m/a": tensor("F32", [2, 3], [0, 24]), "m/b": tensor("F32", [2, 3], [0, 24])}, bytes(24)
    ),
    "safetensors, no entry": lambda path: safetensors(path, {"a": 3}),
    "safetensors, strange shape": lambda path: safetensors(path, {"m/a": tensor("F32", ["2", 3], [0, 24])}, bytes(24)),
    "safetensors, a list": lambda path: safetensors(path, b"{" + b"[" * 99),
    "safetensors, twice": lambda path: safetensors(path, b'{"a":{"dtype":"F32"},"a":{"dtype":"F32"}}'),
    "safetensors, deep": lambda path: safetensors(path, b'{"a":' + b"[" * 99_999),
    "safetensors, float8": lambda path: safetensors(path, {"m/a": tensor("F8_E4M3", [2, 3], [0, 6])}, bytes(6)),
    "safetensors, ESC": lambda path: safetensors(path, {"m/\x1b[31ma": tensor("F32", [1], [0, 4])}, bytes(4)),
    "index, deep": lambda path: path.write_text('{"weight_map": ' + "[" * 99_999) and path,
    "index, strange file": lambda path: path.write_text('{"weight_map": {"a": "b\\u0000"}}') and path,
    "msgpack, deep": lambda path: path.write_bytes(b"\x81\xa6params" + b"\x81\xa1a" * 1020 + b"\xc0") and path,
    "msgpack, deeper": lambda path: path.write_bytes(b"\x81\xa6params" + b"\x81\xa1a" * 9999 + b"\xc0") and path,
    "msgpack, long list": lambda path: path.write_bytes(b"\x81\xa6params\xdd\xff\xff\xff\xff") and path,
    "msgpack, long map": lambda path: path.write_bytes(b"\x81\xa6params\xdf\xff\xff\xff\xff") and path,
    "msgpack, long bytes": lambda path: path.write_bytes(b"\x81\xa6params\xc9\xff\xff\xff\xff\x01") and path,
    "msgpack, long text": lambda path: path.write_bytes(b"\x81\xa6params\xdb\xff\xff\xff\xff") and path,
    **{
        f"msgpack, {name}": lambda path, leaf=leaf: (
            path.write_bytes(msgpack.packb({"params": {"m": {"a": leaf}}})) and path
        )
        for name, leaf in {
            "long inside": msgpack.ExtType(1, b"\xdd\xff\xff\xff\xff"),
            "huge": array((BIG, 3), "float32", bytes(24)),
            "objects": array((2, 3), "object", bytes(48)),
            "strange type": array((2, 3), "finfo", bytes(48)),
            "number as type": array((2, 3), 3, bytes(48)),
            "text as shape": array("x", "float32", bytes(24)),
            "no array": msgpack.ExtType(1, b"\xc0"),
            "chunks": {"__msgpack_chunked_array__": True, "shape": {"0": BIG}, "chunks": {}},
            "float8": array((2, 3), "float8_e4m3fn", bytes(6)),
            "number": 3,
        }.items()
    },
    "msgpack, number as key": lambda path: path.write_bytes(msgpack.packb({"params": {1: 2}})) and path,
    "zip of nothing": lambda path: npz(path),
    "zip, two of one name": lambda path: npz(path, ("m/a.npy", npy(data=bytes(24))), ("m/a.npy", npy(data=bytes(24)))),
}


WHOLE = {
    "npz": lambda path: npz(path, ("m/a.npy", npy(data=ARRAY.tobytes()))),
    "safetensors": lambda path: safetensors(path, {"m/a": tensor("F32", [2, 3], [0, 24])}, ARRAY.tobytes()),
    "msgpack": lambda path: write_msgpack(path, array((2, 3), "float32", ARRAY.tobytes())),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_the_crafted_files_are_made_of_is_right(tmp_path, model, name):
    found = load_checkpoint(WHOLE[name](tmp_path / "file"), model)
    np.testing.assert_array_equal(found["params"]["m"]["a"], ARRAY)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_files_are_refused_in_one_sentence(tmp_path, model, name):
    path, before = CRAFTED[name](tmp_path / "file"), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refusal(lambda: load_checkpoint(path, model))
    assert str(path) in message
    assert "\x1b" not in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_an_encrypted_npz(tmp_path, model):
    np.savez(tmp_path / "a.npz", **{"m/a": ARRAY})
    data = bytearray((tmp_path / "a.npz").read_bytes())
    for start, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(start) + place] |= 1
    (tmp_path / "a.npz").write_bytes(data)
    assert "encrypted" in refusal(lambda: load_checkpoint(tmp_path / "a.npz", model))


@pytest.mark.torch
def test_a_compressed_pytorch_file_is_not_unpacked(tmp_path, model):
    torch = pytest.importorskip("torch")
    stored = io.BytesIO()
    torch.save({"a": torch.zeros(2**20)}, stored)
    with zipfile.ZipFile(stored) as source, zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.namelist():
            target.writestr(member, source.read(member))
    assert "its entries are compressed" in refusal(lambda: load_checkpoint(tmp_path / "a.pth", model))


# Writing.


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(file, node):
        file.write(b"the beginning")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jax_vtm.checkpoints.save, "_write", full)
    message = refusal(lambda: save_checkpoint(tmp_path / "checkpoint", ONE))
    assert "checkpoint: cannot be written: No space left" in message
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refusal(lambda: save_checkpoint(tmp_path / "file" / "checkpoint", ONE))


def test_read_train_state_gives_all_that_was_saved(tmp_path):
    path = save_checkpoint(tmp_path / "checkpoint_3", ONE, step=3, opt_state={"0": {"mu": np.ones(2)}})
    state = read_train_state(path)
    assert state["global_step"] == 3
    assert flatten_dict(state["opt_state"], sep="/")["0/mu"].tolist() == [1, 1]
    np.testing.assert_array_equal(state["params"]["m"]["a"], ARRAY)
    path.write_bytes(path.read_bytes()[:-1])
    assert "truncated" in refusal(lambda: read_train_state(path))
    assert "there is no such file" in refusal(lambda: read_train_state(tmp_path / "none"))
