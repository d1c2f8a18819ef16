import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_vtm.merging import initial_membership
from jax_vtm.studies.mixing import chance_of_mixing, mixing


def counts(membership, part, num_groups, part_sizes):
    found = mixing(jnp.array([membership]), jnp.array([part]), num_groups=num_groups, part_sizes=part_sizes)
    return {name: np.asarray(value)[0].item() for name, value in vars(found).items()}


def test_groups_and_tokens_are_counted_as_one_would_by_hand():
    # Group 0 holds tokens of both parts, group 1 two of one part, group 2 one, and a token is discarded.
    found = counts([0, 0, 1, 0, 1, 2, -1], [0, 0, 0, 1, 0, 1, 1], 4, (4, 3))
    assert (found["merged_groups"], found["mixed_groups"]) == (2, 1)
    assert (found["merged_tokens"], found["mixed_tokens"]) == (5, 3)
    two, three = chance_of_mixing((4, 3))[2:4]
    assert found["chance_groups"] == pytest.approx(two + three)
    assert found["chance_tokens"] == pytest.approx(2 * two + 3 * three)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_chance_is_the_share_of_all_possible_groups(part_sizes):
    parts = [part for part, size in enumerate(part_sizes) for _ in range(size)]
    found = chance_of_mixing(part_sizes)
    assert len(found) == len(parts) + 1
    for size in range(len(parts) + 1):
        groups = list(itertools.combinations(parts, size))
        mixed = sum(len(set(group)) > 1 for group in groups)
        assert found[size] == pytest.approx(mixed / math.comb(len(parts), size), abs=1e-6)


def test_chance_keeps_its_digits_for_as_many_tokens_as_vivit_has():
    found = chance_of_mixing((196, 2940))
    assert found[2] == pytest.approx(2 * 196 * 2940 / (3136 * 3135), rel=1e-5)
    assert np.all(np.diff(found) >= 0)
    assert found[-1] == 1


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_counts_are_bounded_and_do_not_depend_on_how_groups_are_numbered(data):
    part_sizes = data.draw(st.sampled_from([(3, 5), (1, 7), (2, 2, 4)]))
    part = data.draw(st.permutations([p for p, size in enumerate(part_sizes) for _ in range(size)]))
    membership = np.array(data.draw(st.lists(st.integers(-1, 5), min_size=8, max_size=8)))
    found = counts(membership, part, 6, part_sizes)
    assert 0 <= found["mixed_groups"] <= found["merged_groups"] <= 4
    assert 2 * found["mixed_groups"] <= found["mixed_tokens"] <= found["merged_tokens"] <= np.sum(membership >= 0)
    assert 0 <= found["chance_groups"] <= found["merged_groups"] + 1e-5
    assert 0 <= found["chance_tokens"] <= found["merged_tokens"] + 1e-5
    numbers = np.array([*data.draw(st.permutations(range(6))), -1])
    again = counts(numbers[membership], part, 6, part_sizes)
    assert again == pytest.approx(found)


def test_tokens_that_nothing_merged_are_mixed_with_nothing():
    found = counts(initial_membership(1, 8)[0], [0, 1] * 4, 8, (4, 4))
    assert all(value == 0 for value in found.values())


def test_of_a_single_part_nothing_is_mixed():
    found = counts([0, 0, 0, 1], [0] * 4, 2, (4,))
    assert (found["mixed_groups"], found["chance_groups"], found["merged_tokens"]) == (0, 0, 3)
