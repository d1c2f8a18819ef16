import time

from hypothesis import given
from hypothesis import strategies as st

from jax_vtm.benchmarks import rounds


@given(st.lists(st.integers(), unique=True, min_size=1, max_size=12), st.integers(1, 9))
def test_every_round_has_everything_once_in_a_rotated_order(names, count):
    orders = [rounds.order_of_round(names, number, count) for number in range(count)]
    for order in orders:
        start = order.index(names[0])
        assert [*order[start:], *order[:start]] == names
    assert orders[0] == names
    # No more rounds begin with the same name than have to.
    firsts = [order[0] for order in orders]
    assert max(map(firsts.count, firsts)) <= -(-count // len(names))


def test_rounds_time_everything_alike_and_per_call():
    calls = []

    def action(name, seconds):
        def measured(times):
            calls.append((name, times))
            return times * seconds

        return measured

    actions = {"a": (action("a", 2.0), 3), "b": (action("b", 5.0), 1)}
    outcome = list(rounds.interleaved(actions, 2))
    assert outcome == [(0, {"a": 2.0, "b": 5.0}), (1, {"a": 2.0, "b": 5.0})]
    assert calls == [("a", 3), ("b", 1), ("b", 1), ("a", 3)]


@given(st.floats(1e-9, 1e3), st.floats(0, 10))
def test_as_many_repeats_as_the_time_asks_for(seconds, least):
    times = rounds.repeats_for(seconds, least)
    assert times >= 1
    assert times * max(seconds, 1e-6) >= least * (1 - 1e-9)
    assert times == 1 or (times - 1) * max(seconds, 1e-6) < least


def test_a_clock_sees_what_a_call_takes():
    assert 0.02 <= rounds.timed(lambda: time.sleep(0.01))(2) < 2
