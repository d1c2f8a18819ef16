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
    try:
        weight_map = dict(json.loads(path.read_text())["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not an index of tensor files: it has no readable `weight_map`.") from error
    tensors: dict[str, np.ndarray] = {}
    for shard in sorted(set(weight_map.values())):
        if epath.Path(shard).name != shard:
            raise CheckpointError(f"{path}: the index names the file {shard!r}; expected one in the same folder.")
        if not (path.parent / shard).exists():
            raise CheckpointError(f"{path}: the index names {shard}, which is not beside it. Download every part.")
        found = read_shard(path.parent / shard)
        listed = {name for name, home in weight_map.items() if home == shard}
        if listed != set(found):
            missing, unlisted = sorted(listed - set(found)), sorted(set(found) - listed)
            raise CheckpointError(
                f"{path.parent / shard}: does not hold what {path.name} says: missing {missing[:20] or 'nothing'}, "
                f"not listed {unlisted[:20] or 'nothing'}. Download index and parts from one place."
            )
        tensors |= found
    return tensors
