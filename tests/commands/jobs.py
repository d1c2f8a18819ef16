"""Jobs of real processes of `python main.py`, each with CPU devices of its own, that meet through JAX's runtime.

The processes are forked from one that has imported everything but has not started JAX: a process starts in a tenth of
the time that Python takes to import.
"""

import atexit
import itertools
import multiprocessing
import os
import pathlib
import re
import signal
import socket
import sys
import time

from tiny_evaluation import draw_nothing, measure_backends

from jax_vtm.files import AnyPath

DEADLINE_S = 120
# Where processes find what a test has started.
SERVERS = {"STORAGE_EMULATOR_HOST", "TENSORSTORE_GCS_HTTP_URL", "GCE_METADATA_ROOT"}

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["grain", "pytest", "gcsfs", "jax_vtm.commands.evaluate", "jax_vtm.cli", "tiny_evaluation", __name__]
)


class Job:
    """A job on a config; what its processes print is next to its workdir."""

    def __init__(self, config: pathlib.Path, workdir: AnyPath, devices: int = 1, suffix: str = ""):
        self.config, self.workdir, self.devices, self.suffix = config, workdir, devices, suffix
        self.logs = config.parent if "://" in str(workdir) else workdir.parent
        self.processes: list[multiprocessing.Process] = []

    def start(self, count: int, *words: str, absent: int = -1, own: dict[int, list[str]] | None = None, **faults):
        """Starts the processes.

        Args:
            count: How many.
            words: What all command lines have in addition.
            absent: One of the processes that is not started after all.
            own: What single processes' command lines have in addition.
            faults: `slow_s`, seconds that each video takes longer, one after the other, while others are evaluated or
                programs compiled; `pause_s`, seconds between batches, which a request to stop ends; `compile_s`,
                seconds that compiling takes longer; `hanging_at`, number of a video that storage never gives;
                `measuring`, a folder in which "auto" keeps what it measures.
        """
        port, self._before = free_port(), self._finished()
        for index in set(range(count)) - {absent}:
            argv = ["main.py", f"--config={self.config}", f"--workdir={self.workdir}", *words]
            if "slow_s" in faults:
                argv.append("--config.data.num_threads=1")
            if count > 1:
                argv += [
                    f"--config.distributed.coordinator=localhost:{port}",
                    f"--config.distributed.num_processes={count}",
                    f"--config.distributed.process_id={index}",
                ]
            self.start_process([*argv, *(own or {}).get(index, [])], **faults)
        return self

    def start_process(self, argv: list[str], environment: dict[str, str] | None = None, **faults) -> None:
        log = self.log(len(self.processes))
        log.write_text("")
        environment = {name: os.environ[name] for name in SERVERS & os.environ.keys()} | (environment or {})
        process = _CONTEXT.Process(target=_run, args=(argv, environment, self.devices, log, faults))
        process.start()
        self.processes.append(process)

    def log(self, index: int) -> pathlib.Path:
        return self.logs / f"{self.workdir.name}{self.suffix}.{index}.log"

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
        """Waits until each process has finished another batch: its first video tells whose it is."""
        deadline, count = time.monotonic() + DEADLINE_S, len(self.processes)
        while len({int(name[:7]) % count for name in self._finished() - self._before}) < count:
            assert time.monotonic() < deadline, [self.said(k) for k in range(count)]
            assert all(process.is_alive() for process in self.processes), self.said(0)
            time.sleep(0.01)

    def _finished(self) -> set[str]:
        return {path.name for path in self.workdir.glob("resume/*.npz")}


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


def _run(argv: list[str], environment: dict[str, str], devices: int, log: pathlib.Path, faults: dict) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    flags = [word for word in os.environ["XLA_FLAGS"].split() if "device_count" not in word]
    os.environ["XLA_FLAGS"] = " ".join([*flags, f"--xla_force_host_platform_device_count={devices}"])
    os.environ.update(environment)

    from jax_vtm import cli
    from jax_vtm.data import loading
    from jax_vtm.evaluation import Processes, data_parallel

    draw_nothing()
    if "measuring" in faults:
        os.environ["JAX_VTM_CACHE"] = faults["measuring"]
        measure_backends()
    attempt, compiled_for, check_stop = loading.attempt, data_parallel.Program.compiled_for, Processes.check_stop
    checks = itertools.count()

    def read_slowly(source, index, use):
        time.sleep(10 * DEADLINE_S if index == faults.get("hanging_at") else faults.get("slow_s", 0.0))
        return attempt(source, index, use)

    def compile_slowly(program, arguments):
        time.sleep(faults.get("compile_s", 0.0))
        return compiled_for(program, arguments)

    def pause_and_check(processes):
        # It is checked before the first batch, too.
        end = time.monotonic() + (faults.get("pause_s", 0.0) if next(checks) else 0.0)
        while time.monotonic() < end and not processes.told_to_stop:
            time.sleep(0.05)
        check_stop(processes)

    loading.attempt, data_parallel.Program.compiled_for = read_slowly, compile_slowly
    Processes.check_stop = pause_and_check
    code = cli.run(argv, log)
    sys.stdout.flush()
    sys.stderr.flush()
    # As the interpreter would do in a process of its own.
    atexit._run_exitfuncs()
    os._exit(code)
