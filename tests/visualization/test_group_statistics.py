import collections

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_vtm.visualization.group_statistics import group_statistics

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))


@st.composite
def memberships(draw):
    return draw(arrays.arrays(np.int32, draw(SHAPES), elements=st.integers(-1, 9)))


@given(memberships())
def test_everything_adds_up(membership):
    counted = group_statistics(membership)
    kept = membership[membership >= 0]
    assert counted.sizes.sum() + counted.discarded == membership.size
    assert counted.discarded == membership.size - kept.size == counted.discarded_per_step.sum()
    assert counted.tokens_per_step.sum() == pytest.approx(len(counted.sizes))
    assert counted.groups_per_step.sum() == counted.spans.sum()
    assert counted.in_several_steps == sum(span > 1 for span in counted.spans)
    # The mean size weighs each group by its patches, here as there.
    kept_per_step = membership[0].size - counted.discarded_per_step
    total = np.nansum(counted.mean_size_per_step * kept_per_step)
    assert total == pytest.approx((counted.sizes**2).sum())


@given(memberships())
def test_counts_are_those_of_a_plain_loop(membership):
    counted = group_statistics(membership)
    sizes = collections.Counter(membership[membership >= 0].tolist())
    steps = {group: {t for t in range(len(membership)) if (membership[t] == group).any()} for group in sizes}
    assert counted.sizes.tolist() == [sizes[group] for group in sorted(sizes)]
    assert counted.spans.tolist() == [len(steps[group]) for group in sorted(sizes)]
    for t, patches in enumerate(membership):
        assert counted.groups_per_step[t] == len(set(patches[patches >= 0].tolist()))
        shares = [(patches == group).sum() / sizes[group] for group in sizes]
        assert counted.tokens_per_step[t] == pytest.approx(sum(shares))


@given(memberships())
def test_counts_do_not_depend_on_the_numbers_of_the_groups(membership):
    shuffled = np.random.default_rng(0).permutation(10)
    renumbered = np.where(membership < 0, -1, shuffled[membership] + 100)
    one, other = group_statistics(membership), group_statistics(renumbered.astype(np.int32))
    assert sorted(one.sizes) == sorted(other.sizes)
    np.testing.assert_allclose(one.tokens_per_step, other.tokens_per_step)
    np.testing.assert_allclose(one.mean_size_per_step, other.mean_size_per_step)


def test_a_clip_of_which_nothing_is_left():
    counted = group_statistics(np.full((2, 1, 3), -1, np.int32))
    assert (len(counted.sizes), counted.discarded, counted.in_several_steps) == (0, 6, 0)
    assert counted.tokens_per_step.tolist() == [0, 0]
    assert np.isnan(counted.mean_size_per_step).all()
