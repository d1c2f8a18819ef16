"""The processes of one evaluation, each with videos and devices of its own, and what they have to tell each other.

They run independently: no step waits for another process, so that none of them has to be as fast, or to have as many
videos, as the others. They meet only before they begin, to agree on what there is to do, and at the end.

JAX notices a process that is dead, frozen or cut off, since it gives no sign of life any more, and ends all others,
naming it. It cannot know of a process that lives but makes no progress, because storage or a device does not answer:
each process watches over itself for that.
"""

import contextlib
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
from jax_vtm.evaluation.preemption import GRACE_S, Stop

_LOOK_S = 0.5


class Processes:
    """This process and the others of its job. Alone, everything here returns at once and nothing is watched.

    Use it as a context, once in a job, after `connect`. SIGTERM is heard in it, as `Stop` describes. An exception that
    leaves it in one process ends all: they meet a last time, and each raises the reason.

    Args:
        timeout_s: Seconds after which a process without progress ends the job.

    Attributes:
        index: Which process this is.
        count: How many there are.
        name: What messages call this process.
    """

    def __init__(self, timeout_s: float):
        # Asking JAX starts the devices, for which those who are alone may have no need yet.
        several = jax.distributed.is_initialized()
        self.index, self.count = (jax.process_index(), jax.process_count()) if several else (0, 1)
        self.name = f"process {self.index} ({socket.gethostname()})"
        self._timeout_s = timeout_s
        self._stop = Stop(self.count > 1)
        self._doing, self._since, self._waiting = "starting", time.monotonic(), False
        self._closed = threading.Event()
        # Held by whoever tells the others that this process cannot go on.
        self._ending = threading.Lock()

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints and writes results."""
        return self.index == 0

    def __enter__(self) -> "Processes":
        # So that all begin to count the time at the same moment.
        self.exchange()
        self._stop.__enter__()
        if self.count > 1:
            threading.Thread(target=self._watch, daemon=True, name="watchdog").start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._closed.set()
        try:
            if self.count > 1 and error is not None and self._ending.acquire(blocking=False):
                self._tell(error)
        finally:
            self._stop.__exit__()
            self._disconnect()

    def check_stop(self) -> None:
        """Ends the evaluation if this process, or any other, was told to; called where nothing is lost by it.

        Raises:
            Stopped: One was.
        """
        self._stop.check()

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
        (_, first), *others = self.exchange([self.name, dict(values)])
        for name, theirs in others:
            different = [
                f"  {key} is {theirs.get(key)!r}, but {first.get(key)!r} in process 0"
                for key in sorted({*first, *theirs})
                if theirs.get(key) != first.get(key)
            ]
            if different:
                self._ending.acquire()
                raise UserError("\n".join([f"{name}: all processes have to evaluate the same, but", *different]))

    def _tell(self, error: BaseException) -> None:
        """Tells the others why this process cannot go on, and raises what all of them raise."""
        code = exit_code(error)
        reason = str(error)
        if isinstance(error, UserError):
            reason = f"{self.name}: {error}"
        elif not isinstance(error, Stopped | ProcessFailed):
            reason = f"{self.name}: {type(error).__name__}: {error}"
        late = threading.Timer(GRACE_S + 10, os._exit, [code])
        late.daemon = True
        late.start()
        if code != STOPPED:
            # JAX gives notice of it to the others, which then come here after their batch.
            os.kill(os.getpid(), signal.SIGTERM)
        try:
            answers = _gather({"code": code, "reason": reason})
        except ProcessFailed:
            return
        finally:
            late.cancel()
        if isinstance(error, UserError | Stopped | ProcessFailed):
            raise _reason(answers) from None

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_S):
            if self._waiting or time.monotonic() - self._since <= self._timeout_s:
                continue
            if self._ending.acquire(blocking=False):
                error = ProcessFailed(
                    f"{self.name} has been {self._doing} for {self._timeout_s:g} s. If that is to be expected, allow "
                    "more with --config.host_timeout_s."
                )
                print(f"error: {error}", file=sys.stderr, flush=True)
                with contextlib.suppress(Exception):
                    self._tell(error)
                self._disconnect()
                # The main thread may be waiting for what never comes.
                os._exit(FAILURE)

    def _disconnect(self) -> None:
        if self.count > 1:
            # Waits for the others, so that none of them takes this process's end for a fault.
            with contextlib.suppress(RuntimeError):
                jax.distributed.shutdown()


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
