"""Progress: a bar on a terminal, a plain line now and then otherwise; of an evaluation, over all of its processes."""

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from tqdm import tqdm

from jax_vtm.evaluation.processes import Processes

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


Counts = Mapping[str, Mapping[str, int]]

# A sweep has many side by side.
RUNS_SHOWN = 3


class EvaluationProgress:
    """Adds up what all processes have done. Use it as a context, in each of them.

    Args:
        processes: The evaluation's.
        videos: Videos of the source.
        done: Those of them that were done before.
        views: Per video; views are what is shown.
    """

    def __init__(self, processes: Processes, videos: int, done: int, views: int):
        self._processes, self._done, self._views = processes, done, views
        self._shown = 0
        self._progress = Progress(videos * views, "clips", start=done * views) if processes.is_first else None

    def update(self, videos: int, failed: int, counts: Counts, *, finished: bool = False) -> None:
        """Takes note of how far this process is.

        Args:
            videos: Videos that it has been through since the start.
            failed: Those of them that could not be read.
            counts: Each candidate's counts so far, earlier ones of this process included.
            finished: Whether it has been through its share; process 0 then waits until all have.
        """
        values: dict[str, Any] = {"videos": videos, "failed": failed, "counts": counts}
        self._processes.tell(values | ({"finished": True} if finished else {}))
        if self._progress is None:
            return
        self._show(self._progress, self._processes.told)
        for told in self._processes.until_all_have_told("finished") if finished else ():
            self._show(self._progress, told)

    def __enter__(self) -> "EvaluationProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.__exit__(kind, error, traceback)

    def _show(self, progress: Progress, told: Sequence[Mapping[str, Any]]) -> None:
        known = [values for values in told if values]
        videos = sum(values["videos"] for values in known)
        if videos != self._shown:
            self._shown = videos
            status = _status([values["counts"] for values in known], sum(values["failed"] for values in known))
            progress.advance_to((self._done + videos) * self._views, status)


def _status(counts: Sequence[Counts], num_failed: int) -> str:
    """Says the first runs' accuracies so far, of actions or of the first head, and how many videos have failed."""
    parts = []
    for name, values in list(_sum(counts).items())[:RUNS_SHOWN]:
        metrics = [metric for metric in values if metric.endswith("/top1")]
        if metrics and values["videos"]:
            metric = "action/top1" if "action/top1" in metrics else metrics[0]
            parts.append(f"{name} {100 * values[metric] / values['videos']:.1f} %")
    if num_failed:
        parts.append(f"{num_failed} failed")
    return ", ".join(parts)


def _sum(counts: Sequence[Counts]) -> dict[str, dict[str, int]]:
    total: dict[str, dict[str, int]] = {}
    for of_one in counts:
        for name, values in of_one.items():
            added = total.setdefault(name, {})
            for metric, count in values.items():
                added[metric] = added.get(metric, 0) + count
    return total
