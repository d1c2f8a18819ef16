import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_vtm.errors import UserError
from jax_vtm.merging import bipartite_soft_matching, cosine_scores, metric_from_keys, uniform_scores
from jax_vtm.merging.backends.best_match import unit_vectors


@pytest.mark.parametrize("num_tokens", [1, 2, 7])
def test_cosine_of_even_and_odd_positions(num_tokens):
    metric = np.random.default_rng(0).normal(size=(2, num_tokens, 5)).astype(np.float32)
    exact = metric.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=-1, keepdims=True)
    expected = np.einsum("bsm,btm->bst", exact[:, ::2], exact[:, 1::2])
    found = cosine_scores(jnp.asarray(metric))
    assert found.shape == (2, (num_tokens + 1) // 2, num_tokens // 2)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_zero_metric_is_similar_to_nothing_and_has_a_gradient():
    metric = jnp.ones((1, 6, 3)).at[:, 2].set(0)
    scores = cosine_scores(metric)
    np.testing.assert_allclose(scores[0, 1], 0)
    np.testing.assert_allclose(scores[0, [0, 2]], 1, rtol=1e-6)
    gradient = jax.grad(lambda metric: unit_vectors(metric).sum())(metric)
    assert np.isfinite(gradient).all()
    # It is the least similar source, so it is the one that stays.
    matching = bipartite_soft_matching(scores, 2)
    np.testing.assert_array_equal(matching.kept, [[2, 1, 3, 5]])


def test_an_all_zero_clip_still_gives_a_valid_matching():
    matching = bipartite_soft_matching(cosine_scores(jnp.zeros((1, 8, 4))), 2)
    np.testing.assert_array_equal(matching.src, [[0, 2]])
    np.testing.assert_array_equal(matching.kept, [[4, 6, 1, 3, 5, 7]])
    np.testing.assert_array_equal(matching.score, [[0, 0]])


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_very_small_and_very_large_metrics_stay_finite(scale):
    metric = jax.random.normal(jax.random.key(0), (1, 6, 4))
    np.testing.assert_allclose(cosine_scores(metric * scale), cosine_scores(metric), rtol=1e-5, atol=1e-5)


def test_head_aggregation():
    keys = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)
    np.testing.assert_allclose(metric_from_keys(jnp.asarray(keys), "mean"), keys.mean(2), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(metric_from_keys(jnp.asarray(keys), "concat"), keys.reshape(2, 4, 15))
    for how in ("mean", "concat"):
        assert metric_from_keys(jnp.asarray(keys, jnp.bfloat16), how).dtype == jnp.float32
    with pytest.raises(UserError, match=r"'median'; known are mean, concat"):
        metric_from_keys(jnp.asarray(keys), "median")


def test_uniform_scores_follow_their_key():
    key = jax.random.key(3)
    scores = uniform_scores(key, 2, 9)
    assert scores.shape == (2, 5, 4)
    assert ((scores >= 0) & (scores < 1)).all()
    np.testing.assert_array_equal(scores, uniform_scores(key, 2, 9))
    assert (scores != uniform_scores(jax.random.key(4), 2, 9)).any()
    assert (scores[0] != scores[1]).any()
