"""Reads flax's msgpack files as a stream, without the optimizer's state.

Keys of the top-level map:
    Scenic of 2021, the released files: `global_step`, `optimizer` {`target`: parameters, `state`: momentum},
        `model_state`, `rng`, `accum_train_time`.
    Scenic today: `opt_state`, `params`, `global_step`, `model_state`, `rng`, `metadata`.
    Ours: the same; `metadata` has the SHA-256 of all bytes before it.

Arrays are extension type 1, numpy scalars 3, complex numbers 2; the payload of the first two is msgpack of
`(shape, name of the dtype, bytes in C order)`. Arrays above 1 GiB are maps of flat chunks.
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
# The subtrees that are read (an empty dict: all of it); others are skipped.
_WANTED: dict[str, Any] = {"params": {}, "optimizer": {"target": {}}, "metadata": {DIGEST_KEY: {}}}
# msgpack's own limit (100 MiB) is below flax's chunk size (1 GiB).
_MAX_BUFFER_BYTES = 2**32 - 1
# msgpack allocates lists before it reads them; flax stores lists as maps, so that the longest are shapes.
_MAX_LIST = 4096


def read_msgpack(path: epath.Path, names: Collection[str]) -> dict[str, Stored]:
    """Reads the parameters of a flax msgpack file; `names` are the model's parameters, for files without a train state.

    Peak memory is the parameters and a few times the largest array. The whole file is read, to detect truncation.
    """
    state = _read_state(path, _WANTED | {name: {} for name in names})
    with damage(path, "its parameters are no tree of arrays"):
        params = select_params(state, names, path)
        return {name: in_memory(leaf) for name, leaf in flatten_dict(params, sep="/").items()}


def read_train_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a file of `save_checkpoint` with the optimizer's state, to resume training.

    Returns:
        Nested dict of `np.ndarray` with the keys of Scenic's train state.

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
    """Reads the wanted subtrees of a file, and checks the digest of our own files."""
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
            f"{path}: damaged: the SHA-256 of its content is {hashed.before}; expected {stated}, as the file says. "
            "Copy or convert it again."
        )
    return state


def _read_wanted(unpacker: msgpack.Unpacker, wanted: dict[str, Any]) -> Any:
    """Reads the next value; unwanted entries of a map become None."""
    start = unpacker.tell()
    try:
        size = unpacker.read_map_header() if wanted else None
    except ValueError:
        if unpacker.tell() != start:
            raise
        size = None  # not a map: `optimizer` may be null
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
    # Not all versions of numpy know bfloat16 and the 8-bit floats by name.
    return np.frombuffer(data, np.dtype(getattr(ml_dtypes, dtype_name, dtype_name))).reshape(shape)


def _join_chunks(node: dict[str, Any]) -> Any:
    """Joins a map of chunks to the array; returns other maps."""
    if _CHUNKED not in node:
        return node
    shape = tuple(node["shape"][str(axis)] for axis in range(len(node["shape"])))
    chunks = [node["chunks"][str(index)] for index in range(len(node["chunks"]))]
    return np.concatenate(chunks).reshape(shape)
