"""Timing several things side by side: in every round each has its turn, in another order.

What else the machine does then falls on all of them alike. Two things are compared within a round, where the machine
was the same for both: a median over rounds of ratios, which a slow moment disturbs less than a ratio of medians.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

Name = TypeVar("Name")


class Seconds(NamedTuple):
    """Of the clock on the wall, and of the processor in all threads of this process."""

    wall: float
    cpu: float


Timer = Callable[[int], Seconds]
"""Does something so many times, waiting each time until it is done, and returns the seconds that all took."""


def timed(call: Callable[[], object]) -> Timer:
    """Times a call that returns only when its work is done."""

    def run(times: int) -> Seconds:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            call()
        return Seconds(time.perf_counter() - wall, time.process_time() - cpu)

    return run


def repeats(timer: Timer, least: float) -> int:
    """Warms something up, and returns how often it is to be done so that it takes `least` seconds together."""
    timer(1)
    return max(1, math.ceil(least / max(timer(1).wall, 1e-6)))


def interleaved(timers: Mapping[Name, tuple[Timer, int]], rounds: int) -> Iterator[dict[Name, Seconds]]:
    """Times everything once per round, in an order that rotates.

    Args:
        timers: By name, what is timed and how often it is done within a round.
        rounds: How many rounds.

    Yields:
        Of each round, the seconds of doing it once, by name in the order of `timers`.
    """
    names = list(timers)
    for number in range(rounds):
        shift = number * len(names) // rounds
        seconds = {}
        for name in (*names[shift:], *names[:shift]):
            timer, times = timers[name]
            seconds[name] = Seconds(*(part / times for part in timer(times)))
        yield {name: seconds[name] for name in names}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns the median of the rounds' values and the quartiles around it, {"median", "low", "high"}."""
    low, median, high = np.quantile(np.asarray(values, float), [0.25, 0.5, 0.75]).tolist()
    return {"median": median, "low": low, "high": high}


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Divides round by round."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]
