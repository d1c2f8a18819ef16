"""Writes checkpoints in Scenic's current msgpack layout."""

import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import IO, Any

import msgpack
import numpy as np
from etils import epath
from flax import serialization

from jax_vtm.checkpoints.digest import DIGEST_CHARACTERS, DIGEST_KEY
from jax_vtm.checkpoints.stored import CheckpointError
from jax_vtm.errors import UserError
from jax_vtm.files import atomic_write


def save_checkpoint(
    path: str | os.PathLike[str],
    params: Mapping[str, Any],
    *,
    step: int = 0,
    opt_state: Mapping[str, Any] | None = None,
) -> epath.Path:
    """Writes parameters as one msgpack file, with the keys of Scenic's train state.

    Scenic's `restore_pretrained_checkpoint`, `flax.serialization.msgpack_restore` and `load_checkpoint` read it. An
    existing file is replaced when the new one is complete. It ends with the SHA-256 of its content, to detect damage.

    Args:
        path: The file to write, or an existing directory for `checkpoint_<step>`.
        params: Nested mapping of arrays, numpy's or JAX's; or variables, `{"params": ...}`.
        step: The training step, stored as `global_step`.
        opt_state: The optimizer's state as nested mappings of arrays (`flax.serialization.to_state_dict`); None stores
            an empty one.

    Returns:
        The file.

    Raises:
        CheckpointError: A leaf is not an array of numbers, or the file cannot be written.
    """
    tree = serialization.to_state_dict(params)
    if set(tree) == {"params"}:
        tree = tree["params"]
    state = {
        "opt_state": _as_numpy(opt_state or {}, "opt_state"),
        "params": _as_numpy(tree, "params"),
        "global_step": step,
        "model_state": {},
        "rng": None,
    }
    target = epath.Path(path).expanduser()
    try:
        if target.is_dir():
            target = target / f"checkpoint_{step}"
        # A digest next to an earlier file is out of date.
        target.with_name(f"{target.name}.sha256").unlink(missing_ok=True)
        # A file in a cloud store appears when it is complete.
        remote = "://" in os.fspath(target)
        with target.open("wb") if remote else atomic_write(pathlib.Path(target)) as file:
            _write_state(file, state)
    except (OSError, ImportError) as error:
        raise CheckpointError(f"{target}: cannot be written: {error}") from error
    except UserError as error:
        raise CheckpointError(str(error)) from error
    return target


def _write_state(file: IO[bytes], state: dict[str, Any]) -> None:
    """Writes a train state and the digest of all before it, leaf by leaf to save memory."""
    packer, sha256 = msgpack.Packer(), hashlib.sha256()

    def write(data: bytes) -> None:
        sha256.update(data)
        file.write(data)

    def write_tree(node: Any, more: int = 0) -> None:
        if not isinstance(node, dict):
            write(serialization.msgpack_serialize(node))
            return
        write(packer.pack_map_header(len(node) + more))
        for key, child in node.items():
            write(packer.pack(key))
            write_tree(child)

    write_tree(state, more=1)
    write(packer.pack("metadata") + packer.pack_map_header(1) + packer.pack(DIGEST_KEY))
    # A packed text of 64 characters is two bytes and the characters.
    write(packer.pack("0" * DIGEST_CHARACTERS)[:-DIGEST_CHARACTERS])
    write(sha256.hexdigest().encode())


def _as_numpy(node: Any, path: str) -> Any:
    if isinstance(node, dict):
        return {str(name): _as_numpy(child, f"{path}/{name}") for name, child in node.items()}
    array = np.asarray(node)
    if array.dtype.kind in "OSUM":
        raise CheckpointError(f"{path}: cannot be saved: not an array of numbers but {type(node).__name__}.")
    return array
