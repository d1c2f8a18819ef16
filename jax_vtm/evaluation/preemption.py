"""Ends an evaluation between two batches when the system says that its time is up."""

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

from jax_vtm.errors import Stopped

# Clouds and schedulers give 30 s or more between the signal and the end.
GRACE_S = 20.0

GOES_ON = "What is evaluated is in the journal; the same command goes on from there."


class Stop:
    """Whether the process has been told to end. Within its context SIGTERM does so, and no longer ends the process.

    Clouds that take a machine back, Slurm at a time limit and Kubernetes all send SIGTERM first. Whoever works calls
    `check` where nothing is lost by ending. Should that not happen in time, say because storage does not answer, the
    process is ended from a thread.

    Args:
        exit_code: Of a process that is ended from the thread.
        who: What messages say is stopped.
        grace_s: Seconds until that happens.

    Attributes:
        reason: Who told it and how, in plain words; empty as long as nobody has.
    """

    def __init__(self, exit_code: int, who: str = "the evaluation", grace_s: float = GRACE_S):
        self.reason = ""
        self._timer = threading.Timer(grace_s, self._end, [exit_code])
        self._timer.daemon = True
        self._who, self._grace_s = who, grace_s
        self._before: Any = None

    def ask(self, reason: str) -> None:
        """Tells the process to end; only the first reason counts."""
        if not self.reason:
            self.reason = reason
            self._timer.start()

    def check(self) -> None:
        """Ends the evaluation if somebody has asked for it.

        Raises:
            Stopped: Somebody has.
        """
        if self.reason:
            self._timer.cancel()
            raise Stopped(f"{self.reason}. {GOES_ON}")

    def __enter__(self) -> "Stop":
        # Python lets only the main thread handle signals; in others, an evaluation ends as it would without this.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if threading.current_thread() is threading.main_thread():
            # None stands for a handler that was not set from Python, which cannot be set again.
            signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.ask(f"{self._who} was stopped by {signal.Signals(number).name}")

    def _end(self, exit_code: int) -> None:
        print(
            f"error: {self.reason}; given up after {self._grace_s:g} s in the middle of a batch. {GOES_ON}",
            file=sys.stderr,
            flush=True,
        )
        os._exit(exit_code)
