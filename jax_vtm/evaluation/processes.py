"""The processes of one evaluation, each with videos and devices of its own, and what they have to tell each other.

They run independently: no step waits for another process, so that none of them has to be as fast, or to have as many
videos, as the others. They meet only before they begin, to agree on what there is to do, and at the end.

JAX notices a process that is dead, frozen or cut off, since it gives no sign of life any more, and ends all others,
naming it. It cannot know of a process that lives but makes no progress, because storage or a device does not answer:
each process watches over itself for that.
"""

import contextlib
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import msgpack
import numpy as np
from jax.experimental import multihost_utils

from jax_vtm.errors import FAILURE, MISTAKE, STOPPED, ProcessFailed, Stopped, UserError, exit_code
from jax_vtm.evaluation.distributed import SILENT_AT_MOST_S

# Clouds that take a machine back, Slurm at a time limit and Kubernetes send SIGTERM 30 s or more before the end.
GRACE_S = 20.0
GOES_ON = "What is evaluated is kept; the same command goes on from there."

_TICK_S = 0.2


class Processes:
    """This process and the others of its job. Use it as a context, once in a job, after `connect`.

    An exception that leaves it in one process ends all: they meet a last time, and each raises the reason. SIGTERM no
    longer ends the process at once, but where `check_stop` is called next; a thread ends it if that takes too long, say
    because storage does not answer. Where there are several, JAX hears the signal in each and lets all of them stop at
    the same step. Its steps are those of a clock here: processes do not wait for each other's batches.

    Args:
        timeout_s: Seconds after which a process without progress ends the job; one that is alone is not watched.
        grace_s: Seconds after which a thread ends a process that was told to stop.

    Attributes:
        index: Which process this is.
        count: How many there are.
        name: What messages call this process.
    """

    def __init__(self, timeout_s: float, grace_s: float = GRACE_S):
        # Asking JAX starts the devices, for which those who are alone may have no need yet.
        several = jax.distributed.is_initialized()
        self.index, self.count = (jax.process_index(), jax.process_count()) if several else (0, 1)
        self.name = f"process {self.index} ({socket.gethostname()})"
        self._timeout_s, self._grace_s = timeout_s, grace_s
        self._doing, self._since, self._waiting = "starting", time.monotonic(), False
        self._stopped_by = ""
        self._timers: list[threading.Timer] = []
        self._closed = threading.Event()
        # Held by the thread that tells the others that this process cannot go on.
        self._ending = threading.Lock()
        self._handler: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints and writes results."""
        return self.index == 0

    def __enter__(self) -> "Processes":
        if self.count > 1:
            # All begin to count the time at the same moment.
            self.exchange()
            threading.Thread(target=self._watch, daemon=True, name="watchdog").start()
        # Python lets only the main thread handle signals; in others, an evaluation ends as it would without this.
        elif threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, lambda *_: self._stop("SIGTERM"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._closed.set()
        self._cancel()
        if self.count == 1:
            if threading.current_thread() is threading.main_thread():
                # None stands for a handler that was not set from Python, which cannot be set again.
                signal.signal(signal.SIGTERM, self._handler or signal.SIG_DFL)
            return
        try:
            if error is not None and self._ending.acquire(blocking=False):
                self._tell(error)
        finally:
            _disconnect()

    @property
    def told_to_stop(self) -> bool:
        """Whether this process, or any other as far as it knows, was told to end."""
        return bool(self._stopped_by)

    def check_stop(self) -> None:
        """Ends the evaluation if this process, or any other, was told to; called where nothing is lost by it.

        Raises:
            Stopped: One was.
        """
        if self._stopped_by:
            self._cancel()
            raise Stopped(f"the evaluation was stopped by {self._stopped_by}. {GOES_ON}")

    def doing(self, what: str) -> None:
        """Notes progress and what this process is doing from now on, as in "has been ... for 300 s"."""
        self._doing, self._since = what, time.monotonic()

    @contextlib.contextmanager
    def unwatched(self) -> Iterator[None]:
        """A time in which this process waits for others or compiles, which takes as long as it takes."""
        self._waiting = True
        try:
            yield
        finally:
            self.doing(self._doing)
            self._waiting = False

    def exchange(self, value: Any = None) -> list[Any]:
        """Gives a plain value to all processes and returns everyone's, by process; all of them have to call it.

        Raises:
            UserError, Stopped, ProcessFailed: A process cannot go on, for a reason of this kind.
        """
        if self.count == 1:
            return [value]
        with self.unwatched():
            answers = _gather({"value": value})
        if any("code" in answer for answer in answers):
            self._ending.acquire()
            raise _reason(answers)
        return [answer["value"] for answer in answers]

    def from_first(self, value: Any) -> Any:
        """Returns the plain value that process 0 gives, in all processes."""
        return self.exchange(value if self.is_first else None)[0]

    @contextlib.contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Lets process 0 go first through something that writes to a folder which all may share."""
        if not self.is_first:
            self.exchange()
        yield
        if self.is_first:
            self.exchange()

    def check_equal(self, values: Mapping[str, Any]) -> None:
        """Makes sure that all processes evaluate the same, before any goes on.

        Raises:
            UserError: In all processes, with the differences of one from process 0.
        """
        if different := differences(self.from_first(values), values, "is {} in process 0, {} here"):
            raise UserError("\n".join(["all processes have to evaluate the same, but", *different]))
        self.exchange()

    def _stop(self, reason: str) -> None:
        if not self._stopped_by:
            self._stopped_by = reason
            given_up = f"stopped by {reason}; given up after {self._grace_s:g} s in the middle of a batch. {GOES_ON}"
            self._end_after(self._grace_s, STOPPED, f"the evaluation was {given_up}")

    def _end_after(self, seconds: float, code: int, message: str) -> None:
        timer = threading.Timer(seconds, _end, [code, message])
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def _cancel(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def _tell(self, error: BaseException) -> None:
        """Tells the others why this process cannot go on, and raises what all of them raise."""
        code, spoken = exit_code(error), isinstance(error, UserError | Stopped | ProcessFailed)
        reason = str(error) if spoken else f"{type(error).__name__}: {error}"
        if not isinstance(error, Stopped | ProcessFailed):
            reason = f"{self.name}: {reason}"
        self._end_after(GRACE_S + 10, code, reason)
        if code != STOPPED:
            # JAX gives notice of it to the others, which then come here after their batch.
            os.kill(os.getpid(), signal.SIGTERM)
        answers = _gather({"code": code, "reason": reason})
        self._cancel()
        if spoken:
            raise _reason(answers) from None

    def _watch(self) -> None:
        began = time.monotonic()
        for tick in itertools.count():
            if self._closed.wait(max(0.0, began + tick * _TICK_S - time.monotonic())):
                return
            # Every number once, also after a pause: JAX waits for one of them.
            if not self._stopped_by and multihost_utils.reached_preemption_sync_point(tick):
                self._stop("SIGTERM to one or more of its processes")
            hangs = not self._waiting and time.monotonic() - self._since > self._timeout_s
            if hangs and self._ending.acquire(blocking=False):
                reason = f"{self.name} has been {self._doing} for {self._timeout_s:g} s"
                reason += ". If that is to be expected, --config.host_timeout_s allows more."
                with contextlib.suppress(Exception):
                    self._tell(ProcessFailed(reason))
                _disconnect()
                # The main thread may be waiting for what never comes.
                _end(FAILURE, reason)


def differences(before: Mapping[str, Any], now: Mapping[str, Any], said: str) -> list[str]:
    """Returns a line for every value that is not the same, as what JSON makes of it; `said` is a form for both."""
    values = [json.loads(json.dumps(dict(one))) for one in (before, now)]
    lines = []
    for name in sorted({*before, *now}):
        old, new = (repr(one[name]) if name in one else "absent" for one in values)
        if old != new:
            lines.append(f"  {name} {said.format(old, new)}")
    return lines


def _gather(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    packed = msgpack.packb(message, unicode_errors="surrogateescape")
    assert packed is not None
    try:
        sizes = multihost_utils.process_allgather(np.array([len(packed)], np.int32)).reshape(-1).tolist()
        # Powers of two, since a program is compiled for every size.
        rows = np.zeros(1 << (max(sizes) - 1).bit_length(), np.uint8)
        rows[: len(packed)] = np.frombuffer(packed, np.uint8)
        gathered = multihost_utils.process_allgather(rows).reshape(len(sizes), -1)
    except (RuntimeError, ValueError) as error:  # JAX has its errors of either kind
        # A process has gone. JAX says which when it has missed its signs of life, and ends this process.
        time.sleep(SILENT_AT_MOST_S + 10)
        raise ProcessFailed(f"the connection to another process is lost: {str(error).splitlines()[0]}") from error
    return [
        msgpack.unpackb(row[:size].tobytes(), strict_map_key=False, unicode_errors="surrogateescape")
        for row, size in zip(gathered, sizes, strict=True)
    ]


def _reason(answers: list[dict[str, Any]]) -> Exception:
    """What all processes raise: a fault of any of them rather than a stop, which it may have caused."""
    failed = sorted((answer for answer in answers if "code" in answer), key=lambda answer: answer["code"] == STOPPED)
    kinds = {MISTAKE: UserError, STOPPED: Stopped}
    return kinds.get(failed[0]["code"], ProcessFailed)(failed[0]["reason"])


def _disconnect() -> None:
    # Waits for the others, so that none of them takes this process's end for a fault.
    with contextlib.suppress(RuntimeError):
        jax.distributed.shutdown()


def _end(code: int, message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(code)
