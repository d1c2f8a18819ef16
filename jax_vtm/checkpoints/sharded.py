"""Tensors spread over several files, listed by a Hugging Face index (`model.safetensors.index.json`)."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
from etils import epath

from jax_vtm.checkpoints.errors import CheckpointError


def read_index(path: epath.Path, read_shard: Callable[[epath.Path], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Reads every tensor that an index names from the file that it names for it.

    Args:
        path: The index: JSON with a `weight_map` from tensor names to files beside it.
        read_shard: Reads all tensors of one of these files.

    Returns:
        Tensor by name.

    Raises:
        CheckpointError: The index is damaged, names a file elsewhere, or index and files do not hold the same tensors.
    """
    weight_map = _weight_map(path)
    tensors: dict[str, np.ndarray] = {}
    for part in parts_of(path):
        found = read_shard(part)
        listed = {name for name, home in weight_map.items() if home == part.name}
        if listed != set(found):
            missing, unlisted = sorted(listed - set(found)), sorted(set(found) - listed)
            raise CheckpointError(
                f"{part}: does not hold what {path.name} says: missing {missing[:20] or 'nothing'}, "
                f"not listed {unlisted[:20] or 'nothing'}. Download index and parts from one place."
            )
        tensors |= found
    return tensors


def parts_of(path: epath.Path) -> list[epath.Path]:
    """Lists the files that an index names, in the order of their names.

    Args:
        path: The index.

    Returns:
        Files beside the index; all exist.

    Raises:
        CheckpointError: The index is damaged, or names a file that lies elsewhere or nowhere.
    """
    names = sorted(set(_weight_map(path).values()))
    for name in names:
        if epath.Path(name).name != name:
            raise CheckpointError(f"{path}: the index names the file {name!r}; expected one in the same folder.")
        if not (path.parent / name).exists():
            raise CheckpointError(f"{path}: the index names {name}, which is not beside it. Download every part.")
    return [path.parent / name for name in names]


def _weight_map(path: epath.Path) -> dict[str, str]:
    """The file of every tensor."""
    try:
        weight_map = dict(json.loads(path.read_text())["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not an index of tensor files: it has no readable `weight_map`.") from error
    if not all(isinstance(home, str) for home in weight_map.values()):
        raise CheckpointError(f"{path}: not an index of tensor files: its `weight_map` names files by something else.")
    return weight_map
