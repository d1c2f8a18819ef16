"""Reads what `pickle.dump` and `torch.save` write, as far as it is arrays and plain data; PyTorch is not needed.

A pickle is a program that may call whatever it names. The standard Unpickler asks `find_class` for every name; here
that is a short list of functions of our own, and any other name ends the reading. The functions are ours because
PyTorch may not be there, and because numpy's own trust what a pickle tells them.
"""

import io
import math
import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable
from typing import IO, Any

import ml_dtypes
import numpy as np
from etils import epath

from jax_vtm.errors import UserError
from jax_vtm.regular_file import check_regular_file

# Predictions are a few hundred MB at most, also those of 170,000 videos and 1,000 classes.
LARGEST_FILE = 2**30

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


class RefusedPickle(pickle.UnpicklingError):
    """The pickle asks for something that is not allowed; the message says for what."""


def read_pickled_arrays(path: str | os.PathLike[str]) -> Any:
    """Reads a file that `pickle.dump` or `torch.save` wrote, without running it.

    Returns:
        What was saved, of numbers, text, lists, tuples, sets and dicts, with arrays and tensors as numpy arrays (see
        `plain`). An array of Python strings becomes one of numpy's.

    Raises:
        UserError: The file cannot be read, is damaged or too large, or asks for anything but arrays and tensors; then
            the message says for what.
    """
    check_regular_file(path)
    try:
        with epath.Path(path).open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ValueError(f"more than {LARGEST_FILE >> 30} GiB; save it as .npz")
        return _read(content)
    except RefusedPickle as refused:
        raise UserError(
            f"{path}: refused, because the file asks for {refused}, which may run code. Numpy arrays, PyTorch tensors, "
            "and lists, tuples and dicts of them are read; save it as these, or as .npz."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # whatever a damaged file leads to
        raise UserError(f"{path}: is no pickle of arrays, or is damaged ({type(error).__name__}: {error})") from error


def plain(value: Any) -> Any:
    """Makes numpy's own of an array that was read, and float32 of bfloat16; leaves any other value as it is."""
    if not isinstance(value, np.ndarray):
        return value
    return np.asarray(value, np.float32 if value.dtype == ml_dtypes.bfloat16 else None)


def _read(content: bytes) -> Any:
    if content.startswith(b"PK\x03\x04"):
        return _read_torch_zip(io.BytesIO(content))
    file = io.BytesIO(content)
    first = _load(file)
    return _read_torch_stream(file) if isinstance(first, int) and first == _TORCH_MAGIC else first


def _load(file: IO[bytes], persistent: Callable[[Any], Any] | None = None) -> Any:
    """Reads one pickle, and leaves the file behind its end.

    The Unpickler makes room for as many bytes or memorised values as a pickle announces. So it is given only what
    pickletools has found to be there.
    """
    start = file.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > count:
            raise ValueError(f"the value {argument} is memorised where there are {count} at most")
    end = file.tell()
    file.seek(start)
    return _Unpickler(io.BytesIO(file.read(end - start)), persistent).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], persistent: Callable[[Any], Any] | None):
        super().__init__(file)
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> Any:
        """Looks up a name of the allow-list."""
        if (found := _ALLOWED.get(f"{module}.{name}")) is None:
            raise RefusedPickle(f"{module}.{name}")
        return found if isinstance(found, str) else _Function(found)

    def persistent_load(self, pid: Any) -> Any:
        """Finds a storage of a tensor."""
        if self._persistent is None:
            raise RefusedPickle("a persistent id")
        return self._persistent(pid)


class _Function:
    """A function that a pickle may call but not change, as it could set a bare function's attributes."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise RefusedPickle("a change of a function")


class _Array(np.ndarray):
    """An array whose content a pickle may say afterwards, once."""

    def __setstate__(self, state: Any) -> None:
        if self.shape != (0,):
            raise RefusedPickle("a change of an array")
        _, shape, dtype, in_columns, content = state
        array = _from_bytes(content, dtype, shape, "F" if in_columns else "C")
        checked: Any = (1, array.shape, array.dtype, bool(in_columns), array.tobytes("A"))
        super().__setstate__(checked)


class _DType:
    """A numeric type, or one of text, bytes or Python objects."""

    __slots__ = ("dtype",)

    def __init__(self, code: str, *_: Any):
        if not re.fullmatch(r"[<>=|]?([biuf][1248]|[US]\d{1,6}|O8?)", code):
            raise RefusedPickle(f"numpy.dtype({code!r})")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


def _from_bytes(content: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    if not isinstance(dtype, _DType) or order not in ("C", "F"):
        raise ValueError(f"an array of type {dtype!r} and order {order!r}")
    if dtype.dtype.hasobject:
        # Pandas keeps text so. No array of objects is made, since nothing else is wanted of one.
        if not isinstance(content, list) or not all(isinstance(one, str) for one in content):
            raise RefusedPickle("an array of Python objects")
        array = np.array(content, str)
    elif isinstance(content, bytes | bytearray):
        array = np.frombuffer(bytes(content), dtype.dtype)
    else:
        raise ValueError("an array without bytes")
    return array.reshape(_integers(shape), order=order).view(_Array)


def _scalar(dtype: Any, content: Any) -> Any:
    return _from_bytes(content, dtype, ())[()]


def _encode(text: str, encoding: str) -> bytes:
    """Makes bytes, which protocols before 3 do not have."""
    if encoding != "latin1":
        raise RefusedPickle(f"the encoding {encoding!r}")
    return text.encode("latin1")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """Makes a tensor that is a view of its storage, which is perhaps filled only later."""
    if not isinstance(storage, _Array) or storage.ndim != 1:
        raise ValueError("a tensor without a storage")
    size, stride = _integers(size), _integers(stride)
    (offset,) = _integers((offset,))
    if len(size) != len(stride):
        raise ValueError(f"{len(size)} sizes and {len(stride)} strides")
    if 0 in size:
        return np.zeros(size, storage.dtype).view(_Array)
    if offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) >= len(storage):
        raise ValueError("a tensor beyond the end of its storage")
    if math.prod(size) > len(storage):
        raise ValueError("a tensor of more values than its storage has")
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False).view(_Array)


def _integers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or any(type(value) is not int or value < 0 for value in values):
        raise ValueError(f"expected whole numbers from 0, found {values!r}")
    return tuple(values)


def _storage_in_bytes(content: Any) -> Any:
    """Reads the storage of a tensor in a plain pickle, which is a whole file of its own."""
    file = io.BytesIO(content)
    if _load(file) != _TORCH_MAGIC:
        raise ValueError("a storage that is not PyTorch's")
    return _read_torch_stream(file)


def _read_torch_stream(file: IO[bytes]) -> Any:
    """Reads on behind the magic number: a protocol, facts about the machine, the object, and its storages' content."""
    _load(file)
    if not _load(file).get("little_endian", True):
        raise ValueError("it was written on a big-endian machine")
    room = len(file.read())
    file.seek(-room, io.SEEK_CUR)
    storages: dict[str, _Array] = {}

    def persistent(identity: Any) -> _Array:
        dtype, key, count = _storage_facts(identity)
        if key not in storages:
            if sum(storage.nbytes for storage in storages.values()) + count * dtype.itemsize > room:
                raise ValueError("storages larger than the file")
            storages[key] = np.zeros(count, dtype).view(_Array)
        return storages[key]

    content = _load(file, persistent)
    for key in _load(file):
        count = int.from_bytes(file.read(8), "little")
        if count != len(storages[key]):
            raise ValueError(f"a storage of {count} values, expected {len(storages[key])}")
        storages[key][:] = np.frombuffer(file.read(storages[key].nbytes), storages[key].dtype)
    return content


def _read_torch_zip(file: IO[bytes]) -> Any:
    """Reads what `torch.save` writes since PyTorch 1.6: an archive of a pickle and a file for each storage."""
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > LARGEST_FILE:
            raise ValueError(f"unpacked, it has more than {LARGEST_FILE >> 30} GiB")
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
                storages[key] = np.frombuffer(content, dtype, count).view(_Array)
            return storages[key]

        return _load(io.BytesIO(archive.read(pickles[0])), persistent)


def _storage_facts(identity: Any) -> tuple[np.dtype, str, int]:
    """Numeric type, key and number of values of a storage."""
    kind, dtype, key, _, count = identity[:5]
    if kind != "storage":
        raise RefusedPickle(f"the persistent id {kind!r}")
    _integers((count,))
    if not isinstance(key, str):
        raise ValueError(f"the storage's key is {key!r}")
    return np.dtype(_STORAGES[dtype]), key, count


_ALLOWED: dict[str, Callable[..., Any] | str] = {
    # Not the class itself, which would take attributes from a pickle.
    "collections.OrderedDict": dict,
    "_codecs.encode": _encode,
    "__builtin__.bytes": lambda: b"",
    "numpy.ndarray": "ndarray",
    "numpy.dtype": _DType,
    # The package was renamed in numpy 2.
    **{f"numpy.{core}.multiarray._reconstruct": lambda *_: np.zeros(0, "b").view(_Array) for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_bytes for core in ("core", "_core")},
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch.storage._load_from_bytes": _storage_in_bytes,
    **{f"torch.{kind}Storage": kind for kind in _STORAGES},
}
