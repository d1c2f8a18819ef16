"""Orbax directories: only the parameters are restored, as numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from etils import epath

from jax_vtm.checkpoints.errors import CheckpointError
from jax_vtm.checkpoints.train_state import params_place, select_params


def read_orbax_params(path: epath.Path) -> dict[str, Any]:
    """Restores the parameters of an orbax directory; the optimizer's state stays on disk.

    Args:
        path: A directory written by orbax, or one whose only item (`default`, `state`, ...) is such a
            directory.

    Returns:
        Nested dict with `np.ndarray` leaves.

    Raises:
        CheckpointError: The directory holds no parameters, or orbax cannot read it.
    """
    # Importing orbax takes seconds, and few checkpoints are orbax directories.
    import orbax.checkpoint as ocp

    root = _item_directory(path)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        try:
            saved: Any = checkpointer.metadata(root)
            # Newer versions wrap the tree of array descriptions, older ones return it bare.
            saved = getattr(saved, "item_metadata", saved)
            saved = getattr(saved, "tree", saved)
        except Exception as error:  # orbax and tensorstore raise whatever their storage raises
            raise _unreadable(path, f"{type(error).__name__}: {error}") from error
        if not isinstance(saved, dict):
            raise _unreadable(path, "it has no readable description of its content")
        wanted = _subtree(saved, params_place(saved, path))
        try:
            state = checkpointer.restore(
                root,
                args=ocp.args.PyTreeRestore(
                    item=wanted, restore_args=_restore_as_numpy(wanted, ocp.RestoreArgs), partial_restore=True
                ),
            )
        except Exception as error:
            raise _unreadable(path, f"{type(error).__name__}: {error}") from error
    return select_params(state, path)


def _item_directory(path: epath.Path) -> epath.Path:
    """The directory with the tree: `path`, or the one item of a step that a CheckpointManager wrote."""
    if (path / "_METADATA").exists():
        return path
    items = [child for child in path.iterdir() if (child / "_METADATA").exists()]
    return items[0] if len(items) == 1 else path


def _subtree(tree: dict[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    """Keeps what lies at `place`, and the levels above it."""
    key, *rest = place
    return {key: _subtree(tree[key], tuple(rest)) if rest else tree[key]}


def _restore_as_numpy(tree: Any, restore_args: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _restore_as_numpy(child, restore_args) for name, child in tree.items()}
    return restore_args(restore_type=np.ndarray)


def _unreadable(path: epath.Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: orbax cannot restore this directory ({reason}). If files are missing or cut short, copy it again."
    )
