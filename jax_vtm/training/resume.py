"""Training states on disk: Scenic's checkpoint layout with the optimizer's state, so that a stopped run continues."""

import pathlib
from typing import Any

import jax
import numpy as np
from flax import serialization

from jax_vtm.checkpoints import save_checkpoint
from jax_vtm.errors import UserError
from jax_vtm.files import make_folder
from jax_vtm.training.step import TrainState

KEEP = 2


def save_state(folder: pathlib.Path, state: TrainState) -> pathlib.Path:
    """Writes `checkpoint_<step>` and removes all but the newest two."""
    host = jax.tree.map(np.asarray, state)
    opt_state = serialization.to_state_dict(host.opt_state)
    make_folder(folder)
    path = folder / f"checkpoint_{int(host.step)}"
    save_checkpoint(path, host.params, step=int(host.step), opt_state=opt_state)
    for old in saved_states(folder)[:-KEEP]:
        old.unlink()
    return path


def restore_state(folder: pathlib.Path, fresh: TrainState) -> TrainState:
    """Returns the newest saved state of a folder, or the fresh one if there is none.

    Raises:
        UserError: The folder's state is of another model or optimizer.
    """
    saved = saved_states(folder)
    if not saved:
        return fresh
    path = saved[-1]
    raw: Any = serialization.msgpack_restore(path.read_bytes())
    try:
        opt_state = serialization.from_state_dict(fresh.opt_state, raw["opt_state"])
        params = serialization.from_state_dict(fresh.params, raw["params"])
        jax.tree.map(_same_shape, (fresh.params, fresh.opt_state), (params, opt_state))
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path}: this training state is of another model or optimizer ({error}). Use another --workdir, or the "
            "config that the run began with."
        ) from error
    return TrainState(step=np.asarray(raw["global_step"], np.int32), params=params, opt_state=opt_state)


def saved_steps(folder: pathlib.Path) -> int:
    """Returns how many steps a folder's newest state has done, 0 without one."""
    return max((_step(path) for path in saved_states(folder)), default=0)


def saved_states(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folder's `checkpoint_<step>` files, oldest first."""
    found = [path for path in folder.glob("checkpoint_*") if path.name.removeprefix("checkpoint_").isdigit()]
    return sorted(found, key=_step)


def _step(path: pathlib.Path) -> int:
    return int(path.name.removeprefix("checkpoint_"))


def _same_shape(expected, found) -> None:
    if np.shape(expected) != np.shape(found):
        raise ValueError(f"expected a leaf of shape {np.shape(expected)}, found {np.shape(found)}")
