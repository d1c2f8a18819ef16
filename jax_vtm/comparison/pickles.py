"""Reads arrays, tensors and plain data from pickles, without numpy's own functions, which trust the pickle."""

import math
import os
import re
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from jax_vtm.checkpoints.pickles import RefusedPickle, read_pickle, whole_numbers
from jax_vtm.checkpoints.stored import Stored
from jax_vtm.errors import UserError
from jax_vtm.regular_file import check_regular_file

LARGEST_FILE = 2**30  # predictions of 170,000 videos and 1,000 classes are a few hundred MB


def read_pickled_arrays(path: str | os.PathLike[str]) -> Any:
    """Reads a file of `pickle.dump` or `torch.save` without running its code.

    Returns:
        The saved object, with arrays and tensors as numpy arrays; bfloat16 becomes float32, and an array of Python
        strings one of numpy's.

    Raises:
        UserError: The file cannot be read, is damaged or too large, or asks for anything but arrays and tensors.
    """
    check_regular_file(path)
    try:
        with epath.Path(path).open("rb") as file:
            if epath.Path(path).stat().length > LARGEST_FILE:
                raise ValueError(f"more than {LARGEST_FILE >> 30} GiB; save it as .npz")
            return _plain(read_pickle(file, _ARRAYS, _refuse), {})
    except RefusedPickle as refused:
        raise UserError(
            f"{path}: refused, because the file asks for {refused}, which may run code. Numpy arrays, PyTorch tensors, "
            "and lists, tuples and dicts of them are read; save it as these, or as .npz."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged file may raise anything
        raise UserError(f"{path}: is no pickle of arrays, or is damaged ({type(error).__name__}: {error})") from error


def _refuse(name: str) -> Any:
    raise RefusedPickle(name)


def _plain(value: Any, seen: dict[int, Any]) -> Any:
    """Copies an object with numpy arrays in place of tensors; `seen` are the copies by the identity of the original."""
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, Stored):
        if value.shape is None or value.dtype is None:
            raise ValueError(f"it holds {value.what}")
        # A tensor may repeat a few values, with strides of 0.
        if math.prod(value.shape) * value.dtype.itemsize > LARGEST_FILE:
            raise ValueError(f"a tensor {list(value.shape)} of more than {LARGEST_FILE >> 30} GiB")
        found = value.read()
        seen[id(value)] = np.asarray(found, np.float32 if found.dtype == ml_dtypes.bfloat16 else None)
    elif isinstance(value, np.ndarray):
        seen[id(value)] = np.asarray(value)
    elif isinstance(value, dict):
        seen[id(value)] = copy = {}
        copy |= {key: _plain(child, seen) for key, child in value.items()}
    elif isinstance(value, list):
        seen[id(value)] = copy = []
        copy += [_plain(child, seen) for child in value]
    elif isinstance(value, tuple):
        seen[id(value)] = tuple(_plain(child, seen) for child in value)
    else:
        return value
    return seen[id(value)]


class _Array(np.ndarray):
    """An array whose content a pickle may set once."""

    def __setstate__(self, state: Any) -> None:
        if self.shape != (0,):
            raise RefusedPickle("a change of an array")
        _, shape, dtype, in_columns, content = state
        array = _from_bytes(content, dtype, shape, "F" if in_columns else "C")
        checked: Any = (1, array.shape, array.dtype, bool(in_columns), array.tobytes("A"))
        super().__setstate__(checked)


class _DType:
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
        # Pandas stores text as objects; other objects are refused.
        if not isinstance(content, list) or not all(isinstance(one, str) for one in content):
            raise RefusedPickle("an array of Python objects")
        array = np.array(content, str)
    elif isinstance(content, bytes | bytearray):
        array = np.frombuffer(bytes(content), dtype.dtype)
    else:
        raise ValueError("an array without bytes")
    return array.reshape(whole_numbers(shape), order=order).view(_Array)


_ARRAYS = {
    "builtins.bytes": lambda: b"",
    "numpy.ndarray": lambda: None,
    "numpy.dtype": _DType,
    # The package was renamed in numpy 2.
    **{f"numpy.{core}.multiarray._reconstruct": lambda *_: np.zeros(0, "b").view(_Array) for core in ("core", "_core")},
    **{
        f"numpy.{core}.multiarray.scalar": lambda dtype, content: _from_bytes(content, dtype, ())[()]
        for core in ("core", "_core")
    },
    **{f"numpy.{core}.numeric._frombuffer": _from_bytes for core in ("core", "_core")},
}
