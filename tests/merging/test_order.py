"""Sources by their scores: the order of a stable sort, ties, infinities and NaN included."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_vtm.merging import BestMatch
from jax_vtm.merging.backends import order as order_module
from jax_vtm.merging.backends.order import split_by_score
from jax_vtm.merging.backends.tpu_order import split_on_tpu
from jax_vtm.merging.matching import match

LENGTH = 9
# Few values, so that most are equal to another: NaN of either sign, infinities, zeros, numbers.
VALUES = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 3e38, -3e38], dtype=np.float32)
scores_with_ties = st.lists(
    st.lists(
        st.one_of(st.sampled_from(VALUES.tolist()), st.floats(width=32, allow_subnormal=False)),
        min_size=LENGTH,
        max_size=LENGTH,
    ),
    min_size=2,
    max_size=2,
).map(lambda rows: np.array(rows, np.float32))


PLATFORMS = ("cpu", "tpu")


@pytest.fixture(autouse=True, scope="module")
def interpreted():
    """The kernel for TPUs runs by its interpreter."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(order_module, "split_on_tpu", functools.partial(split_on_tpu, interpret=True))
        yield


@jax.jit
def by_sorting(scores):
    return jnp.argsort(scores, axis=-1, stable=True, descending=True)


@functools.partial(jax.jit, static_argnums=(1, 2))
def split(scores, r, platform):
    count = scores.shape[1]
    destination = jnp.broadcast_to(1000 - jnp.arange(count), scores.shape)
    removed, of_removed, kept = split_by_score(scores, destination, r, ascending=False, platform=platform)
    return jnp.concatenate([removed, kept], axis=1), removed - (1000 - of_removed)


@pytest.mark.parametrize("platform", PLATFORMS)
@given(scores=scores_with_ties, r=st.sampled_from([0, 1, 4, LENGTH]))
def test_the_order_is_that_of_the_stable_sort(platform, scores, r):
    order, astray = split(scores, r, platform)
    np.testing.assert_array_equal(order, by_sorting(scores))
    assert not astray.any()


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("length", [1, 2, 8, 256, 1025])
def test_the_order_of_many(length, platform):
    rng = np.random.default_rng(0)
    scores = rng.integers(-40, 40, (2, length)).astype(np.float32)
    scores[0, rng.random(length) < 0.1] = -np.inf
    scores[1, rng.random(length) < 0.1] = np.nan
    np.testing.assert_array_equal(split(scores, length // 2, platform)[0], by_sorting(scores))


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def matched(scores, destination, class_token, ascending, platform):
    best = BestMatch(scores, destination, LENGTH - 1)
    return match(best, 4, class_token=class_token, ascending=ascending, platform=platform)


@pytest.mark.parametrize("platform", PLATFORMS)
@given(scores=scores_with_ties, class_token=st.booleans(), ascending=st.booleans(), seed=st.integers(0, 99))
def test_matchings_are_those_of_the_stable_sort(platform, scores, class_token, ascending, seed):
    destination = np.random.default_rng(seed).integers(0, LENGTH - 1, (2, LENGTH)).astype(np.int32)
    found = matched(scores, destination, class_token, ascending, platform)
    order = np.asarray(by_sorting(scores))
    kept = np.sort(order[:, 4:]) if class_token or ascending else order[:, 4:]
    odd = np.broadcast_to(1 + 2 * np.arange(LENGTH - 1), (2, LENGTH - 1))
    np.testing.assert_array_equal(found.kept, np.concatenate([2 * kept, odd], axis=1))
    np.testing.assert_array_equal(found.src, 2 * order[:, :4])
    np.testing.assert_array_equal(found.dst, LENGTH - 4 + np.take_along_axis(destination, order[:, :4], axis=1))
    np.testing.assert_array_equal(found.score, np.take_along_axis(scores, order[:, :4], axis=1))


def test_layers_of_about_the_same_length_share_the_form_of_their_sorts():
    def both(short, long):
        destination = jnp.zeros(short.shape, jnp.int32), jnp.zeros(long.shape, jnp.int32)
        return [split_by_score(s, d, 3, ascending=True) for s, d in zip((short, long), destination, strict=True)]

    text = jax.jit(both).lower(jnp.zeros((2, 1100)), jnp.zeros((2, 1569))).as_text()
    assert text.count("stablehlo.sort") == 4
    assert text.count("}) : (tensor<2x2048xi32>, tensor<2x2048xi32>, tensor<2x2048xi32>) ->") == 4
