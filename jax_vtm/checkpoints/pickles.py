"""Reads files of `torch.save` and `pickle.dump`, without PyTorch and without running code of the file.

A pickle may call any function that it names. `find_class` of the Unpickler returns only functions of ours, or an object
of the caller's choice, and imports nothing.
"""

import functools
import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import IO, Any

import ml_dtypes
import numpy as np

from jax_vtm.checkpoints.stored import Stored

# First value of a file of PyTorch before 1.6, or of a tensor in a plain pickle.
_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPE = re.compile(r"torch\.(?:storage\.|cuda\.)?(\w+Storage|(?:bool|bfloat|float|complex|q?u?int|bits)\w*)")
_STORAGES = {
    "Float": np.float32,
    "Double": np.float64,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "ComplexFloat": np.complex64,
    "ComplexDouble": np.complex128,
    "Byte": np.uint8,
    "Char": np.int8,
    "Short": np.int16,
    "Int": np.int32,
    "Long": np.int64,
    "Bool": np.bool_,
    "QInt8": np.int8,
    "QUInt8": np.uint8,
    "QInt32": np.int32,
    "Untyped": np.uint8,
}


class RefusedPickle(pickle.UnpicklingError):
    """The pickle asks for something that is not allowed, which the message names."""


class Unchangeable:
    """Base of the objects that a pickle gets, whose attributes it may not set."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise RefusedPickle(f"a change of a {type(self).__name__.lstrip('_').lower()}")


class _Function(Unchangeable):
    """A function that a pickle may call, without setting its attributes."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


class _Storage(Unchangeable):
    """The values of one or several tensors; `read` returns their bytes."""

    __slots__ = ("count", "dtype", "read")

    def __init__(self, dtype: Any, count: int, read: Callable[[], bytes]):
        self.dtype, self.count, self.read = np.dtype(dtype), count, read


class Tensor(Unchangeable, Stored):
    """A tensor that is read when it is needed."""


class _Dict(dict):
    """A dict without attributes, such as a state dict's `_metadata`."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Ignores attributes."""


def read_pickle(file: IO[bytes], functions: Mapping[str, Callable[..., Any]], other: Callable[[str], Any]) -> Any:
    """Reads a file of `torch.save` or `pickle.dump`; tensors are `Stored`, and read when they are needed.

    Args:
        file: A seekable file.
        functions: Functions that may be called, by name, besides those that make tensors.
        other: Returns the object for any other name, or raises RefusedPickle.

    Raises:
        Exception: Any, if the file is damaged.
    """
    allowed = _TENSORS | dict(functions)
    allowed["torch.storage._load_from_bytes"] = lambda content: read_pickle(io.BytesIO(content), functions, other)

    def find(name: str) -> Any:
        if match := _DTYPE.fullmatch(name):
            return match[1]
        return _Function(allowed[name]) if name in allowed else other(name)

    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if file.read(4) == b"PK\x03\x04":
        return _read_archive(file, size, find)
    file.seek(0)
    first = _load(file, find)
    return _read_stream(file, size, find) if isinstance(first, int) and first == _MAGIC else first


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, find: Callable[[str], Any], storage: Callable[[Any], _Storage]):
        super().__init__(io.BytesIO(content))
        self._find, self._storage = find, storage

    def find_class(self, module: str, name: str) -> Any:
        return self._find(f"{'builtins' if module == '__builtin__' else module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        return self._storage(pid)


def _no_storage(identity: Any) -> _Storage:
    raise RefusedPickle("a persistent id")


def _load(file: IO[bytes], find: Callable[[str], Any], storage: Callable[[Any], _Storage] = _no_storage) -> Any:
    """Reads one pickle, after pickletools has checked its size: the Unpickler allocates whatever a pickle announces."""
    start = file.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > count:
            raise ValueError(f"value {argument} of the memo, which has {count} at most")
    end = file.tell()
    file.seek(start)
    return _Unpickler(file.read(end - start), find, storage).load()


def _read_archive(file: IO[bytes], size: int, find: Callable[[str], Any]) -> Any:
    """Reads the format since PyTorch 1.6: a zip archive of a pickle and a file for each storage, with checksums."""
    archive = zipfile.ZipFile(file)
    members = archive.infolist()
    if sum(member.file_size for member in members) > size:
        raise ValueError("its entries are compressed, which PyTorch never does; save it anew with torch.save")
    if not any(member.CRC for member in members):  # torch.serialization.set_crc32_options(False)
        for member in members:
            member.CRC = None  # pyright: ignore[reportAttributeAccessIssue]
    names = set(archive.namelist())
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("a zip archive that PyTorch did not write")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
        raise ValueError("it was written on a big-endian machine")
    read = functools.cache(lambda key: archive.read(f"{folder}data/{key}"))

    def storage(identity: Any) -> _Storage:
        dtype, key, count = _storage_facts(identity)
        return _Storage(dtype, count, lambda: read(key))

    return _load(io.BytesIO(archive.read(pickles[0])), find, storage)


def _read_stream(file: IO[bytes], size: int, find: Callable[[str], Any]) -> Any:
    """Reads the older format after its magic number: protocol, facts about the machine, object, content of storages."""
    _load(file, find)
    if not _load(file, find).get("little_endian", True):
        raise ValueError("it was written on a big-endian machine")
    storages: dict[str, _Storage] = {}
    places: dict[str, int] = {}

    def read(key: str) -> bytes:
        file.seek(places[key])
        return file.read(storages[key].count * storages[key].dtype.itemsize)

    def storage(identity: Any) -> _Storage:
        dtype, key, count = _storage_facts(identity)
        return storages.setdefault(key, _Storage(dtype, count, functools.cache(lambda: read(key))))

    content = _load(file, find, storage)
    for key in _load(file, find):
        count = int.from_bytes(file.read(8), "little")
        if count != storages[key].count:
            raise ValueError(f"a storage of {count} values, expected {storages[key].count}")
        places[key] = file.tell()
        if file.seek(count * storages[key].dtype.itemsize, io.SEEK_CUR) > size:
            raise ValueError("storages larger than the file")
    return content


def _storage_facts(identity: Any) -> tuple[Any, str, int]:
    """Returns dtype, key and number of values of a storage."""
    kind, dtype, key, _, count, *view = identity
    name = str(dtype).removesuffix("Storage")
    if kind != "storage" or name not in _STORAGES or any(view):
        raise RefusedPickle(f"the persistent id {kind!r} of {dtype!r}")
    if not isinstance(key, str):
        raise ValueError(f"the storage's key is {key!r}")
    return _STORAGES[name], key, whole_numbers((count,))[0]


def whole_numbers(values: Any) -> tuple[int, ...]:
    """Checks the shape in a pickle; raises ValueError if it is none."""
    if not isinstance(values, list | tuple) or any(type(value) is not int or value < 0 for value in values):
        raise ValueError(f"expected whole numbers from 0, found {values!r}")
    return tuple(values)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Stored:
    """Makes a view of a storage; the last of `rest` may say that the values are negated."""
    size, stride, (offset,) = whole_numbers(size), whole_numbers(stride), whole_numbers((offset,))
    if not isinstance(storage, _Storage) or len(size) != len(stride):
        raise ValueError(f"a tensor of {len(size)} sizes and {len(stride)} strides, with {type(storage).__name__}")
    reach = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if 0 not in size and reach >= storage.count:
        raise ValueError("a tensor beyond the end of its storage")
    metadata = rest[-1] if rest and type(rest[-1]) is dict else {}

    def read() -> np.ndarray:
        if 0 in size:
            return np.zeros(size, storage.dtype)
        values = np.frombuffer(storage.read(), storage.dtype, storage.count)[offset:]
        steps = [step * storage.dtype.itemsize for step in stride]
        values = np.lib.stride_tricks.as_strided(values, size, steps, writeable=False)
        return -values if metadata.get("neg") else values

    return Tensor(size, storage.dtype, read)


def _other_tensor(what: str) -> Callable[..., Stored]:
    return lambda *_: Tensor(what=what)


def _encode(text: str, encoding: str) -> bytes:
    """Makes bytes in protocols before 3."""
    if encoding != "latin1":
        raise RefusedPickle(f"the encoding {encoding!r}")
    return text.encode("latin1")


_TENSORS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _Dict,
    "_codecs.encode": _encode,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    # Types without a storage class, which no model here has.
    "torch._utils._rebuild_tensor_v3": lambda *facts: Tensor(what=f"a tensor of {facts[6]}"),
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch._tensor._rebuild_from_type_v2": lambda function, _, arguments, *__: function(*arguments),
    "torch._utils._rebuild_sparse_tensor": _other_tensor("a sparse tensor"),
    "torch._utils._rebuild_nested_tensor": _other_tensor("a nested tensor"),
    "torch._utils._rebuild_qtensor": _other_tensor("a quantised tensor"),
    "torch._utils._rebuild_meta_tensor_no_storage": _other_tensor("a tensor without values"),
    "torch._utils._rebuild_wrapper_subclass": _other_tensor("a tensor of a class of its own"),
}
