"""PyTorch in a process of its own, which waits while we run, as we wait while it runs.

Two runtimes in one process would have their threads side by side, and one that spins while it has nothing to do would
slow the other down. Here each blocks in a read while the other works; how much processor time it takes meanwhile is
counted, so that it can be seen to be none.
"""

import concurrent.futures
import importlib
import multiprocessing
import os
import tempfile
import time
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from jax_vtm.benchmarks.experiments import Experiment
from jax_vtm.benchmarks.inputs import Inputs
from jax_vtm.checkpoints import load_checkpoint
from jax_vtm.data.source import SINGLE_HEAD
from jax_vtm.data.spatial import normalise
from jax_vtm.errors import UserError
from jax_vtm.timing import Seconds, Timer

# Threads of OpenMP, which PyTorch computes with, sleep between loops instead of spinning.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


class PytorchProcess:
    """Starts the process when it is first asked for something, and ends it on leaving the context.

    Args:
        threads: On which PyTorch computes.
        accelerator: Whether it computes on CUDA.
    """

    def __init__(self, threads: int, *, accelerator: bool = False):
        self._settings = threads, accelerator
        self._executor: concurrent.futures.Executor | None = None
        # Of both processes: seconds of the clock spent waiting for the other, and of the processor meanwhile.
        self._waited = {"jax_vtm": np.zeros(2), "PyTorch": np.zeros(2)}
        self.environment: dict[str, Any] = {}

    def __enter__(self) -> "PytorchProcess":
        return self

    def __exit__(self, *error: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    @property
    def idle(self) -> dict[str, float]:
        """Cores that either process kept busy while it waited for the other; empty before anything ran."""
        return {name: float(cpu / wall) for name, (wall, cpu) in self._waited.items() if wall}

    def share_weights(self, experiment: Experiment, inputs: Inputs) -> None:
        """Lets all experiments of a model have the weights that PyTorch draws for it.

        Raises:
            UserError: PyTorch or the model are not there.
        """
        if not inputs.has_weights(experiment):
            with tempfile.TemporaryDirectory() as folder:
                file = self._ask("write_weights", _overrides(experiment), folder)
                inputs.give_weights(experiment, load_checkpoint(file, experiment.model)["params"])

    def prepare(self, experiment: Experiment, inputs: Inputs) -> tuple[dict[str, Any], dict[str, np.ndarray], Timer]:
        """Builds and runs one of PyTorch's models.

        Returns:
            What was measured meanwhile, logits by head, and what times it.

        Raises:
            UserError: It cannot be here; the message says why.
        """
        one = experiment
        settings = (one.implementation, one.reduction, one.fields["dtype"], normalise(inputs.frames(one)))
        facts, logits = self._ask("prepare", one.name, _overrides(one), *settings)
        return facts, {SINGLE_HEAD: logits}, lambda times: self._seconds(one.name, times)

    def _seconds(self, name: str, times: int) -> Seconds:
        wall, cpu = time.perf_counter(), time.process_time()
        taken, waited = self._ask("seconds", name, times)
        self._waited["jax_vtm"] += (time.perf_counter() - wall, time.process_time() - cpu)
        self._waited["PyTorch"] += waited
        return taken

    def _ask(self, task: str, *arguments: Any) -> Any:
        if self._executor is None:
            importlib.import_module("jax_vtm.pytorch")  # says what is missing
            # Not forked: a copy of JAX's threads would be of no use to it.
            self._executor = concurrent.futures.ProcessPoolExecutor(
                1, multiprocessing.get_context("spawn"), initializer=_sleep_between_loops
            )
            self.environment = self._ask("start", *self._settings)
        try:
            return self._executor.submit(_answer, task, arguments).result()
        except BrokenProcessPool as error:
            raise UserError("the process of PyTorch ended before it answered, perhaps for want of memory.") from error


def _overrides(experiment: Experiment) -> dict[str, Any]:
    # PyTorch's process need not know of config dictionaries.
    return {key: tuple(value) if isinstance(value, list) else value for key, value in experiment.weights_fields.items()}


def _sleep_between_loops() -> None:
    # Before PyTorch is imported, which reads it.
    os.environ.update(WAITING)


def _answer(task: str, arguments: Any) -> Any:
    """Does a task in PyTorch's process; only there is PyTorch imported."""
    worker = importlib.import_module("jax_vtm.pytorch.worker")
    return worker.answer(task, arguments)
