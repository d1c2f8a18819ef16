import jax.numpy as jnp
import numpy as np

from jax_vtm.merging import TokenState
from jax_vtm.models import FactorisedTrace, Trace, groups_per_layer


def test_groups_of_patches_leave_the_class_token_out_and_keep_their_numbers():
    state = TokenState(jnp.ones((1, 3)), jnp.array([[0, 1, 2, 1, -1]]))
    ((groups, count),) = groups_per_layer(Trace(5, (state,)), class_token=True)
    np.testing.assert_array_equal(groups, [[1, 2, 1, -1]])
    assert count == 3
    ((groups, _),) = groups_per_layer(Trace(5, (state,)), class_token=False)
    assert groups.shape == (1, 5)


def test_groups_of_different_times_are_different_groups():
    membership = jnp.array([[[0, 1, 1, -1], [0, 1, 2, 2]]])
    spatial = Trace(4, (TokenState(jnp.ones((1, 2, 3)), membership),))
    ((groups, count),) = groups_per_layer(FactorisedTrace(spatial, None), class_token=True)
    np.testing.assert_array_equal(groups, [[1, 1, -1, 4, 5, 5]])
    assert count == 6
