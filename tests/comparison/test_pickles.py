import io
import os
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import pytest

from jax_vtm.comparison.pickles import read_pickled_arrays
from jax_vtm.errors import UserError


@pytest.fixture(scope="module")
def recorded(golden):
    """Files that PyTorch 2.13 wrote, by `pickle.dump` and by `torch.save`, and what is in them."""
    folder = golden / "torch" / "saved_results"
    return folder, dict(np.load(folder / "expected.npz"))


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        *((name, "") for name in ("pickle_dump.pkl", "torch_save.pt", "torch_save_legacy.pt")),
        *((name, "kinds/") for name in ("kinds.pkl", "kinds.pt")),
    ],
)
def test_tensors_of_every_kind_are_read_without_torch(recorded, name, prefix):
    folder, expected = recorded
    found = read_pickled_arrays(folder / name)
    found = found if prefix else dict(zip(("preds", "labels"), found, strict=True))
    assert not prefix or len(found) == sum(key.startswith(prefix) for key in expected)
    for key, array in found.items():
        np.testing.assert_array_equal(array, expected[f"{prefix}{key}"])
        assert array.dtype == expected[f"{prefix}{key}"].dtype


ARRAYS = [
    np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4),
    np.arange(3),
    np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    np.float64(3.5),
    np.array(["a", "bcd"]),
    np.arange(4).astype(">i4"),
    np.array(2.0, np.float16),
    np.zeros((0, 5)),
]


def test_old_files_from_a_gpu_are_read(recorded, tmp_path):
    content = (recorded[0] / "torch_save_legacy.pt").read_bytes()
    assert content.count(b"ctorch\nFloatStorage") == 1
    (tmp_path / "x.pt").write_bytes(content.replace(b"ctorch\nFloatStorage", b"ctorch.cuda\nFloatStorage"))
    np.testing.assert_array_equal(read_pickled_arrays(tmp_path / "x.pt")[0], recorded[1]["preds"])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numpy_arrays_of_every_protocol(tmp_path, protocol):
    path = tmp_path / "arrays.pkl"
    path.write_bytes(pickle.dumps({"arrays": ARRAYS, "pair": (1, "x")}, protocol=protocol))
    found = read_pickled_arrays(path)
    assert found["pair"] == (1, "x")
    for array, expected in zip(found["arrays"], ARRAYS, strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
    # In numpy 1 the module goes by an older name.
    content = pickle.dumps(ARRAYS[0], protocol=2)
    assert b"numpy._core.multiarray" in content
    path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    np.testing.assert_array_equal(read_pickled_arrays(path), ARRAYS[0])


class Tampered:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_refused_by_name_and_not_run(tmp_path, protocol):
    path, trace = tmp_path / "tampered.pkl", tmp_path / "it ran"
    content = pickle.dumps([ARRAYS[0], Tampered(trace)], protocol=protocol)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"tampered\.pkl: refused, because the file asks for posix\.mkdir"):
        read_pickled_arrays(path)
    assert not trace.exists()
    # So that the test can fail: it is the reader that keeps it from running.
    pickle.loads(content)
    assert trace.exists()


def test_code_behind_a_torch_tensor_is_refused(recorded, tmp_path):
    trace = tmp_path / "it ran"
    inner = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, Tampered(trace)):
        inner.write(pickle.dumps(value, protocol=2))

    class Storage:
        def __reduce__(self):
            return (_load_from_bytes, (inner.getvalue(),))

    path = tmp_path / "tampered.pkl"
    content = pickle.dumps(Storage(), protocol=2)
    path.write_bytes(content.replace(f"c{__name__}\n_load_from_bytes".encode(), b"ctorch.storage\n_load_from_bytes"))
    assert b"torch.storage" in path.read_bytes()
    with pytest.raises(UserError, match=r"asks for posix\.mkdir"):
        read_pickled_arrays(path)

    folder, _ = recorded
    with zipfile.ZipFile(folder / "torch_save.pt") as source, zipfile.ZipFile(tmp_path / "tampered.pt", "w") as target:
        for name in source.namelist():
            content = pickle.dumps(Tampered(trace), 2) if name.endswith("data.pkl") else source.read(name)
            target.writestr(name, content)
    with pytest.raises(UserError, match=r"tampered\.pt: refused, because the file asks for posix\.mkdir"):
        read_pickled_arrays(tmp_path / "tampered.pt")
    assert not trace.exists()


def _load_from_bytes(content):
    raise AssertionError("never called")


def reading(tmp_path, content: bytes) -> str:
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        read_pickled_arrays(path)
    return str(raised.value)


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        (pickle.dumps(print), "builtins.print"),
        (pickle.dumps(np.array([None, "a"], object)), "an array of Python objects"),
        (pickle.dumps(pathlib.PurePosixPath("a")), "pathlib.PurePosixPath"),
        # A change of a function; a class of a method; an identity; what fits no list.
        (b"cnumpy\ndtype\n}b.", "a change of a function"),
        (b"cnumpy\ncore.multiarray\n.", "numpy.core.multiarray"),
        (b"I1\nQ.", "a persistent id"),
        (b"\x80\x02cos\nsystem\nq\x00(X\x02\x00\x00\x00lsoq\x01.", "os.system"),
    ],
)
def test_what_is_no_array_is_refused(tmp_path, content, asked):
    assert f"refused, because the file asks for {asked}" in reading(tmp_path, content)


@pytest.mark.parametrize("length", [0, 3, 60, 200, 700])
def test_a_file_that_is_cut_short_is_called_damaged(recorded, tmp_path, length):
    folder, _ = recorded
    for name in ("pickle_dump.pkl", "torch_save.pt", "torch_save_legacy.pt"):
        content = (folder / name).read_bytes()
        if length < len(content) - 1:
            assert "is no pickle of arrays, or is damaged" in reading(tmp_path, content[:length])


def test_tensors_and_storages_are_not_larger_than_the_file(recorded, tmp_path):
    folder, _ = recorded
    content = (folder / "torch_save_legacy.pt").read_bytes()
    # The sizes (6, 4) of the first tensor; seven rows would reach behind its 24 values.
    sizes, negative = b"K\x06K\x04\x86", b"J" + struct.pack("<i", -6) + b"K\x04\x86"
    assert content.count(sizes) == 1
    assert "beyond the end of its storage" in reading(tmp_path, content.replace(sizes, b"K\x07K\x04\x86"))
    assert "expected whole numbers from 0" in reading(tmp_path, content.replace(sizes, negative))
    grown = content.replace(b"K\x18", b"J" + struct.pack("<i", 2**31 - 1), 1)
    assert "a storage of 24 values, expected 2147483647" in reading(tmp_path, grown)
    grown = grown.replace(struct.pack("<q", 24), struct.pack("<q", 2**31 - 1), 1)
    assert "storages larger than the file" in reading(tmp_path, grown)
