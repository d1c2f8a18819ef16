"""Notices when a process of a job has died, hangs or has failed, and ends this one too.

Waiting for another process may last for ever, and so may a step on a broken device or a read from storage that has
gone. Only threads of their own can notice and say so: one talks with the store, which may itself keep it waiting, the
other one judges and never waits.
"""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from jax_vtm.evaluation.preemption import GRACE_S, Stop
from jax_vtm.evaluation.store import Store

# A sign of life is given every half second, whatever the process is doing. Machines that are moved while they run are
# silent for a few seconds.
SILENT_AT_MOST_S = 60.0

_POLL_S = 0.5
# Process 0 gives the others this long to read why the job ends, for the store ends with it.
_GRACE_S = 5.0

# The exit code of a job of which a process dies or hangs.
FAILED = 1

_ALIVE, _FAILED = "alive", "failed"


@dataclass(frozen=True)
class Trouble:
    """Why the job cannot go on.

    Attributes:
        reason: Which process has a problem and which, in plain words.
        exit_code: Of every process.
        is_stop: Nothing is wrong, but a process was told to end.
    """

    reason: str
    exit_code: int
    is_stop: bool = False


class Watchdog:
    """Watches over this process and the others of its job, between `start` and `close`.

    Args:
        store: Where the processes say how they are.
        index: Which process this is. Process 0 watches over all others, and they over it.
        count: How many there are.
        name: What messages call this process.
        first_name: What they call process 0.
        timeout_s: Seconds without progress after which a process counts as hanging. Without a sign of life it does
            after a minute, if that is less.
        stop: Asked to end the evaluation between two batches when any process was told to.
        stop_code: The exit code of a job that was told to end.
        end: Ends the process with an exit code.
    """

    def __init__(
        self,
        store: Store,
        index: int,
        count: int,
        *,
        name: str,
        first_name: str,
        timeout_s: float,
        stop: Stop,
        stop_code: int,
        end: Callable[[int], None],
    ):
        self._store, self._index, self._count = store, index, count
        self._name, self._first_name = name, first_name
        self._timeout_s, self._silent_s = timeout_s, min(timeout_s, SILENT_AT_MOST_S)
        self._stop, self._stop_code, self._end = stop, stop_code, end
        self._doing, self._since, self._waiting = "starting", time.monotonic(), False
        self._reported: Mapping[str, Any] = {}
        self._beat = 0
        self._signs: dict[int, dict[str, Any]] = {}
        self._heard_at = dict.fromkeys(range(count), time.monotonic())
        self._failures: dict[int, Trouble] = {}
        self._own_failure: Trouble | None = None
        self._leaving = self._may_leave = False
        self._ending = threading.Lock()
        self._closed, self._hurry = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._talk, daemon=True, name="signs of life"),
            threading.Thread(target=self._judge, daemon=True, name="watchdog"),
        ]

    def start(self) -> None:
        """Begins to watch."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends the watching."""
        self._closed.set()
        self._hurry.set()
        # Not joined: a thread that waits for a process which has gone would hold up the end.

    def doing(self, what: str) -> None:
        """Notes progress, and what the process is doing from now on, as in "process 1 has been ... for 300 s"."""
        self._doing, self._since = what, time.monotonic()

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Says that the process waits or compiles, which may take as long as it will, and then goes on as before."""
        before = self._doing
        self._waiting, self._doing = True, what
        try:
            yield
        finally:
            self.doing(before)
            self._waiting = False

    def report(self, values: Mapping[str, Any]) -> None:
        """Lets process 0 know about plain values, in place of those reported before."""
        self._reported = dict(values)
        self._hurry.set()

    @property
    def reported(self) -> list[Mapping[str, Any]]:
        """What each process has reported, in process 0; those that have not reported anything yet are empty."""
        signs = [self._signs.get(index, {}).get("reported", {}) for index in range(self._count)]
        signs[self._index] = self._reported
        return signs

    def fail(self, trouble: Trouble) -> None:
        """Tells the others that this process cannot go on, and why, and ends it; does not return."""
        self._own_failure = trouble
        if not self._end_all(trouble):
            # The other thread is ending the process already.
            threading.Event().wait()

    def _talk(self) -> None:
        while not self._closed.is_set():
            try:
                self._exchange()
            except Exception:
                # Process 0 does not answer; the other thread notices when that lasts.
                time.sleep(_POLL_S)
            self._hurry.wait(_POLL_S)
            self._hurry.clear()

    def _exchange(self) -> None:
        leaving = self._leaving
        trouble = self._own_failure
        if trouble is None and self._stop.reason:
            trouble = Trouble(self._stop.reason, self._stop_code, is_stop=True)
        if trouble is not None:
            self._store.put(f"{_FAILED}/{self._index}", json.dumps(astuple(trouble)).encode())
        self._beat += 1
        sign = {
            "beat": self._beat,
            "name": self._name,
            "doing": self._doing,
            "reported": self._reported,
            "leaving": leaving,
        }
        self._store.put(f"{_ALIVE}/{self._index}", json.dumps(sign).encode())
        if self._index == 0:
            self._hear_signs()
        failures = self._store.under(_FAILED)
        self._failures = {int(index): Trouble(*json.loads(value)) for index, value in failures.items()}
        if self._index != 0:
            self._heard_at[0] = time.monotonic()
            self._may_leave = leaving

    def _hear_signs(self) -> None:
        for index, value in self._store.under(_ALIVE).items():
            sign = json.loads(value)
            if sign["beat"] != self._signs.get(int(index), {}).get("beat"):
                self._heard_at[int(index)] = time.monotonic()
            self._signs[int(index)] = sign
        self._may_leave = all(
            self._signs.get(index, {}).get("leaving") or self._is_silent(index) for index in range(1, self._count)
        )

    def _judge(self) -> None:
        while not self._closed.wait(_POLL_S):
            others = {index: failure for index, failure in self._failures.items() if index != self._index}
            failed = next((failure for failure in others.values() if not failure.is_stop), None)
            if failed is None:
                for failure in others.values():
                    self._stop.ask(failure.reason)
                failed = self._hanging() or self._silent()
                self._own_failure = self._own_failure or failed
            if failed is not None:
                self._end_all(failed)
                return

    def _hanging(self) -> Trouble | None:
        """Whether this process itself makes no progress."""
        if self._waiting or time.monotonic() - self._since <= self._timeout_s:
            return None
        return Trouble(
            f"{self._name} has been {self._doing} for {self._timeout_s:g} s. If that is to be expected, allow more "
            "with --config.host_timeout_s.",
            FAILED,
        )

    def _silent(self) -> Trouble | None:
        """Whether another process has gone: any other for process 0, which is the one that the others look at."""
        watched = range(1, self._count) if self._index == 0 else [0]
        names = [self._described(index) for index in watched if self._is_silent(index)]
        if not names:
            return None
        return Trouble(
            f"{'; '.join(names)}: no sign of life for {self._silent_s:g} s: dead, hanging or cut off.", FAILED
        )

    def _is_silent(self, index: int) -> bool:
        return time.monotonic() - self._heard_at[index] > self._silent_s

    def _described(self, index: int) -> str:
        if index == 0:
            return self._first_name
        sign = self._signs.get(index)
        return f"{sign['name']}, last {sign['doing']}" if sign else f"process {index}"

    def _end_all(self, trouble: Trouble) -> bool:
        """Says why, and ends this process, process 0 after the others; False if it is ending already."""
        if not self._ending.acquire(blocking=False):
            return False
        print(f"error: {trouble.reason}", file=sys.stderr, flush=True)
        self._leaving = True
        deadline = time.monotonic() + (GRACE_S if trouble.is_stop else _GRACE_S)
        # One that cannot reach process 0 has nobody to tell.
        while time.monotonic() < deadline and not (self._may_leave or (self._index > 0 and self._is_silent(0))):
            self._hurry.set()
            time.sleep(_POLL_S / 5)
        sys.stdout.flush()
        # The main thread may be waiting for what never comes.
        self._end(trouble.exit_code)
        return True
