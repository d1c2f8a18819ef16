import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_vtm.errors import UserError
from jax_vtm.evaluation import VIEW_AVERAGES, as_probabilities, combine_heads, combine_views

CLIPS = 6


@pytest.fixture(scope="module")
def scenic(golden):
    return dict(np.load(golden / "scenic" / "eval" / "multiview.npz"))


@pytest.fixture(scope="module")
def reference(golden):
    return dict(np.load(golden / "torch" / "metrics.npz"))


@pytest.fixture(scope="module")
def views(reference):
    """The clips that the reference saw in random order, put back together: logits [11, 6, 12]."""
    order = np.argsort(reference["ensemble/clip_ids"])
    return reference["ensemble/clip_preds"][order].reshape(-1, CLIPS, 12)


def softmax(logits):
    return np.asarray(jax.nn.softmax(jnp.asarray(logits), axis=-1))


@pytest.mark.parametrize("how", ["logits", "softmax"])
def test_means_are_scenics(scenic, how):
    np.testing.assert_allclose(combine_views(scenic["view_logits"], how), scenic[f"avg/{how}"], atol=1e-6)


@pytest.mark.parametrize("how", ["logits", "softmax"])
def test_means_are_the_references_sums_but_for_the_number_of_views(reference, views, how):
    sums = reference[f"ensemble/sum_{how}/video_preds"]
    np.testing.assert_allclose(CLIPS * combine_views(views, how), sums, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", ["max", "max_from_zero"])
def test_maxima_are_the_references(reference, views, how):
    # Every class has a positive view in these, so that both are the same.
    np.testing.assert_array_equal(combine_views(views, how), reference["ensemble/max_logits/video_preds"])


def test_from_zero_the_maximum_loses_what_is_below():
    views = np.array([[[-1.0, 2.0], [-3.0, -4.0]], [[-1.0, -2.0], [-3.0, -4.0]]], np.float32)
    assert combine_views(views, "max").tolist() == [[-1, 2], [-1, -2]]
    assert combine_views(views, "max_from_zero").tolist() == [[0, 2], [0, 0]]


def test_of_probabilities_both_maxima_are_the_references(reference, views):
    # What the reference does with a model that returns probabilities.
    for how in ("max", "max_from_zero"):
        recorded = reference["ensemble/max_softmax/video_preds"]
        np.testing.assert_allclose(combine_views(softmax(views), how), recorded, atol=1e-6)


@pytest.mark.parametrize("how", VIEW_AVERAGES)
def test_combined_views_are_turned_into_probabilities(views, how):
    scores = combine_views(views, how)
    probabilities = as_probabilities(scores, how)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-6)
    expected = softmax(views).mean(axis=1) if how == "softmax" else softmax(scores)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


def test_large_logits_do_not_overflow():
    logits = np.array([[[1000.0, 0.0]], [[-1000.0, -1000.0]]], np.float32)
    np.testing.assert_array_equal(combine_views(logits, "softmax"), [[1, 0], [0.5, 0.5]])


def test_every_head_is_combined(views):
    combined = combine_heads({"noun": views, "verb": -views}, "max")
    np.testing.assert_array_equal(combined["verb"], -views.min(axis=1))
    assert list(combined) == ["noun", "verb"]


def test_an_unknown_way_is_answered_with_those_that_exist(views):
    with pytest.raises(UserError, match="view_average is 'sum'; known are logits, softmax, max, max_from_zero"):
        combine_views(views, "sum")
