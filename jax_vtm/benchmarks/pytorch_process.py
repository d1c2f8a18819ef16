"""PyTorch in a process of its own, which waits while we run, as we wait while it runs.

Two runtimes in one process would have their threads side by side, and one that spins while it has nothing to do would
slow the other down. Here each blocks in a read while the other works; how much processor time it takes meanwhile is
counted, so that it can be seen to be none.
"""

import multiprocessing
import os
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction

# Threads of OpenMP, which PyTorch computes with, sleep between loops instead of spinning.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


class PytorchProcess:
    """Starts the process when it is first asked for something, and ends it on leaving the context.

    Args:
        threads: On which PyTorch computes.
        accelerator: Whether it computes on CUDA.
    """

    def __init__(self, threads: int, *, accelerator: bool = False):
        self._threads, self._accelerator = threads, accelerator
        self._process: Any = None
        self._connection: Any = None
        # Of both processes: seconds of the clock spent waiting for the other, and of the processor meanwhile.
        self._waited = {"jax_vtm": [0.0, 0.0], "PyTorch": [0.0, 0.0]}
        self.environment: dict[str, Any] = {}

    def __enter__(self) -> "PytorchProcess":
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is None:
            return
        self._connection.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    @property
    def idle(self) -> dict[str, float]:
        """Cores that either process kept busy while it waited for the other; empty before anything ran."""
        return {name: cpu / wall for name, (wall, cpu) in self._waited.items() if wall}

    def write_weights(self, preset: str, overrides: Mapping[str, Any], folder: str) -> str:
        """As `jax_vtm.pytorch.timing.write_weights`."""
        return self._ask("write_weights", preset, dict(overrides), folder)

    def prepare(
        self,
        name: str,
        kind: str,
        preset: str,
        overrides: Mapping[str, Any],
        reduction: Reduction,
        dtype: str,
        video: np.ndarray,
    ) -> dict[str, Any]:
        """Makes a model ready under a name.

        Returns:
            "logits", "first_run_s" and "peak_bytes" of its first run.

        Raises:
            UserError: It cannot be; the message says why.
        """
        return self._ask("prepare", name, kind, preset, dict(overrides), reduction, dtype, video, self._accelerator)

    def seconds(self, name: str, times: int) -> float:
        """Runs a model that is ready."""
        return self._ask("seconds", name, times)

    def _ask(self, *question: Any) -> Any:
        process = self._process or self._start()
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            self._connection.send(question)
            outcome, answer, waited = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            process.join(10)
            raise UserError(
                f"the process of PyTorch ended with exit code {process.exitcode}; -9 is out of memory."
            ) from error
        if question[0] == "seconds":
            # Other questions send arrays, which is work.
            self._add("jax_vtm", time.perf_counter() - wall, time.process_time() - cpu)
            self._add("PyTorch", *waited)
        if outcome == "cannot":
            raise UserError(answer)
        return answer

    def _add(self, name: str, wall: float, cpu: float) -> None:
        self._waited[name][0] += wall
        self._waited[name][1] += cpu

    def _start(self) -> Any:
        before = {name: os.environ.get(name) for name in WAITING}
        os.environ.update(WAITING)
        try:
            # Not forked: a copy of JAX's threads would be of no use to it.
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=serve, args=(theirs, self._threads), daemon=True)
            self._process.start()
            theirs.close()
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value
        found = self._ask("environment")
        self.environment = {"torch_threads": found.pop("threads"), **found}
        return self._process


def serve(connection: Connection, threads: int) -> None:
    """Answers questions until the other end is closed; runs in the process of PyTorch."""
    models: dict[str, Any] = {}
    while True:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            question, *arguments = connection.recv()
        except EOFError:
            return
        waited = (time.perf_counter() - wall, time.process_time() - cpu)
        try:
            answer = ("done", _answer(models, threads, question, arguments))
        except UserError as error:
            answer = ("cannot", str(error))
        connection.send((*answer, waited))


def _answer(models: dict[str, Any], threads: int, question: str, arguments: Any) -> Any:
    # Raises a UserError if PyTorch is not installed.
    from jax_vtm.pytorch import hugging_face, timing

    if question == "environment":
        hugging_face.use_threads(threads)
        return hugging_face.environment()
    if question == "write_weights":
        return timing.write_weights(*arguments)
    try:
        if question == "seconds":
            name, times = arguments
            return models[name].seconds(times)
        name, *rest, accelerator = arguments
        model = models[name] = timing.Timed(*rest, accelerator=accelerator)
    except Exception as error:
        if isinstance(error, UserError):
            raise
        if timing.is_out_of_memory(error):
            raise UserError(f"out of memory: {error}") from error
        # Whatever PyTorch cannot do here, such as compiling without a compiler, is a reason for its row.
        raise UserError(f"PyTorch: {type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
    return {"logits": model.logits, "first_run_s": model.first_run_s, "peak_bytes": model.peak_bytes}
