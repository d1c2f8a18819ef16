import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_vtm import timing

SECONDS = st.lists(st.floats(1e-4, 1e3), min_size=1, max_size=20)


@given(st.lists(st.integers(), unique=True, min_size=1, max_size=12), st.integers(1, 9))
def test_every_round_has_everything_once_in_a_rotated_order(names, rounds):
    calls = []

    def timer(name):
        def run(times):
            calls.append((name, times))
            return timing.Seconds(2.0 * times, 1.0 * times)

        return run

    found = list(timing.interleaved({name: (timer(name), 3) for name in names}, rounds))
    assert found == [{name: (2.0, 1.0) for name in names}] * rounds
    orders = [calls[place : place + len(names)] for place in range(0, len(calls), len(names))]
    for order in orders:
        start = order.index((names[0], 3))
        assert [name for name, _ in (*order[start:], *order[:start])] == names
    assert [name for name, _ in orders[0]] == names
    # No more rounds begin with the same name than have to.
    firsts = [order[0] for order in orders]
    assert max(map(firsts.count, firsts)) <= -(-rounds // len(names))


@given(st.floats(1e-9, 1e3), st.floats(0, 10))
def test_as_many_repeats_as_the_time_asks_for(seconds, least):
    calls = []

    def timer(times):
        calls.append(times)
        return timing.Seconds(seconds, 0.0)

    times = timing.repeats(timer, least)
    assert calls == [1, 1], "once to warm up, once to see"
    assert times * max(seconds, 1e-6) >= least * (1 - 1e-9)
    assert times == 1 or (times - 1) * max(seconds, 1e-6) < least


def test_both_clocks_see_what_a_call_takes():
    slept = timing.timed(lambda: time.sleep(0.01))(2)
    assert 0.02 <= slept.wall < 2
    assert slept.cpu < slept.wall
    assert timing.timed(lambda: np.linalg.svd(np.ones((200, 200))))(2).cpu > 0


@given(SECONDS)
def test_quartiles_lie_around_the_median(values):
    found = timing.spread(values)
    assert min(values) <= found["low"] <= found["median"] <= found["high"] <= max(values)
    assert found["median"] == pytest.approx(np.median(values))


def test_ratios_are_of_the_same_round():
    # What slows a whole round changes no ratio.
    assert timing.spread(timing.ratios([4.0, 60.0, 900.0], [2.0, 20.0, 200.0])) == {
        "median": 3.0,
        "low": 2.5,
        "high": 3.75,
    }
    with pytest.raises(ValueError, match="argument 2 is"):
        timing.ratios([1.0, 2.0], [1.0])
