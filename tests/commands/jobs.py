"""Jobs of several real processes of `python main.py`, each with CPU devices of its own, that meet through gloo.

The processes are forked from one that has imported everything but has not started JAX: a process starts in a tenth of
the time that Python takes to import.
"""

import atexit
import multiprocessing
import os
import pathlib
import re
import signal
import socket
import sys
import time
from dataclasses import dataclass, field

DEADLINE_S = 60

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["grain", "pytest", "jax_vtm.commands.evaluate", "jax_vtm.cli", __name__])


@dataclass
class Job:
    """A job on a config.

    Attributes:
        config: The config file.
        workdir: Of all processes; what they print is beside it.
        devices: How many each process has.
    """

    config: pathlib.Path
    workdir: pathlib.Path
    devices: int = 1
    processes: list[multiprocessing.Process] = field(default_factory=list)
    _before: dict[int, int] = field(default_factory=dict)

    def start(
        self,
        count: int,
        *words: str,
        slow_s: float = 0.0,
        compile_s: float = 0.0,
        hanging_at: int | None = None,
        absent: int | None = None,
        own: dict[int, list[str]] | None = None,
    ) -> "Job":
        """Starts the processes.

        Args:
            count: How many.
            words: What all command lines have in addition.
            slow_s: Seconds that each video takes longer; they come one after the other then.
            compile_s: Seconds that compiling takes longer.
            hanging_at: Number of a video that storage never gives.
            absent: One of the processes that is not started after all.
            own: What single processes' command lines have in addition.
        """
        port, self._before = free_port(), self._journal_bytes()
        for index in set(range(count)) - {absent}:
            argv = ["main.py", f"--config={self.config}", f"--workdir={self.workdir}", *words]
            if slow_s:
                argv.append("--config.data.num_threads=1")
            if count > 1:
                argv += [
                    f"--config.distributed.coordinator=localhost:{port}",
                    f"--config.distributed.num_processes={count}",
                    f"--config.distributed.process_id={index}",
                ]
            argv += (own or {}).get(index, [])
            arguments = (argv, self.devices, slow_s, compile_s, hanging_at, self.log(index))
            self.log(index).write_text("")
            process = _CONTEXT.Process(target=_run, args=arguments)
            process.start()
            self.processes.append(process)
        return self

    def log(self, index: int) -> pathlib.Path:
        return self.workdir.with_name(f"{self.workdir.name}.{index}.log")

    def kill(self, index: int, number: int = signal.SIGKILL) -> None:
        os.kill(self.processes[index].pid, number)

    def wait(self) -> list[int]:
        """Waits for all processes to end, and kills those that do not; returns their exit codes."""
        deadline = time.monotonic() + DEADLINE_S
        try:
            for process in self.processes:
                process.join(max(0.0, deadline - time.monotonic()))
            return [process.exitcode for process in self.processes]
        finally:
            self.end()

    def join(self, index: int) -> None:
        """Waits for one process alone."""
        self.processes[index].join(DEADLINE_S)

    def end(self) -> None:
        """Kills what is left."""
        for process in self.processes:
            process.kill()
            process.join()
        self.processes.clear()

    def said(self, index: int) -> str:
        """Returns what a process has printed, without the lines of gloo, which are there on CPUs only."""
        # Its threads write at the same time, each message in pieces that may come between those of another.
        lines = self.log(index).read_text().splitlines(keepends=True)
        return "".join(line for line in lines if line.strip() and not re.search(r"\[Gloo\]|peer ranks", line))

    def wait_for_predictions(self) -> None:
        """Waits until each process has added predictions to its journal."""
        deadline = time.monotonic() + DEADLINE_S
        while not all(
            self._journal_bytes().get(index, 0) > self._before.get(index, 0) + 2000
            for index in range(len(self.processes))
        ):
            assert time.monotonic() < deadline, [self.said(k) for k in range(len(self.processes))]
            assert all(process.is_alive() for process in self.processes), self.said(0)
            time.sleep(0.01)

    def _journal_bytes(self) -> dict[int, int]:
        return {int(path.stem): path.stat().st_size for path in self.workdir.glob("journal/*.bin")}


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


def _run(
    argv: list[str], devices: int, slow_s: float, compile_s: float, hanging_at: int | None, log: pathlib.Path
) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    flags = [word for word in os.environ["XLA_FLAGS"].split() if "device_count" not in word]
    os.environ["XLA_FLAGS"] = " ".join([*flags, f"--xla_force_host_platform_device_count={devices}"])

    from jax_vtm import cli
    from jax_vtm.data import loading
    from jax_vtm.evaluation import data_parallel

    load = loading._load

    def load_slowly(source, index, protocol, *out):
        time.sleep(10 * DEADLINE_S if index == hanging_at else slow_s)
        return load(source, index, protocol, *out)

    loading._load = load_slowly
    compiled_for = data_parallel.Program.compiled_for

    def compile_slowly(program, arguments):
        time.sleep(compile_s)
        return compiled_for(program, arguments)

    data_parallel.Program.compiled_for = compile_slowly
    code = cli.run(argv, log)
    sys.stdout.flush()
    sys.stderr.flush()
    # As the interpreter would do in a process of its own.
    atexit._run_exitfuncs()
    os._exit(code)
