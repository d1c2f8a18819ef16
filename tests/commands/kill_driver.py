"""Runs `python main.py` again and again, each time in a process of its own, and kills it at random moments.

    python kill_driver.py CONFIG WORKDIR SEED MOMENT...

A MOMENT is "start" (soon after the process began), "evaluation" (when it has evaluated a batch or two) or "writing"
(when results begin to appear); each is tried until a process has been killed at it. Then the command runs to its end.
Printed is one line of JSON: the exit code, and at every kill how many bytes the journal had and which results there
were.

All processes are forked from this one, which has imported everything but has not started JAX: a process starts in a
tenth of the time that Python takes to import.
"""

import contextlib
import json
import os
import pathlib
import random
import signal
import sys
import time

import grain  # noqa: F401

from jax_vtm import cli

RESULTS = ("report.html", "predictions.npz", "results.json")
TRIES = 5

# A kill comes up to so many seconds after its moment.
SECONDS_AFTER = {"start": 1.0, "evaluation": 0.003, "writing": 0.003}


def start(config: str, workdir: pathlib.Path, log: pathlib.Path) -> int:
    """Starts the command in a process of its own, the leader of a group; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = cli.run(["main.py", f"--config={config}", f"--workdir={workdir}"], pathlib.Path(config))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def journal_bytes(workdir: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in workdir.glob("journal/*.bin"))


def results_written(workdir: pathlib.Path) -> dict[str, int]:
    """When each of the results was written, and whether one is being written."""
    files = [workdir / name for result in RESULTS for name in (result, f".{result}.partial")]
    written = {}
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            written[file.name] = file.stat().st_mtime_ns
    return written


def run_until(moment: str, config: str, workdir: pathlib.Path, log: pathlib.Path, rng: random.Random) -> dict | None:
    """Starts the command and kills it; returns how things stood, or None if it came to its end before."""
    journal, results = journal_bytes(workdir), results_written(workdir)
    delay = rng.uniform(0, SECONDS_AFTER[moment])
    pid = start(config, workdir, log)
    reached = time.monotonic() if moment == "start" else None
    while True:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return None
        if reached is None and moment == "evaluation" and journal_bytes(workdir) > max(journal, 2000):
            reached = time.monotonic()
        if reached is None and moment == "writing" and results_written(workdir) != results:
            reached = time.monotonic()
        # A start is over when the evaluation begins; without this a slow machine's kills would all come too early, and
        # a fast one's too late.
        begun = moment == "start" and journal_bytes(workdir) > max(journal, 2000)
        if begun or (reached is not None and time.monotonic() >= reached + delay):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return {"moment": moment, "journal": journal_bytes(workdir), "results": list(results_written(workdir))}
        time.sleep(0.0005)


def main(config: str, workdir: pathlib.Path, seed: int, moments: list[str]) -> None:
    rng = random.Random(seed)
    workdir.mkdir(parents=True, exist_ok=True)
    log = workdir.with_suffix(".log")
    kills = []
    for moment in moments:
        for _ in range(TRIES):
            if killed := run_until(moment, config, workdir, log, rng):
                kills.append(killed)
                break
    code = os.waitstatus_to_exitcode(os.waitpid(start(config, workdir, log), 0)[1])
    print(json.dumps({"exit_code": code, "kills": kills}))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
