"""The processes of one evaluation, each with videos and devices of its own, and what they have to tell each other.

They run independently: no step waits for another process, so that none of them has to be as fast, or to have as many
videos, as the others. Only before they begin do they agree on what there is to do, and at the end process 0 gets what
the others have.
"""

import contextlib
import itertools
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from jax._src import distributed

from jax_vtm.errors import Stopped, UserError
from jax_vtm.evaluation.preemption import Stop
from jax_vtm.evaluation.store import RuntimeStore, Store
from jax_vtm.evaluation.watchdog import Trouble, Watchdog

# Large enough for the store's 13 MB/s not to be lost in round trips, small enough for a chunk to be progress.
_CHUNK_BYTES = 1 << 22
# Chunks of which process 0 holds copies in its store while it reads.
_CHUNKS_AHEAD = 2
_SECONDS_PER_LOOK = 1.0


class Processes:
    """This process and the others of its job. Alone, everything here returns at once and nothing is watched.

    Within its context the process watches over the others, and they over it; SIGTERM is heard, as `Stop` describes, and
    what one process is told all are. An exception that leaves the context ends this process and, with its reason, all
    others: a process that is not alone does not come back from it. One job can be the context of one evaluation.

    Args:
        timeout_s: Seconds after which a process without progress, or without a sign of life, ends the job.
        exit_code: Says which exit code an exception ends the process with.
        store: How they communicate; None takes what `connect` has connected to.
        index: Which process this is; None asks JAX.
        count: How many there are; None asks JAX.
        before_end: Called where this process is ended without coming back from the context.

    Attributes:
        index: Which process this is.
        count: How many there are.
        name: What messages call this process.
    """

    def __init__(
        self,
        timeout_s: float,
        exit_code: Callable[[BaseException], int],
        *,
        store: Store | None = None,
        index: int | None = None,
        count: int | None = None,
        before_end: Callable[[], None] = lambda: None,
    ):
        # Not `jax.process_index()`, which starts the devices.
        runtime = distributed.global_state
        self.index = runtime.process_id if index is None else index
        self.count = runtime.num_processes if count is None else count
        self.name = f"process {self.index} ({socket.gethostname()})"
        self._exit_code, self._before_end = exit_code, before_end
        self._store = store or RuntimeStore(runtime.client)
        self._reported: Mapping[str, Any] = {}
        stop_code = exit_code(Stopped())
        self._watchdog: Watchdog | None = None
        if self.count == 1:
            self._stop = Stop(stop_code)
            return
        self._stop = Stop(stop_code, self.name)
        self._watchdog = Watchdog(
            self._store,
            self.index,
            self.count,
            name=self.name,
            first_name=f"process 0 ({runtime.coordinator_address})",
            timeout_s=timeout_s,
            stop=self._stop,
            stop_code=stop_code,
            end=self._end,
        )

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints and writes results."""
        return self.index == 0

    def __enter__(self) -> "Processes":
        self._stop.__enter__()
        if self._watchdog is not None:
            self._watchdog.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watchdog is not None and error is not None:
            self._watchdog.fail(self._trouble(error))
        if self._watchdog is not None:
            self._watchdog.close()
        self._stop.__exit__(kind, error, trace)

    def _end(self, exit_code: int) -> None:
        self._before_end()
        os._exit(exit_code)

    def _trouble(self, error: BaseException) -> Trouble:
        code = self._exit_code(error)
        if isinstance(error, Stopped):
            return Trouble(str(error), code, is_stop=True)
        if isinstance(error, UserError):
            return Trouble(f"{self.name}: {error}", code)
        traceback.print_exception(error, file=sys.stderr)
        return Trouble(f"{self.name}: {type(error).__name__}: {error}", code)

    def check_stop(self) -> None:
        """Ends the evaluation if this process, or any other, was told to; called where nothing is lost by it.

        Raises:
            Stopped: One was.
        """
        self._stop.check()

    def doing(self, what: str) -> None:
        """Notes progress and what this process is doing from now on, as in "has been ... for 300 s"."""
        if self._watchdog is not None:
            self._watchdog.doing(what)

    def compiling(self, what: str) -> AbstractContextManager[None]:
        """Says that it compiles something, which takes as long as it takes and does not count as hanging."""
        return contextlib.nullcontext() if self._watchdog is None else self._watchdog.waiting(f"compiling {what}")

    @contextlib.contextmanager
    def first_before_others(self, what: str) -> Iterator[None]:
        """Lets process 0 go first through something that writes to a folder which all may share.

        Args:
            what: The same name in all processes, used once.
        """
        if not self.is_first:
            self._wait_for(f"first/{what}", f"waiting for process 0 to be done with {what}")
        yield
        if self.is_first and self.count > 1:
            self._store.put(f"first/{what}", b"")

    def from_first(self, what: str, value: Any) -> Any:
        """Returns the plain value that process 0 gives, in all processes.

        Args:
            what: The same name in all processes, used once.
            value: Process 0's; what others give does not matter.
        """
        if self.count == 1:
            return value
        if self.is_first:
            self._store.put(f"value/{what}", json.dumps(value).encode())
            return value
        return json.loads(self._wait_for(f"value/{what}", f"waiting for process 0's {what}"))

    def check_equal(self, values: Mapping[str, Any]) -> None:
        """Makes sure that all processes evaluate the same, before any goes on.

        Raises:
            UserError: In processes whose values are not process 0's, with the differences.
        """
        ours = json.loads(json.dumps(values))
        first = self.from_first("settings", ours)
        different = [
            f"  {key} is {ours.get(key)!r} here, {first.get(key)!r} in process 0"
            for key in sorted({*ours, *first})
            if ours.get(key) != first.get(key)
        ]
        if different:
            raise UserError("\n".join(["all processes have to evaluate the same, but", *different]))
        if not self.is_first:
            self._store.put(f"equal/{self.index}", b"")
        for index in range(1, self.count) if self.is_first else ():
            self._wait_for(f"equal/{index}", f"waiting for process {index} to open the same videos")

    def report(self, values: Mapping[str, Any]) -> None:
        """Lets process 0 know about plain values, sooner or later, in place of those reported before."""
        self._reported = values
        if self._watchdog is not None:
            self._watchdog.report(values)

    @property
    def reported(self) -> list[Mapping[str, Any]]:
        """In process 0, what every process has reported last; empty for those that have not reported anything yet."""
        return self._watchdog.reported if self._watchdog is not None else [self._reported]

    def send(self, what: str, messages: Iterable[bytes]) -> None:
        """Sends messages from another process to process 0, which has to `receive` them.

        Args:
            what: The same name in all processes, used once.
            messages: Made as process 0 takes them.
        """
        for number, (kind, chunk) in enumerate(_chunks(messages)):
            wanted = f"wanted/{what}/{self.index}/{number}"
            self._wait_for(wanted, f"waiting for process 0 to take its {what}")
            self._store.delete(wanted)
            self.doing(f"sending its {what}")
            self._store.put(f"chunk/{what}/{self.index}/{number}", kind + chunk)

    def receive(self, what: str, index: int) -> Iterator[bytes]:
        """Receives, in process 0, the messages that another process sends; holds few of their bytes twice."""
        for number in range(_CHUNKS_AHEAD):
            self._store.put(f"wanted/{what}/{index}/{number}", b"")
        parts = []
        for number in itertools.count():
            name = f"chunk/{what}/{index}/{number}"
            chunk = self._wait_for(name, f"waiting for the {what} of process {index}")
            self._store.delete(name)
            if chunk[:1] == _END:
                return
            self._store.put(f"wanted/{what}/{index}/{number + _CHUNKS_AHEAD}", b"")
            parts.append(chunk[1:])
            if chunk[:1] == _LAST:
                yield b"".join(parts)
                parts.clear()

    def until_all_have_reported(self, name: str) -> Iterator[list[Mapping[str, Any]]]:
        """Waits, in process 0, until every process has reported a value of that name; yields what there is so far."""
        if self._watchdog is None:
            return
        with self._watchdog.waiting("waiting for the others"):
            while True:
                self._stop.check()
                reported = self._watchdog.reported
                yield reported
                if all(name in values for values in reported):
                    return
                time.sleep(_SECONDS_PER_LOOK / 4)

    def _wait_for(self, name: str, what: str) -> bytes:
        """Waits for a value of the store, as long as nothing is wrong with any process."""
        assert self._watchdog is not None
        with self._watchdog.waiting(what):
            while (value := self._store.get(name, _SECONDS_PER_LOOK)) is None:
                self._stop.check()
        return value


# What a chunk is: a message's last one, an earlier one, or none, after the last message.
_LAST, _MORE, _END = b"l", b"m", b"e"


def _chunks(messages: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for message in messages:
        for start in range(0, max(len(message), 1), _CHUNK_BYTES):
            chunk = message[start : start + _CHUNK_BYTES]
            yield (_LAST if start + _CHUNK_BYTES >= len(message) else _MORE), chunk
    yield _END, b""
