"""Flax's msgpack files, read as a stream: parameters are kept, the optimizer's state is never built.

Layouts (keys of the top-level map):
    Scenic of 2021, the released files: `global_step`, `optimizer` {`target`: parameters, `state`: momentum},
        `model_state`, `rng`, `accum_train_time`.
    Scenic today: `opt_state`, `params`, `global_step`, `model_state`, `rng`, `metadata`.

Arrays are extension type 1, numpy scalars 3 and complex numbers 2; the payload of the first two is msgpack
again: `(shape, name of the dtype, bytes in C order)`. Arrays above 1 GiB are maps of flat chunks.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import msgpack
import numpy as np
from etils import epath

from jax_vtm.checkpoints.errors import CheckpointError
from jax_vtm.checkpoints.train_state import select_params

_NDARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_CHUNKED = "__msgpack_chunked_array__"
# The subtrees that are read; an empty dict means "all of it". Everything else is skipped, not parsed.
_WANTED: dict[str, Any] = {"params": {}, "optimizer": {"target": {}}}
_SKIPPED = object()
# msgpack's own limit (100 MiB) is below flax's chunk size (1 GiB). The buffer grows by doubling, up to this.
_MAX_BUFFER_BYTES = 2**32 - 1


def read_msgpack_params(path: epath.Path) -> dict[str, Any]:
    """Reads the parameters of a flax msgpack file.

    Peak memory is the parameters and a few times the largest single array, whatever else the file holds. The
    whole file is walked through all the same, so that a truncated one is noticed.

    Args:
        path: A file whose first byte starts a msgpack map.

    Returns:
        Nested dict with `np.ndarray` leaves (read-only), Linen names.

    Raises:
        CheckpointError: The file is truncated, is not flax msgpack, or holds no parameters.
    """
    size = path.stat().length
    with path.open("rb") as file:
        unpacker = msgpack.Unpacker(
            file, max_buffer_size=_MAX_BUFFER_BYTES, ext_hook=_decode_extension, object_hook=_join_chunks
        )
        try:
            content = _read_map(unpacker, _WANTED)
        except msgpack.OutOfData as error:
            raise CheckpointError(
                f"{path}: the file is truncated: it ends after {size:,} bytes, in the middle of its data. "
                "Download it again."
            ) from error
        except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
            reason = str(error) or type(error).__name__
            raise CheckpointError(
                f"{path}: not a flax msgpack checkpoint, or a damaged one: {reason} (near byte "
                f"{unpacker.tell():,} of {size:,})."
            ) from error
        if unpacker.tell() != size:
            raise CheckpointError(
                f"{path}: damaged, or not a checkpoint: its data ends at byte {unpacker.tell():,}, the file "
                f"has {size:,} bytes."
            )
    return select_params(content, path)


def _read_map(unpacker: msgpack.Unpacker, wanted: dict[str, Any]) -> dict[str, Any]:
    """Reads the map that comes next; entries that are not wanted keep their key and lose their value."""
    content: dict[str, Any] = {}
    for _ in range(unpacker.read_map_header()):
        key = unpacker.unpack()
        if key not in wanted:
            unpacker.skip()
            content[key] = _SKIPPED
        elif wanted[key]:
            content[key] = _read_map_or_value(unpacker, wanted[key])
        else:
            content[key] = unpacker.unpack()
    return content


def _read_map_or_value(unpacker: msgpack.Unpacker, wanted: dict[str, Any]) -> Any:
    start = unpacker.tell()
    try:
        return _read_map(unpacker, wanted)
    except ValueError:
        if unpacker.tell() != start:
            raise
        return unpacker.unpack()  # `optimizer` may be null: a refused header leaves the value in place


def _decode_extension(code: int, payload: bytes) -> Any:
    if code == _NDARRAY:
        return _decode_array(payload)
    if code == _SCALAR:
        return _decode_array(payload)[()]
    if code == _COMPLEX:
        return complex(*msgpack.unpackb(payload))
    raise ValueError(f"unknown msgpack extension type {code}")


def _decode_array(payload: bytes) -> np.ndarray:
    shape, dtype_name, data = msgpack.unpackb(payload)
    return np.frombuffer(data, dtype=_dtype_from_name(dtype_name)).reshape(shape)


def _dtype_from_name(name: str) -> np.dtype:
    # numpy knows bfloat16 and the 8-bit floats by name only after ml_dtypes has registered them, and not in
    # all versions.
    return np.dtype(getattr(ml_dtypes, name, name))


def _join_chunks(node: dict[str, Any]) -> Any:
    """Replaces flax's map of chunks by the array, as soon as the map is complete."""
    if _CHUNKED not in node:
        return node
    shape = tuple(node["shape"][str(axis)] for axis in range(len(node["shape"])))
    chunks = [node["chunks"][str(index)] for index in range(len(node["chunks"]))]
    return np.concatenate(chunks).reshape(shape)
