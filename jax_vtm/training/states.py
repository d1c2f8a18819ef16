"""Training states on disk: orbax checkpoints, written in the background, so that a stopped run goes on.

Each has the parameters, which `load_checkpoint` reads, the optimizer's state, what the run was made of and a checksum.
"""

import json
import sys
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import serialization

from jax_vtm.bucket import is_bucket
from jax_vtm.config import Config, flattened
from jax_vtm.errors import UserError, shown
from jax_vtm.evaluation.processes import differences
from jax_vtm.regular_file import as_path
from jax_vtm.training.step import TrainState

# Keys that change nothing of what is learned.
_NO_RESULT_KEYS = {
    *(f"train.{key}" for key in ("log_every", "checkpoint_every", "keep")),
    *(f"train.{key}" for key in ("evaluate", "evaluate_every", "evaluate_videos")),
    *(f"data.{key}" for key in ("description", "split", "num_videos", "num_clips", "num_crops", "single_crop")),
    *(f"data.{key}" for key in ("view_average", "batch_size", "clips_at_once", "num_threads", "num_workers")),
    "data.max_failures",
}


def made_of(config: Config) -> dict[str, Any]:
    """Returns the keys of a config that the weights depend on."""
    sections = ("model.", "train.", "clips.", "data.", "init_from", *(["reduction."] if config.train.reduction else []))
    values = {key: value for key, value in flattened(config) if key.startswith(sections) and key not in _NO_RESULT_KEYS}
    return json.loads(json.dumps({f"config.{key}": value for key, value in values.items()}, default=str))


class States:
    """The states of one run. Use it as a context, which at its end waits until all are written.

    Args:
        folder: Local or `gs://`; made if it does not exist.
        made_of: All that the weights depend on, by name; a run of other values is refused.
        keep: How many of the newest stay; the one with the highest score stays besides.
    """

    def __init__(self, folder: epath.PathLike, made_of: Mapping[str, Any], keep: int):
        # Importing orbax takes seconds.
        import orbax.checkpoint as ocp
        from orbax.checkpoint import checkpoint_managers as policies

        class Manager(ocp.CheckpointManager):
            def reached_preemption(self, step: int) -> bool:
                """Leaves JAX's notice to `Processes`, which counts other steps; both would wait for each other."""
                return False

        self._ocp, self._made_of = ocp, dict(made_of)
        self._folder = as_path(folder)
        best = policies.BestN(get_metric_fn=lambda scores: scores["score"], n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
            cleanup_tmp_directories=True,
        )
        # Orbax takes absolute paths alone, which addresses are.
        place = self._folder if is_bucket(self._folder) else self._folder.absolute()
        self._manager = Manager(place, options=options, item_names=("state", "run"))

    def __enter__(self) -> "States":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def save(self, state: TrainState, score: float | None = None) -> None:
        """Copies a state and writes it in the background.

        Args:
            state: One copy of it.
            score: The higher the better, if it is known.
        """
        # The devices' memory is used again by the next step.
        tree = jax.tree.map(lambda leaf: np.array(leaf, copy=True), serialization.to_state_dict(state))
        tree = {name: value for name, value in tree.items() if value is not None}
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        run = {"made_of": self._made_of, "crc32": _checksum(tree)}
        arguments = self._ocp.args.Composite(state=self._ocp.args.StandardSave(tree), run=self._ocp.args.JsonSave(run))
        self._manager.save(step, args=arguments, metrics=None if score is None else {"score": score})

    def wait(self) -> None:
        """Waits until all states are written."""
        self._manager.wait_until_finished()

    def restore(self, fresh: TrainState) -> TrainState:
        """Returns the newest state that is intact, or the fresh one if none was saved.

        Says on standard error which newer ones were passed over, and why.

        Raises:
            UserError: There are states, but they are of another run, or all are damaged.
        """
        passed_over = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state = self._read(step, fresh)
            except _Damaged as error:
                passed_over.append(f"{self._folder / str(step)}: {error}")
                continue
            for reason in passed_over:
                print(f"warning: {reason}; going on from step {step}.", file=sys.stderr)
                # Its step comes again.
                self._manager.delete(int(reason.partition(": ")[0].rpartition("/")[2]))
            return state
        if passed_over:
            raise UserError(
                "\n".join(
                    [
                        f"{self._folder}: no training state there can be gone on from:",
                        *(f"  {reason}" for reason in passed_over),
                        "Remove the folder or give another --workdir to begin anew.",
                    ]
                )
            )
        return fresh

    def _read(self, step: int, fresh: TrainState) -> TrainState:
        args = self._ocp.args
        try:
            run = self._manager.restore(step, args=args.Composite(run=args.JsonRestore()))["run"]
            made_of, checksum = run["made_of"], run["crc32"]
        # Damaged files lead anywhere in the readers of JSON, zarr and orbax's own.
        except Exception as error:
            raise _Damaged(f"this training state is damaged ({shown(_first_line(error))})") from error
        if different := differences(made_of, self._made_of, "was {}, is {}"):
            raise UserError(
                "\n".join(
                    [
                        f"{self._folder}: the training there was begun with other settings:",
                        *different,
                        "Give those again, or another --workdir to begin anew.",
                    ]
                )
            )
        expected = serialization.to_state_dict(jax.tree.map(np.asarray, fresh))
        expected = {name: value for name, value in expected.items() if value is not None}
        try:
            found = self._manager.restore(step, args=args.Composite(state=args.StandardRestore(expected)))["state"]
            if jax.tree.map(_form, found) != jax.tree.map(_form, expected):
                raise ValueError("it is of another model or optimizer")
            if _checksum(found) != checksum:
                raise ValueError("its content is not what was written")
            state: Any = serialization.from_state_dict(fresh, {"ema": None, **found})
            return state
        except Exception as error:
            raise _Damaged(f"this training state is damaged ({shown(_first_line(error))})") from error


class _Damaged(Exception):
    """A state cannot be read as it was written."""


def _form(leaf: Any) -> tuple[Any, ...]:
    return np.shape(leaf), np.asarray(leaf).dtype


def _checksum(tree: Any) -> int:
    checksum = 0
    for leaf in jax.tree.leaves(tree):
        checksum = zlib.crc32(np.ascontiguousarray(leaf).data.cast("B") if np.size(leaf) else b"", checksum)
    return checksum


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
