"""Training states on disk: Scenic's checkpoint layout with the optimizer's state, so that a stopped run continues."""

import pathlib
import sys
from typing import Any

import jax
import numpy as np
from flax import serialization

from jax_vtm.checkpoints import CheckpointError, read_train_state, save_checkpoint
from jax_vtm.errors import UserError, shown
from jax_vtm.files import make_folder, writing
from jax_vtm.training.step import TrainState

KEEP = 2

# What a tree of another form may raise.
_DAMAGED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def save_state(folder: pathlib.Path, state: TrainState) -> pathlib.Path:
    """Writes `checkpoint_<step>` and removes all but the newest two."""
    host = jax.tree.map(np.asarray, state)
    opt_state = serialization.to_state_dict(host.opt_state)
    make_folder(folder)
    path = folder / f"checkpoint_{int(host.step)}"
    save_checkpoint(path, host.params, step=int(host.step), opt_state=opt_state)
    with writing(folder):
        for old in saved_states(folder)[:-KEEP]:
            old.unlink()
    return path


def restore_state(folder: pathlib.Path, fresh: TrainState) -> TrainState:
    """Returns the newest state of a folder that is intact, or the fresh one if none was saved.

    Says on standard error which newer ones were passed over, and why.

    Raises:
        UserError: There are states, but all are damaged, or of another model or optimizer.
    """
    passed_over = []
    for path in reversed(saved_states(folder)):
        try:
            state = _read(path, fresh)
        except UserError as error:
            passed_over.append(str(error))
            continue
        for reason in passed_over:
            print(f"warning: {reason}; going on from {path.name}.", file=sys.stderr)
        return state
    if passed_over:
        reasons = "\n".join(f"  {reason}" for reason in passed_over)
        raise UserError(
            f"{folder}: no training state there can be gone on from:\n{reasons}\nRemove the folder or give another "
            "--workdir to begin anew, or give the config that the run began with."
        )
    return fresh


def saved_states(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folder's `checkpoint_<step>` files, oldest first."""
    found = [path for path in folder.glob("checkpoint_*") if path.name.removeprefix("checkpoint_").isdecimal()]
    return sorted((path for path in found if path.is_file()), key=_step)


def _step(path: pathlib.Path) -> int:
    return int(path.name.removeprefix("checkpoint_"))


def _read(path: pathlib.Path, fresh: TrainState) -> TrainState:
    try:
        raw = read_train_state(path)
    except CheckpointError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise UserError(f"{path}: this training state is damaged ({reason})") from error
    try:
        if raw["global_step"] != _step(path):
            raise ValueError(f"it is of step {raw['global_step']}")
        opt_state = serialization.from_state_dict(fresh.opt_state, raw["opt_state"])
        params = serialization.from_state_dict(fresh.params, raw["params"])
        jax.tree.map(_check_alike, (fresh.params, fresh.opt_state), (params, opt_state))
    except _DAMAGED as error:
        raise UserError(
            f"{path}: this training state is of another model or optimizer, or damaged ({shown(error)})"
        ) from error
    return TrainState(step=np.asarray(raw["global_step"], np.int32), params=params, opt_state=opt_state)


def _check_alike(expected: Any, found: Any) -> None:
    ours, theirs = ((leaf.shape, leaf.dtype) for leaf in map(np.asarray, (expected, found)))
    if ours != theirs:
        raise ValueError(f"expected a leaf of shape {ours[0]}, {ours[1]}, found {theirs[0]}, {theirs[1]}")
