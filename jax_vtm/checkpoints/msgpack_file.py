"""Flax's msgpack files, read as a stream: parameters are kept, the optimizer's state is never built.

Layouts (keys of the top-level map):
    Scenic of 2021, the released files: `global_step`, `optimizer` {`target`: parameters, `state`: momentum},
        `model_state`, `rng`, `accum_train_time`.
    Scenic today: `opt_state`, `params`, `global_step`, `model_state`, `rng`, `metadata`.
    Ours are Scenic's of today; `metadata` holds the SHA-256 of all that stands before it.

Arrays are extension type 1, numpy scalars 3 and complex numbers 2; the payload of the first two is msgpack
again: `(shape, name of the dtype, bytes in C order)`. Arrays above 1 GiB are maps of flat chunks.
"""

import os
from collections.abc import Collection
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict

from jax_vtm.checkpoints.digest import DIGEST_CHARACTERS, DIGEST_KEY, HashedFile
from jax_vtm.checkpoints.locate import require_file
from jax_vtm.checkpoints.stored import CheckpointError, Stored, damage, in_memory
from jax_vtm.checkpoints.train_state import select_params

_NDARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_CHUNKED = "__msgpack_chunked_array__"
# The subtrees that are read; an empty dict means "all of it". Everything else is skipped, not parsed.
_WANTED: dict[str, Any] = {"params": {}, "optimizer": {"target": {}}, "metadata": {DIGEST_KEY: {}}}
# msgpack's own limit (100 MiB) is below flax's chunk size (1 GiB). The buffer grows by doubling, up to this.
_MAX_BUFFER_BYTES = 2**32 - 1
# msgpack makes room for a list before it reads it. Flax stores lists as maps; the longest here are shapes.
_MAX_LIST = 4096


def read_msgpack(path: epath.Path, names: Collection[str]) -> dict[str, Stored]:
    """Reads the parameters of a flax msgpack file; `names` are the model's own, which may stand there by themselves.

    Peak memory is the parameters and a few times the largest single array, whatever else the file holds. The
    whole file is walked through all the same, so that a truncated one is noticed.
    """
    state = _read_state(path, _WANTED | {name: {} for name in names})
    with damage(path, "its parameters are no tree of arrays"):
        params = select_params(state, names, path)
        return {name: in_memory(leaf) for name, leaf in flatten_dict(params, sep="/").items()}


def read_train_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the whole of a file that `save_checkpoint` wrote, to go on training.

    Returns:
        Nested dict with `np.ndarray` leaves; its keys are those of Scenic's train state.

    Raises:
        CheckpointError: The file cannot be read, is damaged, or is not flax msgpack.
    """
    found = epath.Path(path)
    require_file(found)
    try:
        return _read_state(found, {})
    except OSError as error:
        raise CheckpointError(f"{found}: cannot be read: {error}") from error


def _read_state(path: epath.Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """Reads what is wanted of a file, and compares the digest that our own files hold."""
    size = path.stat().length
    with path.open("rb") as file:
        hashed = HashedFile(file, path)
        unpacker = msgpack.Unpacker(
            hashed,
            max_buffer_size=_MAX_BUFFER_BYTES,
            max_array_len=_MAX_LIST,
            ext_hook=_decode_extension,
            object_hook=_join_chunks,
        )
        try:
            with damage(path, "not a flax msgpack checkpoint, or a damaged one"):
                state = _read_wanted(unpacker, wanted)
        except CheckpointError as error:
            if not isinstance(error.__cause__, msgpack.OutOfData):
                raise
            raise CheckpointError(
                f"{path}: the file is truncated: it ends after {size:,} bytes, in the middle of its data. "
                "Download it again."
            ) from error
        if unpacker.tell() != size or not isinstance(state, dict):
            raise CheckpointError(
                f"{path}: damaged, or not a checkpoint: its data ends at byte {unpacker.tell():,}, the file "
                f"has {size:,} bytes."
            )
        hashed.digest()
    metadata = state.get("metadata")
    stated = metadata.get(DIGEST_KEY) if isinstance(metadata, dict) else None
    if isinstance(stated, str) and len(stated) == DIGEST_CHARACTERS and stated != hashed.before:
        raise CheckpointError(
            f"{path}: damaged: its content is not what was written; the SHA-256 of it is {hashed.before}, and the "
            f"file says {stated}. Copy or convert it again."
        )
    return state


def _read_wanted(unpacker: msgpack.Unpacker, wanted: dict[str, Any]) -> Any:
    """Reads the next value; of a map's entries, those that are not wanted keep their key and lose their value."""
    start = unpacker.tell()
    try:
        size = unpacker.read_map_header() if wanted else None
    except ValueError:
        if unpacker.tell() != start:
            raise
        size = None  # `optimizer` may be null: a refused header leaves the value in place
    if size is None:
        return unpacker.unpack()
    content: dict[str, Any] = {}
    for _ in range(size):
        key = unpacker.unpack()
        if key in wanted:
            content[key] = _read_wanted(unpacker, wanted[key])
        else:
            unpacker.skip()
            content[key] = None
    return content


def _decode_extension(code: int, payload: bytes) -> Any:
    if code == _NDARRAY:
        return _decode_array(payload)
    if code == _SCALAR:
        return _decode_array(payload)[()]
    if code == _COMPLEX:
        return complex(*msgpack.unpackb(payload))
    raise ValueError(f"unknown msgpack extension type {code}")


def _decode_array(payload: bytes) -> np.ndarray:
    shape, dtype_name, data = msgpack.unpackb(payload, max_array_len=_MAX_LIST)
    # numpy knows bfloat16 and the 8-bit floats by name only after ml_dtypes has registered them, and not in
    # all versions.
    return np.frombuffer(data, np.dtype(getattr(ml_dtypes, dtype_name, dtype_name))).reshape(shape)


def _join_chunks(node: dict[str, Any]) -> Any:
    """Replaces flax's map of chunks by the array, as soon as the map is complete."""
    if _CHUNKED not in node:
        return node
    shape = tuple(node["shape"][str(axis)] for axis in range(len(node["shape"])))
    chunks = [node["chunks"][str(index)] for index in range(len(node["chunks"]))]
    return np.concatenate(chunks).reshape(shape)
