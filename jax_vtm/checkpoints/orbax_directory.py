"""Orbax directories: only the parameters are restored, as numpy arrays."""

import functools
from collections.abc import Collection
from typing import Any

import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict

from jax_vtm.checkpoints.stored import Stored, damage, no_array
from jax_vtm.checkpoints.train_state import params_place, select_params


def read_orbax(path: epath.Path, names: Collection[str]) -> dict[str, Stored]:
    """Reads what an orbax directory says of its parameters; all of them are restored when the first is read.

    The optimizer's state stays on disk. `names` are the model's own, which may stand there by themselves.

    Raises:
        CheckpointError: The directory holds no parameters, or orbax cannot read it.
    """
    # Importing orbax takes seconds, and few checkpoints are orbax directories.
    import orbax.checkpoint as ocp

    root = _item_directory(path)
    unreadable = "orbax cannot restore this directory; if files are missing or cut short, copy it again"
    with damage(path, unreadable), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        saved: Any = checkpointer.metadata(root)
        # Newer versions wrap the tree of array descriptions, older ones return it bare.
        saved = getattr(saved, "item_metadata", saved)
        saved = getattr(saved, "tree", saved)
        if not isinstance(saved, dict):
            raise ValueError("it has no readable description of its content")
        wanted = _subtree(saved, params_place(saved, names, path))
        described = flatten_dict(select_params(wanted, names, path), sep="/")

    @functools.cache
    def restored() -> Any:
        with damage(path, unreadable), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            state = checkpointer.restore(
                root,
                args=ocp.args.PyTreeRestore(
                    item=wanted, restore_args=_restore_as_numpy(wanted, ocp.RestoreArgs), partial_restore=True
                ),
            )
            return flatten_dict(select_params(state, names, path), sep="/")

    def entry(name: str, description: Any) -> Stored:
        shape, dtype = getattr(description, "shape", None), getattr(description, "dtype", None)
        if shape is None or dtype is None:
            return no_array()
        return Stored(tuple(shape), np.dtype(dtype), lambda: np.asarray(restored()[name]))

    return {name: entry(name, description) for name, description in described.items()}


def _item_directory(path: epath.Path) -> epath.Path:
    """The directory with the tree: `path`, or the one item of a step that a CheckpointManager wrote."""
    if (path / "_METADATA").exists():
        return path
    items = [child for child in path.iterdir() if (child / "_METADATA").exists()]
    return items[0] if len(items) == 1 else path


def _subtree(tree: dict[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    """Keeps what lies at `place`, and the levels above it."""
    if not place:
        return tree
    key, *rest = place
    return {key: _subtree(tree[key], tuple(rest)) if rest else tree[key]}


def _restore_as_numpy(tree: Any, restore_args: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _restore_as_numpy(child, restore_args) for name, child in tree.items()}
    return restore_args(restore_type=np.ndarray)
