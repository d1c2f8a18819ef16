"""Many things timed side by side: in every round each has its turn, in another order.

What else the machine does then falls on all of them alike, and two things are compared within a round, where the
machine was the same for both, and not across rounds.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Name = TypeVar("Name")

Measured = Callable[[int], float]
"""Does something so many times, waiting every time until it is done, and returns the seconds that all took."""


def timed(call: Callable[[], object]) -> Measured:
    """Measures by the clock on the wall. The call has to return only when its work is done."""

    def measured(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            call()
        return time.perf_counter() - start

    return measured


def repeats_for(seconds: float, least: float) -> int:
    """Returns how often something that takes `seconds` is to be done so that it takes `least` seconds together."""
    return max(1, math.ceil(least / max(seconds, 1e-6)))


def order_of_round(names: Sequence[Name], number: int, rounds: int) -> list[Name]:
    """Returns the names in the order of one round: rotated, so that over the rounds each stands early and late.

    Args:
        names: What is timed.
        number: Of the round, from 0.
        rounds: How many there are.
    """
    shift = number * len(names) // rounds
    return [*names[shift:], *names[:shift]]


def interleaved(actions: dict[Name, tuple[Measured, int]], rounds: int) -> Iterator[tuple[int, dict[Name, float]]]:
    """Measures everything once per round.

    Args:
        actions: By name, what is measured and how often it is done within a round. All have been done before: nothing
            is left to be compiled or loaded.
        rounds: How many rounds.

    Yields:
        The round's number and its seconds per time, by name in the order of `actions`.
    """
    for number in range(rounds):
        seconds = {}
        for name in order_of_round(list(actions), number, rounds):
            measured, times = actions[name]
            seconds[name] = measured(times) / times
        yield number, {name: seconds[name] for name in actions}
