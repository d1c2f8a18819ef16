"""Crafted and damaged files, at the doors: nothing hangs, nothing asks for memory, nothing passes changed."""

import contextlib
import json
import os
import pathlib
import pickle
import resource
import struct
import zipfile

import msgpack
import numpy as np
import pytest
from checkpoint_cases import TreeModel, refusal, write_safetensors
from flax import serialization

from jax_vtm.checkpoints import CheckpointError, checkpoint_digest, load_checkpoint, read_train_state, save_checkpoint

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
ONE = {"m": {"a": ARRAY}}
MODEL = TreeModel(ONE)


# Checksums.


def test_every_changed_byte_of_our_own_form_is_noticed(tmp_path):
    path = pathlib.Path(save_checkpoint(tmp_path / "checkpoint", ONE, opt_state={"mu": np.ones(3)}))
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        # A change of a key's name leaves no digest; then the weights are what they were.
        with contextlib.suppress(CheckpointError):
            np.testing.assert_array_equal(load_checkpoint(path, MODEL)["params"]["m"]["a"], ARRAY)
            assert serialization.msgpack_restore(path.read_bytes())["opt_state"]["mu"].tolist() == [1, 1, 1]
    path.write_bytes(whole.replace(ARRAY.tobytes(), np.ones(6, np.float32).tobytes()))
    assert "damaged: the SHA-256 of its content is" in refusal(path, MODEL)
    with pytest.raises(CheckpointError, match="damaged"):
        read_train_state(path)


def test_files_of_ours_from_before_the_digest_still_load(tmp_path):
    state = {"opt_state": {}, "params": ONE, "global_step": 0, "model_state": {}, "rng": None, "metadata": None}
    (tmp_path / "checkpoint").write_bytes(serialization.msgpack_serialize(state))
    np.testing.assert_array_equal(load_checkpoint(tmp_path, MODEL)["params"]["m"]["a"], ARRAY)


def test_a_digest_beside_a_file_is_compared(tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"m/a": ARRAY})
    beside = tmp_path / "model.safetensors.sha256"
    beside.write_text(f"{checkpoint_digest(path)}  model.safetensors\n")
    load_checkpoint(path, MODEL)
    write_safetensors(path, {"m/a": ARRAY + 1})
    assert "says" in refusal(path, MODEL)
    beside.write_text("")
    assert f"{beside}: holds no SHA-256" in refusal(path, MODEL)
    beside.unlink()
    os.mkfifo(beside)
    assert "named pipe" in refusal(path, MODEL)
    beside.unlink()
    (tmp_path / "checkpoint.sha256").write_text("0" * 64 + "  checkpoint\n")
    load_checkpoint(save_checkpoint(tmp_path / "checkpoint", ONE), MODEL)  # not compared with the digest of an old one


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
KEYS = pickle.dumps(["0"], 2) + BIG.to_bytes(8, "little")
# What begins a file of PyTorch before 1.6, and a tensor of a storage of 2**40 values.
MAGIC = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
STORAGE = (
    b"\x80\x02}X\x03\x00\x00\x00m/actorch._utils\n_rebuild_tensor\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu\x8a\x06\x00\x00\x00\x00\x00\x01tQK\x00K\x02K\x03\x86K\x03K\x01\x86tRs."
)
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
    "pickle, memo": lambda path: path.write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.") and path,
    "pickle, long bytes": lambda path: path.write_bytes(b"\x80\x05\x8e\xff\xff\xff\xff\xff\x00\x00\x00") and path,
    "pickle, storage": lambda path: path.write_bytes(MAGIC + STORAGE + KEYS) and path,
    "pickle, deep": lambda path: path.write_bytes(b"\x80\x02" + b"]" * 99_999 + b"a" * 99_998 + b".") and path,
    "zip of nothing": lambda path: npz(path),
    "zip, two of one name": lambda path: npz(path, ("m/a.npy", npy(data=bytes(24))), ("m/a.npy", npy(data=bytes(24)))),
}


WHOLE = {
    "npz": lambda path: npz(path, ("m/a.npy", npy(data=ARRAY.tobytes()))),
    "safetensors": lambda path: safetensors(path, {"m/a": tensor("F32", [2, 3], [0, 24])}, ARRAY.tobytes()),
    "msgpack": lambda path: write_msgpack(path, array((2, 3), "float32", ARRAY.tobytes())),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_the_crafted_files_are_made_of_is_right(tmp_path, name):
    found = load_checkpoint(WHOLE[name](tmp_path / "file"), MODEL)
    np.testing.assert_array_equal(found["params"]["m"]["a"], ARRAY)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_files_are_refused_in_one_sentence(tmp_path, name):
    path, before = CRAFTED[name](tmp_path / "file"), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refusal(path, MODEL)
    assert str(path) in message
    assert "\x1b" not in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_an_encrypted_npz(tmp_path):
    np.savez(tmp_path / "a.npz", **{"m/a": ARRAY})
    data = bytearray((tmp_path / "a.npz").read_bytes())
    for start, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(start) + place] |= 1
    (tmp_path / "a.npz").write_bytes(data)
    assert "encrypted" in refusal(tmp_path / "a.npz", MODEL)
