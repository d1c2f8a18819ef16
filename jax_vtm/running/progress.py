"""Progress: a bar on a terminal, a plain line now and then otherwise."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

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
