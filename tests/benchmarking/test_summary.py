import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_vtm.benchmarks import summary

SECONDS = st.floats(1e-4, 1e3)
ROUNDS = st.integers(1, 9).flatmap(
    lambda count: st.tuples(*(st.lists(SECONDS, min_size=count, max_size=count) for _ in range(2)))
)


@given(st.lists(SECONDS, min_size=1, max_size=20))
def test_quartiles_lie_around_the_median(values):
    one = summary.spread(values)
    assert min(values) <= one.low <= one.median <= one.high <= max(values)
    assert one.rounds == len(values)
    assert one.median == pytest.approx(np.median(values))


@given(ROUNDS, st.floats(0.1, 10))
def test_the_percentage_is_the_speed_up_over_the_mac_ratio(both, ratio):
    baseline, seconds = both
    gained = summary.speed_up(baseline, seconds)
    percent = summary.percent_of_mac_ratio(baseline, seconds, ratio)
    assert percent.median == pytest.approx(100 * gained.median / ratio)
    assert percent.low == pytest.approx(100 * gained.low / ratio)


@given(ROUNDS, st.lists(st.floats(0.1, 10), min_size=9, max_size=9))
def test_what_slows_a_whole_round_changes_no_comparison(both, slower):
    baseline, seconds = both

    def slowed(values):
        return [value * factor for value, factor in zip(values, slower, strict=False)]

    for compare in (summary.speed_up, summary.time_share):
        expected = compare(baseline, seconds)
        assert compare(slowed(baseline), slowed(seconds)).median == pytest.approx(expected.median)


@given(st.lists(SECONDS, min_size=1, max_size=9), st.floats(1.0, 8.0))
def test_time_that_falls_with_the_arithmetic_is_a_hundred_percent(baseline, ratio):
    seconds = [value / ratio for value in baseline]
    assert summary.percent_of_mac_ratio(baseline, seconds, summary.mac_ratio(ratio, 1)).median == pytest.approx(100)
    assert summary.speed_up(baseline, baseline).median == 1
    assert summary.share_of_peak(baseline, 5, baseline, 5).median == 1


def test_values_by_hand():
    assert summary.speed_up([4.0, 6.0, 9.0], [2.0, 2.0, 2.0]) == summary.Spread(3.0, 2.5, 3.75, 3)
    assert summary.share_of_peak([2.0], 30, [1.0], 60).median == 0.25
    assert summary.time_share([10.0, 10.0], [9.0, 8.0]).median == pytest.approx(0.15)
    assert summary.mac_ratio(903.0, 358.3) == pytest.approx(2.52, abs=0.005)


def test_no_rounds_or_unequal_ones_are_refused():
    with pytest.raises(ValueError, match="at least one round"):
        summary.spread([])
    with pytest.raises(ValueError, match="argument 2 is"):
        summary.speed_up([1.0, 2.0], [1.0])
