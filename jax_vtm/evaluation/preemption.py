"""Ends an evaluation between two batches when the system says that its time is up.

Clouds that take a machine back, Slurm at a time limit and Kubernetes all send SIGTERM first.
"""

import itertools
import os
import signal
import sys
import threading
import time
from typing import Any

from jax.experimental import multihost_utils

from jax_vtm.errors import STOPPED, Stopped

# Clouds and schedulers give 30 s or more between the signal and the end.
GRACE_S = 20.0

GOES_ON = "What is evaluated is kept; the same command goes on from there."

_TICK_S = 0.2


class Stop:
    """Whether the evaluation was told to end. Within its context SIGTERM does so, and no longer ends the process.

    A process that is alone hears the signal itself. Where there are several, JAX hears it in each, gives notice to all,
    and lets all of them stop at the same step. The steps that JAX counts are those of a clock here: processes do not
    wait for each other's batches.

    The evaluation calls `check` where nothing is lost by ending. Should that not happen in time, say because storage
    does not answer, a thread ends the process.

    Args:
        several: Whether JAX has connected this process to others.
        grace_s: Seconds until a thread ends the process.
    """

    def __init__(self, several: bool = False, grace_s: float = GRACE_S):
        self._reason, self._several, self._grace_s = "", several, grace_s
        self._timer = threading.Timer(grace_s, self._end)
        self._timer.daemon = True
        self._closed = threading.Event()
        self._before: Any = None

    def ask(self, reason: str) -> None:
        """Tells the process to end; only the first reason counts."""
        if not self._reason and not self._closed.is_set():
            self._reason = reason
            self._timer.start()

    def check(self) -> None:
        """Ends the evaluation if it was told to.

        Raises:
            Stopped: It was.
        """
        if self._reason:
            self._timer.cancel()
            raise Stopped(f"{self._reason}. {GOES_ON}")

    def __enter__(self) -> "Stop":
        if self._several:
            threading.Thread(target=self._listen, daemon=True, name="preemption notice").start()
        # Python lets only the main thread handle signals; in others, an evaluation ends as it would without this.
        elif threading.current_thread() is threading.main_thread():
            self._before = signal.signal(
                signal.SIGTERM, lambda number, frame: self.ask("the evaluation was stopped by SIGTERM")
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._timer.cancel()
        if not self._several and threading.current_thread() is threading.main_thread():
            # None stands for a handler that was not set from Python, which cannot be set again.
            signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)

    def _listen(self) -> None:
        began = time.monotonic()
        for tick in itertools.count():
            if self._closed.wait(max(0.0, began + tick * _TICK_S - time.monotonic())):
                return
            # Every number once, also after a pause: JAX waits for one of them.
            if multihost_utils.reached_preemption_sync_point(tick):
                self.ask("the evaluation was stopped by SIGTERM to one or more of its processes")
                return

    def _end(self) -> None:
        print(
            f"error: {self._reason}; given up after {self._grace_s:g} s in the middle of a batch. {GOES_ON}",
            file=sys.stderr,
            flush=True,
        )
        os._exit(STOPPED)
