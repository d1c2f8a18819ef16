"""Reads the parameters of orbax directories as numpy arrays."""

import functools
import operator
from collections.abc import Collection
from typing import Any

import jax
import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict

from jax_vtm.checkpoints.stored import Stored, damage
from jax_vtm.checkpoints.train_state import params_place, select_params


def read_orbax(path: epath.Path, names: Collection[str]) -> dict[str, Stored]:
    """Reads the metadata of an orbax directory; all parameters are restored when the first is read.

    The optimizer's state is not read. `names` are the model's parameters, for trees without a train state.
    """
    # Importing orbax takes seconds.
    import orbax.checkpoint as ocp

    # The tree is here, or in the only item of a CheckpointManager's step.
    items = [child for child in (path, *path.iterdir()) if (child / "_METADATA").exists()]
    root = items[0] if items and (items[0] == path or len(items) == 1) else path
    unreadable = "orbax cannot restore this directory; if files are missing or cut short, copy it again"
    with damage(path, unreadable), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        saved: Any = checkpointer.metadata(root)
        # Newer versions wrap the tree of metadata.
        saved = getattr(saved, "item_metadata", saved)
        saved = getattr(saved, "tree", saved)
        if not isinstance(saved, dict):
            raise ValueError("it has no readable description of its content")
        place = params_place(saved, names, path)
        wanted: Any = functools.reduce(operator.getitem, place, saved)
        for key in reversed(place):
            wanted = {key: wanted}
        described = flatten_dict(select_params(wanted, names, path), sep="/")

    @functools.cache
    def restored() -> Any:
        with damage(path, unreadable), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
            arguments = ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy, partial_restore=True)
            return flatten_dict(select_params(checkpointer.restore(root, args=arguments), names, path), sep="/")

    def entry(name: str, description: Any) -> Stored:
        shape, dtype = getattr(description, "shape", None), getattr(description, "dtype", None)
        if shape is None or dtype is None:
            return Stored()
        return Stored(tuple(shape), np.dtype(dtype), lambda: np.asarray(restored()[name]))

    return {name: entry(name, description) for name, description in described.items()}
