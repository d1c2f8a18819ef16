"""Steps in flight: devices get the next one before the last one ends, so that they do not wait for the host."""

import collections
import concurrent.futures
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import jax


class StepsInFlight:
    """Dispatches steps, and notes in a thread when each ends. Use it as a context, which at its end waits for all.

    Args:
        at_most: Steps that the devices have at a time.
        fetch: Brings to the host what a step returned, in the thread.

    Attributes:
        ended: When the last step ended that did, by `time.perf_counter`.
    """

    def __init__(self, at_most: int, fetch: Callable[[Any], Any]):
        self._at_most, self._fetch = at_most, fetch
        self._running: collections.deque[Future[tuple[Any, float]]] = collections.deque()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="steps in flight")
        self.ended = time.perf_counter()

    @property
    def first(self) -> "Future[tuple[Any, float]] | None":
        """The step that ends next; None if none is in flight."""
        while self._running and self._running[0].done():
            self._running.popleft().result()
        return self._running[0] if self._running else None

    def start(self, step: Callable[..., Any], arguments: Sequence[Any]) -> "Future[tuple[Any, float]]":
        """Dispatches a step, and waits until the devices may have another one.

        Returns:
            What the step returns, fetched, and its seconds: since the end of the one before, or since it was
            dispatched where that was later.
        """
        began = time.perf_counter()
        started = self._thread.submit(self._finish, step(*arguments), began)
        self._running.append(started)
        self.wait(leaving=self._at_most - 1)
        return started

    def wait(self, leaving: int = 0) -> None:
        """Waits until so many steps are in flight at most, and raises what went wrong in those that ended."""
        while len(self._running) > leaving:
            self._running.popleft().result()

    def wait_unless(self, other: "Future[Any]") -> None:
        """Waits until a step ends, or something else that is waited for."""
        either: list[Future[Any]] = [other, *itertools.islice(self._running, 1)]
        concurrent.futures.wait(either, return_when=concurrent.futures.FIRST_COMPLETED)

    def __enter__(self) -> "StepsInFlight":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def _finish(self, values: Any, began: float) -> tuple[Any, float]:
        jax.block_until_ready(values)
        before, self.ended = self.ended, time.perf_counter()
        return self._fetch(values), self.ended - max(before, began)
