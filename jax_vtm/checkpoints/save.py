"""Writes checkpoints in Scenic's current msgpack layout."""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from collections.abc import Mapping
from typing import IO, Any

import msgpack
import numpy as np
from etils import epath
from flax import serialization

from jax_vtm.checkpoints.errors import CheckpointError


def save_checkpoint(
    path: str | os.PathLike[str],
    params: Mapping[str, Any],
    *,
    step: int = 0,
    opt_state: Mapping[str, Any] | None = None,
) -> epath.Path:
    """Writes parameters as one msgpack file, with the keys of Scenic's train state.

    Scenic's `restore_pretrained_checkpoint`, `flax.serialization.msgpack_restore` and `load_checkpoint` read
    it. The file appears under its name only when it is complete; one that exists is replaced.

    Args:
        path: The file to write, or an existing directory, in which `checkpoint_<step>` is written.
        params: Nested mapping of arrays, numpy's or JAX's; or variables, `{"params": ...}`.
        step: The training step, stored as `global_step`.
        opt_state: The optimizer's state as nested mappings of arrays (`flax.serialization.to_state_dict`),
            for continuing a training run; None stores an empty one.

    Returns:
        The file that was written.

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
        "metadata": None,
    }
    target = epath.Path(path).expanduser()
    try:
        if target.is_dir():
            target = target / f"checkpoint_{step}"
        _write_atomically(target, state)
    except (OSError, ImportError) as error:
        raise CheckpointError(f"{target}: cannot be written: {error}") from error
    return target


def _write_atomically(target: epath.Path, state: dict[str, Any]) -> None:
    # Beside the target, because a rename is atomic within one file system only. The name is no
    # `checkpoint_<step>`, so what a crash leaves behind is never taken for a checkpoint.
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as file:
            _write(file, state)
            file.flush()
            with contextlib.suppress(io.UnsupportedOperation):  # a file in a cloud store is safe once it is closed
                os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        if temporary.exists():
            temporary.unlink()


def _write(file: IO[bytes], node: Any) -> None:
    """Writes a tree leaf by leaf: serialising the whole would need the parameters' memory again."""
    if not isinstance(node, dict):
        file.write(serialization.msgpack_serialize(node))
        return
    packer = msgpack.Packer()
    file.write(packer.pack_map_header(len(node)))
    for key, child in node.items():
        file.write(packer.pack(key))
        _write(file, child)


def _as_numpy(node: Any, path: str) -> Any:
    if isinstance(node, dict):
        return {str(name): _as_numpy(child, f"{path}/{name}") for name, child in node.items()}
    array = np.asarray(node)
    if array.dtype.kind in "OSUM":
        raise CheckpointError(f"{path}: cannot be saved: not an array of numbers but {type(node).__name__}.")
    return array
