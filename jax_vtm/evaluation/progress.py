"""Progress: a bar on a terminal, a plain line now and then otherwise; of an evaluation, over all of its processes."""

import collections
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from tqdm import tqdm

from jax_vtm.data import ClipProtocol
from jax_vtm.evaluation.batch_result import BatchResult
from jax_vtm.evaluation.metrics import predicted_classes
from jax_vtm.evaluation.processes import Processes
from jax_vtm.evaluation.views import combine_heads

SECONDS_BETWEEN_LINES = 10.0


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


# A sweep has many side by side.
RUNS_SHOWN = 3


class EvaluationProgress:
    """Adds up what all processes have done. Use it as a context, in each of them.

    Args:
        processes: The evaluation's.
        videos: Videos of the source.
        done: Those of them that were done before.
        protocol: Says how many views a video has, which are what is shown, and how they become a prediction.
    """

    def __init__(self, processes: Processes, videos: int, done: int, protocol: ClipProtocol):
        self._processes, self._done, self._protocol = processes, done, protocol
        self._shown = 0
        self.videos = self._failed = self._labelled = 0
        self._right: collections.Counter[str] = collections.Counter()
        views = protocol.num_views
        self._progress = Progress(videos * views, "clips", start=done * views) if processes.is_first else None

    def count_right(self, results: Iterable[BatchResult]) -> None:
        """Counts the labelled videos, and for each candidate those that it predicts rightly in every head."""
        for result in results:
            if not result.labels:
                continue
            self._labelled += len(result.indices)
            for name, logits in result.logits.items():
                scores = combine_heads({head: logits[head] for head in result.labels}, self._protocol.view_average)
                right = [predicted_classes(scores[head]) == labels for head, labels in result.labels.items()]
                self._right[name] += int(np.sum(np.all(right, axis=0)))

    def add(self, result: BatchResult) -> None:
        """Takes note of a batch that this process has been through since the start, and shows where all are."""
        self.videos += result.num_videos
        self._failed += len(result.failures)
        self.count_right([result])
        self._report()

    def finish(self) -> None:
        """Says that this process has been through its share; process 0 then waits until all have."""
        self._report(finished=True)
        for reported in self._processes.until_all_have_reported("finished") if self._progress else ():
            self._show(reported)

    def __enter__(self) -> "EvaluationProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.__exit__(kind, error, traceback)

    def _report(self, **more: bool) -> None:
        values = {"videos": self.videos, "failed": self._failed, "labelled": self._labelled, "right": dict(self._right)}
        self._processes.report(values | more)
        self._show(self._processes.reported)

    def _show(self, reported: Sequence[Mapping[str, Any]]) -> None:
        known = [values for values in reported if values]
        videos = sum(values["videos"] for values in known)
        if self._progress is not None and videos != self._shown:
            self._shown = videos
            self._progress.advance_to((self._done + videos) * self._protocol.num_views, _status(known))


def _status(reported: Sequence[Mapping[str, Any]]) -> str:
    """Says the first runs' accuracies so far, of all heads together, and how many videos have failed."""
    labelled, failed = (sum(values[key] for values in reported) for key in ("labelled", "failed"))
    right = sum((collections.Counter(values["right"]) for values in reported), collections.Counter())
    names = list(dict.fromkeys(name for values in reported for name in values["right"]))[:RUNS_SHOWN]
    parts = [f"{name} {100 * right[name] / labelled:.1f} %" for name in names if labelled]
    return ", ".join([*parts, f"{failed} failed"] if failed else parts)
