"""Reads pickled numpy arrays and PyTorch tensors without running the file, without PyTorch, and without unpickling."""

import io
import os
import re
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import ml_dtypes
import numpy as np
from etils import epath

from jax_vtm.errors import UserError
from jax_vtm.evaluation.saved.safe_pickle import Buildable, RefusedPickle, load

# The first value of a file that `torch.save` wrote before PyTorch 1.6, or of a tensor in a plain pickle.
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C

_STORAGES = {
    "Float": np.float32,
    "Double": np.float64,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Byte": np.uint8,
    "Char": np.int8,
    "Short": np.int16,
    "Int": np.int32,
    "Long": np.int64,
    "Bool": np.bool_,
}


def read_pickled_arrays(path: str | os.PathLike[str]) -> Any:
    """Reads a file that `pickle.dump` or `torch.save` wrote.

    Args:
        path: The file. What it contains is not run: names in it are looked up in a short table of ours.

    Returns:
        What was saved, of numbers, text, lists, tuples and dicts, with arrays and tensors as numpy arrays. bfloat16 is
        widened to float32, which loses nothing.

    Raises:
        UserError: The file cannot be read, is damaged, or asks for anything but arrays and tensors; then the message
            says for what.
    """
    try:
        with epath.Path(path).open("rb") as file:
            return _finished(_read(file))
    except RefusedPickle as refused:
        raise UserError(
            f"{path}: refused, because the file asks for {refused}, which may run code. Numpy arrays, PyTorch tensors, "
            "and lists, tuples and dicts of them are read; save it as these, or as .npz."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # whatever a damaged file leads to
        raise UserError(f"{path}: is no pickle of arrays, or is damaged ({type(error).__name__}: {error})") from error


def _read(file: IO[bytes]) -> Any:
    start = file.read(4)
    file.seek(0)
    if start == b"PK\x03\x04":
        return _read_torch_zip(file)
    first = load(file, _KNOWN)
    if first != _TORCH_MAGIC:
        return first
    return _read_torch_stream(file)


class _Array(Buildable):
    """An array, perhaps still to be filled."""

    def __init__(self, array: np.ndarray | None = None):
        self.array = array

    def build(self, state: Any) -> None:
        _, shape, dtype, in_columns, content = state
        self.array = _from_bytes(content, dtype, shape, "F" if in_columns else "C")


class _DType(Buildable):
    """A numeric type, or one of text or bytes."""

    def __init__(self, code: str, *_):
        if not re.fullmatch(r"[<>=|]?([biuf][1248]|[US]\d{1,6})", code):
            raise RefusedPickle(f"numpy.dtype({code!r})")
        self.dtype = np.dtype(code)

    def build(self, state: Any) -> None:
        order = state[1]
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


def _from_bytes(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(content, bytes | bytearray) or not isinstance(dtype, _DType):
        raise RefusedPickle("an array of Python objects")
    if order not in ("C", "F"):
        raise ValueError(f"the order {order!r}")
    return np.frombuffer(bytes(content), dtype.dtype).reshape(_integers(shape), order=order)


def _scalar(dtype: Any, content: Any) -> Any:
    return _from_bytes(content, dtype, (), "C")[()]


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise RefusedPickle(f"the encoding {encoding!r}")
    return text.encode("latin1")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_) -> _Array:
    """A tensor as a view of its storage, which is perhaps filled only later."""
    if not isinstance(storage, _Array) or storage.array is None:
        raise ValueError("a tensor without a storage")
    size, stride = _integers(size), _integers(stride)
    (offset,) = _integers((offset,))
    whole = storage.array
    if len(size) != len(stride):
        raise ValueError(f"{len(size)} sizes and {len(stride)} strides")
    if 0 in size:
        return _Array(np.zeros(size, whole.dtype))
    if offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) >= len(whole):
        raise ValueError("a tensor beyond the end of its storage")
    strides = [step * whole.itemsize for step in stride]
    return _Array(np.lib.stride_tricks.as_strided(whole[offset:], size, strides, writeable=False))


def _integers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or any(type(value) is not int or value < 0 for value in values):
        raise ValueError(f"expected whole numbers from 0, found {values!r}")
    return tuple(values)


def _storage_in_bytes(content: Any) -> Any:
    """The storage of a tensor in a plain pickle, which is a whole file of its own."""
    file = io.BytesIO(content)
    if load(file, {}) != _TORCH_MAGIC:
        raise ValueError("a storage that is not PyTorch's")
    return _read_torch_stream(file)


def _read_torch_stream(file: IO[bytes]) -> Any:
    """Reads on behind the magic number: a protocol, facts about the machine, the object, and its storages' content."""
    load(file, {})
    machine = load(file, {})
    if not machine.get("little_endian", True):
        raise ValueError("it was written on a big-endian machine")
    room = _bytes_left(file)
    storages: dict[str, _Array] = {}

    def persistent(identity: Any) -> _Array:
        dtype, key, count = _storage_facts(identity)
        if count * dtype.itemsize > room:
            raise ValueError("a storage larger than the file")
        return storages.setdefault(key, _Array(np.zeros(count, dtype)))

    content = load(file, _KNOWN, persistent)
    for key in load(file, {}):
        whole = storages[key].array
        assert whole is not None  # `persistent` gave it one
        (count,) = struct.unpack("<q", file.read(8))
        if count != len(whole):
            raise ValueError(f"a storage of {count} values, expected {len(whole)}")
        whole[:] = np.frombuffer(file.read(count * whole.itemsize), whole.dtype)
    return content


def _read_torch_zip(file: IO[bytes]) -> Any:
    """Reads what `torch.save` writes since PyTorch 1.6: an archive of a pickle and a file for each storage."""
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("a zip archive that PyTorch did not write")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")
        storages: dict[str, _Array] = {}

        def persistent(identity: Any) -> _Array:
            dtype, key, count = _storage_facts(identity)
            if key not in storages:
                content = archive.read(f"{folder}data/{key}")[: count * dtype.itemsize]
                storages[key] = _Array(np.frombuffer(content, dtype, count))
            return storages[key]

        return load(io.BytesIO(archive.read(pickles[0])), _KNOWN, persistent)


def _storage_facts(identity: Any) -> tuple[np.dtype, str, int]:
    """Numeric type, key and number of values of a storage."""
    kind, dtype, key, _, count = identity[:5]
    if kind != "storage":
        raise RefusedPickle(f"the persistent id {kind!r}")
    _integers((count,))
    if not isinstance(key, str):
        raise ValueError(f"the storage's key is {key!r}")
    return np.dtype(_STORAGES[dtype]), key, count


def _bytes_left(file: IO[bytes]) -> int:
    place = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(place)
    return end - place


def _finished(value: Any) -> Any:
    """Replaces every array by numpy's, of its own memory."""
    if isinstance(value, _Array):
        if value.array is None:
            raise ValueError("an array without content")
        array = np.array(value.array)
        return array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array
    if isinstance(value, Buildable):
        raise RefusedPickle("a type as a value")
    if isinstance(value, Mapping):
        return {key: _finished(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_finished(one) for one in value)
    return value


def _dictionary(pairs: Sequence[Any] = ()) -> dict[Any, Any]:
    return dict(pairs)


_KNOWN: dict[str, Callable[..., Any] | str] = {
    "collections OrderedDict": _dictionary,
    # Bytes, and none of them, as protocols before 3 have them.
    "_codecs encode": _encode,
    "__builtin__ bytes": lambda: b"",
    "numpy ndarray": "ndarray",
    "numpy dtype": _DType,
    # The package was renamed in numpy 2.
    **{f"numpy.{core}.multiarray _reconstruct": lambda *_: _Array() for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray scalar": _scalar for core in ("core", "_core")},
    **{
        f"numpy.{core}.numeric _frombuffer": lambda content, dtype, shape, order: _Array(
            _from_bytes(content, dtype, shape, order)
        )
        for core in ("core", "_core")
    },
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda tensor, *_: tensor,
    "torch.storage _load_from_bytes": _storage_in_bytes,
    **{f"torch {kind}Storage": kind for kind in _STORAGES},
}
