import jax.numpy as jnp
import numpy as np

from jax_vtm.merging import Matching, compose, initial_membership, membership_of, source_matrix, unmerge

# Tokens 0 to 5: 4 joins 1 and 2 joins 5, the outputs are 0, 1, 3, 5 in this order.
MATCHING = Matching(
    kept=jnp.array([[0, 1, 3, 5]]),
    src=jnp.array([[4, 2]]),
    dst=jnp.array([[1, 3]]),
    score=jnp.array([[0.9, 0.1]]),
    num_tokens=6,
)


def test_initial_membership():
    found = initial_membership(2, 3)
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, [[0, 1, 2], [0, 1, 2]])


def test_membership_of_merge_drop_and_hybrid():
    np.testing.assert_array_equal(membership_of(MATCHING), [[0, 1, 3, 2, 1, 3]])
    np.testing.assert_array_equal(membership_of(MATCHING, dropped=True), [[0, 1, -1, 2, -1, 3]])
    replaced = jnp.array([[False, False, False, True]])
    np.testing.assert_array_equal(membership_of(MATCHING, replaced=replaced), [[0, 1, 3, 2, 1, -1]])


def test_composition_keeps_the_discarded_discarded():
    later = jnp.array([[2, 0, -1, 1]])
    np.testing.assert_array_equal(compose(jnp.array([[0, 1, -1, 2, -1, 3]]), later), [[2, 0, -1, -1, -1, 1]])
    np.testing.assert_array_equal(compose(initial_membership(1, 4), later), later)


def test_source_matrix():
    expected = [[[1, 0, 0], [0, 0, 1]]]
    np.testing.assert_array_equal(source_matrix(jnp.array([[0, -1, 1]]), 2), expected)


def test_unmerge_follows_membership():
    y = jnp.arange(4.0).reshape(1, 4, 1)
    np.testing.assert_array_equal(unmerge(MATCHING, y)[..., 0], membership_of(MATCHING))
