"""The entry: any checkpoint to a model's parameters."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict

from jax_vtm.checkpoints.errors import CheckpointError
from jax_vtm.checkpoints.expected import Model, expected_params
from jax_vtm.checkpoints.fit import fit_params
from jax_vtm.checkpoints.kinds import Kind, recognise
from jax_vtm.checkpoints.locate import locate_checkpoint
from jax_vtm.checkpoints.msgpack_stream import read_msgpack_params
from jax_vtm.checkpoints.orbax_directory import read_orbax_params
from jax_vtm.checkpoints.sharded import read_index
from jax_vtm.checkpoints.tensors import read_npz, read_safetensors, read_torch
from jax_vtm.checkpoints.torch_names import from_torch_state_dict

_TENSOR_READERS = {Kind.SAFETENSORS: read_safetensors, Kind.NPZ: read_npz, Kind.TORCH: read_torch}


def load_checkpoint(path: str | os.PathLike[str], model: Model) -> dict[str, Any]:
    """Loads a checkpoint into a model's parameter tree.

    The format is recognised from the content. Scenic's files are read in both layouts, that of the released
    checkpoints of 2021 (`optimizer/target`) and today's (`params`); the optimizer's state is skipped while
    reading and takes no memory. Files of named tensors hold either the names of the released PyTorch files (see
    `from_torch_state_dict`) or this package's own, paths joined by `/` (`Transformer/encoder_norm/scale`,
    with or without `params/` before).

    Args:
        path: A file; a directory of `checkpoint_<step>` files or orbax directories (the highest step is read)
            or with one `checkpoint`; an orbax directory; a safetensors, npz or PyTorch file, or the index of several.
            Local or `gs://`.
        model: The model to fill; it has `input_shape` (T, H, W, 3), `heads`, and is a Flax module.

    Returns:
        `{"params": nested dict of np.ndarray}` with exactly the names, shapes and dtypes the model expects.
        float16 and bfloat16 leaves are widened, which keeps every value. Arrays may be read-only.

    Raises:
        CheckpointError: Nothing usable is there, the file is damaged, or it does not fit the model: leaves
            that are missing, unexpected, misshapen, not finite, or would have to be narrowed (float64 to
            float32).
    """
    found = locate_checkpoint(path)
    try:
        return _load(found, model)
    except OSError as error:
        raise CheckpointError(f"{found}: cannot be read: {error}") from error


def _load(path: epath.Path, model: Model) -> dict[str, Any]:
    source = str(path)
    if path.is_dir():
        leaves = flatten_dict(read_orbax_params(path), sep="/")
    elif (kind := recognise(path)) is Kind.MSGPACK:
        leaves = flatten_dict(read_msgpack_params(path), sep="/")
    else:
        tensors = read_index(path, _read_shard) if kind is Kind.INDEX else _TENSOR_READERS[kind](path)
        if not any("/" in name for name in tensors):
            return from_torch_state_dict(tensors, model, source=source)
        leaves = _without_params_level(tensors)
    return {"params": fit_params(leaves, expected_params(model), source=source, model=model)}


def _read_shard(path: epath.Path) -> dict[str, np.ndarray]:
    kind = recognise(path)
    if kind not in _TENSOR_READERS:
        raise CheckpointError(f"{path}: expected a file of tensors (safetensors, npz, PyTorch), found {kind.value}.")
    return _TENSOR_READERS[kind](path)


def _without_params_level(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Shortens `params/Transformer/encoder_norm/scale` to the path in the parameter tree."""
    if not all(name.startswith("params/") for name in tensors):
        return tensors
    return {name.removeprefix("params/"): tensor for name, tensor in tensors.items()}
