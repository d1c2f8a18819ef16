import json
import math

import numpy as np
import pytest

from jax_vtm.evaluation import agreement, correct_predictions, paired_difference, proportion
from jax_vtm.evaluation.metrics import top_k_correct


@pytest.fixture(scope="module")
def recorded(golden):
    folder = golden / "scenic" / "eval"
    return {
        **{name: dict(np.load(folder / f"{name}.npz")) for name in ("classification", "multihead", "multiview")},
        "scalars": json.loads((folder / "eval.json").read_text()),
    }


@pytest.mark.parametrize("batch", range(3))
def test_top_k_counts_are_scenics_ties_and_padding_included(recorded, batch):
    data = {key.removeprefix(f"{batch}/"): v for key, v in recorded["classification"].items() if key[0] == str(batch)}
    mask = data["batch_mask"] > 0
    for metric, k in (("accuracy", 1), ("accuracy_top_5", 5)):
        right = top_k_correct(data["logits"], data["label"], k)
        expected = recorded["scalars"][f"classification/batch_{batch}"][metric]
        assert [np.sum(right & mask), np.sum(mask)] == expected


def test_two_heads_count_an_action_where_scenics_joint_prediction_is_right(recorded):
    data = recorded["multihead"]
    noun, verb = np.split(data["logits"], np.cumsum(data["class_splits"])[:-1], axis=-1)
    right = correct_predictions({"noun": noun, "verb": verb}, {"noun": data["label_noun"], "verb": data["label_verb"]})
    np.testing.assert_array_equal(right["action/top1"], data["joint_top1_correct_no_mask"] > 0)
    mask = data["batch_mask"] > 0
    scalars = recorded["scalars"]["multihead/metrics_without_meta_class_splits"]
    for ours, theirs in (("noun", "noun"), ("verb", "verb"), ("action", "noun-verb")):
        assert [np.sum(right[f"{ours}/top1"] & mask), np.sum(mask)] == scalars[f"{theirs}_accuracy"]


def test_views_are_averaged_as_logits(recorded):
    data = recorded["multiview"]
    np.testing.assert_allclose(data["view_logits"].mean(axis=1), data["avg/logits"], atol=1e-6)


def test_top5_is_reported_from_twenty_classes_on_and_unlabelled_heads_are_left_out():
    logits = {"noun": np.zeros((3, 20)), "verb": np.zeros((3, 19))}
    labels = {"noun": np.array([0, 4, 5]), "verb": np.zeros(3, int)}
    right = correct_predictions(logits, labels)
    assert set(right) == {"noun/top1", "noun/top5", "verb/top1", "action/top1"}
    assert right["noun/top5"].tolist() == [True, True, False]
    assert set(correct_predictions(logits, {"verb": labels["verb"]})) == {"verb/top1"}
    assert set(correct_predictions({"label": logits["verb"]}, {"label": labels["verb"]})) == {"label/top1"}


@pytest.mark.parametrize(
    ("correct", "count", "low", "high"),
    # From Wilson's formula with z = 1.96, worked by hand for the first and last, from its symmetry for the second.
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634)],
)
def test_proportion_has_wilsons_interval(correct, count, low, high):
    result = proportion(correct, count)
    assert result["value"] == correct / count
    assert (result["low"], result["high"]) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_proportion_of_nothing_is_not_a_number():
    assert math.isnan(proportion(0, 0)["value"])


def test_paired_difference_rests_on_the_discordant_videos():
    ours = np.array([True] * 90 + [False] * 8 + [True] * 2)
    theirs = np.array([True] * 90 + [True] * 8 + [False] * 2)
    result = paired_difference(ours, theirs)
    assert result["difference"] == pytest.approx(-0.06)
    half = 1.959964 * math.sqrt(10 - 36 / 100) / 100
    assert (result["low"], result["high"]) == (pytest.approx(-0.06 - half), pytest.approx(-0.06 + half))
    same = paired_difference(ours, ours)
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)


def test_agreement_asks_for_every_head():
    eye = np.eye(4)
    other = {"noun": eye[[0, 1, 2, 0]], "verb": eye[[0, 1, 0, 3]]}
    assert agreement({"noun": eye, "verb": eye}, other) == 0.5
