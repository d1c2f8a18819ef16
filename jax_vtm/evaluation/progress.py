"""Progress: a bar on a terminal, a plain line now and then otherwise."""

import collections
import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jax_vtm.data import ClipProtocol
from jax_vtm.evaluation.batch_result import BatchResult
from jax_vtm.evaluation.metrics import predicted_classes
from jax_vtm.evaluation.processes import Processes
from jax_vtm.evaluation.resume import ResumeState, videos_in
from jax_vtm.evaluation.views import combine_heads

SECONDS_BETWEEN_LINES = 10.0
# What takes longer than the one is spoken of, and in a log again and again after the other.
SECONDS_OF_SILENCE, SECONDS_OF_SILENCE_IN_A_LOG = 1.0, 25.0


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Says on standard error what takes long, such as "compiling 1 of 2": with a clock on a terminal, else in lines.

    Of several processes the first alone says it.
    """
    over, began = threading.Event(), time.monotonic()
    # Asked for the index of a process that is alone, JAX would start the devices.
    if jax.distributed.is_initialized() and jax.process_index() > 0:
        yield
        return

    def tell() -> None:
        if over.wait(SECONDS_OF_SILENCE):
            return
        if sys.stderr.isatty():
            with tqdm(desc=what, bar_format="{desc}, {elapsed}", leave=False) as clock:
                while not over.wait(SECONDS_OF_SILENCE):
                    clock.refresh()
            return
        print(what, file=sys.stderr, flush=True)
        while not over.wait(SECONDS_OF_SILENCE_IN_A_LOG):
            print(f"{what}, {_clock(time.monotonic() - began)} so far", file=sys.stderr, flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


class Progress:
    """Counts towards a total and tells about it on standard error.

    Args:
        total: Units in all.
        unit: What is counted, such as "clips".
        start: Units that are done already.
        lines_every: Seconds between plain lines, where there is no terminal.
    """

    def __init__(self, total: int, unit: str, *, start: int = 0, lines_every: float = SECONDS_BETWEEN_LINES):
        self._total, self._unit, self._done = total, unit, start
        self._lines_every, self._began, self._last_line = lines_every, time.monotonic(), time.monotonic()
        self._start = start
        terminal = sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=start, unit=f" {unit}", dynamic_ncols=True) if terminal else None

    def start_at(self, done: int) -> None:
        """Takes so many units for done before the start."""
        self._done = self._start = done
        if self._bar is not None:
            self._bar.initial = self._bar.n = done

    def leave_out(self, seconds: float) -> None:
        """Takes a time that has just passed, such as that of compiling, out of the estimate of what is left."""
        self._began += seconds
        if self._bar is not None:
            self._bar.unpause()

    def advance(self, units: int, status: str = "") -> None:
        """Moves on by some units, with a word on how things stand."""
        self.advance_to(self._done + units, status)

    def advance_to(self, done: int, status: str = "") -> None:
        """Moves on until so many units are done."""
        if self._bar is not None:
            self._bar.set_postfix_str(status, refresh=False)
            self._bar.update(done - self._done)
            self._done = done
            return
        self._done = done
        now = time.monotonic()
        if now - self._last_line >= self._lines_every or self._done == self._total:
            self._last_line = now
            rate = (self._done - self._start) / max(now - self._began, 1e-9)
            left = f"{_clock((self._total - self._done) / rate)} left" if rate else "no estimate yet"
            line = f"{self._done}/{self._total} {self._unit}, {rate:.1f} {self._unit}/s, {left}"
            print(f"{line}, {status}" if status else line, file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def _clock(seconds: float) -> str:
    """Writes a time as 0:42, 3:05 or 2:03:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


# A sweep has many next to each other.
RUNS_SHOWN = 3


class EvaluationProgress:
    """Shows in process 0 how far an evaluation is, over all processes as far as their folder is its own, too.

    Use it as a context. Accuracies are those of the batches that this process knows, at the end of all.

    Args:
        processes: The evaluation's.
        state: Whose files show what the others have finished.
        videos: Videos of the source.
        done: Those of them that were done before.
        protocol: Says how many views a video has, which are what is shown, and how they become a prediction.
    """

    def __init__(self, processes: Processes, state: ResumeState, videos: int, done: int, protocol: ClipProtocol):
        self._processes, self._state, self._total, self._done = processes, state, videos, done
        self._protocol = protocol
        self._before = state.seen
        self.videos = 0
        self._clear()
        self._count(state.results)
        views = protocol.num_views
        self._progress = Progress(videos * views, "clips", start=done * views) if processes.is_first else None

    def add(self, result: BatchResult) -> None:
        """Takes note of a batch that this process has finished, and shows how far all are."""
        self.videos += result.num_videos
        self._count([result])
        if self._progress is None:
            return
        videos = self.videos
        if self._processes.count > 1:
            videos = max(videos, sum(videos_in(name) for name in self._state.seen - self._before))
        self._show(min(self._done + videos, self._total))

    @contextlib.contextmanager
    def compiling(self, what: str) -> Iterator[None]:
        """Says in process 0 what is compiled. It takes as long as it takes, and no estimate counts it."""
        began = time.monotonic()
        with self._processes.unwatched(), waiting(what):
            yield
        if self._progress:
            self._progress.leave_out(time.monotonic() - began)

    def finish(self, results: Iterable[BatchResult]) -> None:
        """Shows, in process 0, the end, with the results of all processes."""
        if self._processes.count > 1:
            self._clear()
            self._count(results)
            self._show(self._total)

    def __enter__(self) -> "EvaluationProgress":
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._progress is not None:
            self._progress.__exit__(*exception)

    def _clear(self) -> None:
        self._failed: set[int] = set()
        self._labelled = 0
        self._right: collections.Counter[str] = collections.Counter()

    def _count(self, results: Iterable[BatchResult]) -> None:
        """Counts the labelled videos, and for each variant those that it predicts rightly in every head."""
        for result in results:
            self._failed |= result.failures.keys()
            self._failed -= {*result.indices.tolist()}
            if not result.labels:
                continue
            self._labelled += len(result.indices)
            for name, logits in result.logits.items():
                scores = combine_heads({head: logits[head] for head in result.labels}, self._protocol.view_average)
                right = [predicted_classes(scores[head]) == labels for head, labels in result.labels.items()]
                self._right[name] += int(np.sum(np.all(right, axis=0)))

    def _show(self, videos: int) -> None:
        assert self._progress is not None
        names = list(self._right)[:RUNS_SHOWN] if self._labelled else []
        parts = [f"{name} {100 * self._right[name] / self._labelled:.1f} %" for name in names]
        parts += [f"{len(self._failed)} failed"] if self._failed else []
        self._progress.advance_to(videos * self._protocol.num_views, ", ".join(parts))
