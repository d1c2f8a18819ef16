import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_vtm.studies.ratios import ratio, ratio_difference

PAIRS = st.lists(st.integers(0, 9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=20)


@settings(max_examples=30, deadline=None)
@given(PAIRS)
def test_a_ratio_lies_in_its_interval(pairs):
    part, whole = np.array(pairs).T
    found = ratio(part, whole)
    if not whole.sum():
        assert all(math.isnan(value) for value in found.values())
        return
    assert found["value"] == part.sum() / whole.sum()
    assert 0 <= found["low"] <= found["high"] <= 1
    assert ratio(part, whole) == found
    difference = ratio_difference((part, whole), (part, whole))
    assert difference == {"value": 0, "low": 0, "high": 0}


def test_intervals_are_as_wide_as_theory_says():
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.3
    found = ratio(right, np.ones(400))
    width = 2 * 1.96 * math.sqrt(right.mean() * (1 - right.mean()) / 400)
    assert found["high"] - found["low"] == pytest.approx(width, rel=0.15)
    # What two have in common does not widen their difference.
    noisy = rng.random(400)
    paired = ratio_difference((noisy + 0.1, np.ones(400)), (noisy, np.ones(400)))
    assert paired["value"] == pytest.approx(0.1)
    assert paired["high"] - paired["low"] < 1e-9
