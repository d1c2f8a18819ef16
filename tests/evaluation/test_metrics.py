import json
import math

import numpy as np
import pytest

from jax_vtm.evaluation import (
    agreement,
    as_probabilities,
    combine_heads,
    combine_views,
    correct_predictions,
    metrics,
    paired_difference,
    predicted_classes,
    proportion,
)
from jax_vtm.evaluation.metrics import joint_probabilities, joint_top_k_correct, top_k_correct


@pytest.fixture(scope="module")
def scenic(golden):
    folder = golden / "scenic" / "eval"
    return {
        **{name: dict(np.load(folder / f"{name}.npz")) for name in ("classification", "multihead", "multiview")},
        "scalars": json.loads((folder / "eval.json").read_text()),
    }


@pytest.fixture(scope="module")
def reference(golden):
    return dict(np.load(golden / "torch" / "metrics.npz"))


@pytest.fixture(scope="module")
def recorded_stats(golden):
    return json.loads((golden / "torch" / "manifest.json").read_text())["metrics"]


def right_of(logits, labels, how="logits"):
    """`correct_predictions` of logits per view."""
    scores = combine_heads(logits, how)
    return correct_predictions(scores, {head: as_probabilities(values, how) for head, values in scores.items()}, labels)


def one_view(logits):
    return {head: values[:, None] for head, values in logits.items()}


def by_video(clips, clip_ids, num_clips):
    return clips[np.argsort(clip_ids)].reshape(-1, num_clips, clips.shape[-1])


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("batch", range(3))
def test_top_k_counts_are_scenics_ties_and_padding_included(scenic, batch, masked):
    data = {key.removeprefix(f"{batch}/"): v for key, v in scenic["classification"].items() if key[0] == str(batch)}
    mask = data["batch_mask"] > 0 if masked else np.ones(16, bool)
    expected = scenic["scalars"][f"classification/batch_{batch}{'' if masked else '_no_mask'}"]
    for metric, recorded, k in (("accuracy", "top1_correct", 1), ("accuracy_top_5", "top5_correct", 5)):
        right = top_k_correct(data["logits"], data["label"], k)
        # Scenic's rows of masked videos are zero already.
        np.testing.assert_array_equal(right & (data["batch_mask"] > 0), data[recorded].reshape(-1) > 0)
        assert [np.sum(right & mask), np.sum(mask)] == expected[metric]


def test_over_batches_scenics_accuracy_is_right_over_counted(scenic):
    right, count = {1: 0, 5: 0}, 0
    for batch in range(3):
        data = {key.removeprefix(f"{batch}/"): v for key, v in scenic["classification"].items() if key[0] == str(batch)}
        mask = data["batch_mask"] > 0
        count += int(mask.sum())
        for k in right:
            right[k] += int(np.sum(top_k_correct(data["logits"], data["label"], k) & mask))
    summary = scenic["scalars"]["classification/summary_over_batches"]
    assert proportion(right[1], count)["value"] == pytest.approx(summary["accuracy"])
    assert proportion(right[5], count)["value"] == pytest.approx(summary["accuracy_top_5"])


@pytest.fixture(scope="module")
def two_heads(scenic):
    """Scenic's noun and verb logits, in its order, and their labels."""
    data = scenic["multihead"]
    noun, verb = np.split(data["logits"], np.cumsum(data["class_splits"])[:-1], axis=-1)
    return {"noun": noun, "verb": verb}, {"noun": data["label_noun"], "verb": data["label_verb"]}


def test_two_heads_are_counted_as_scenic_does(scenic, two_heads):
    logits, labels = two_heads
    right = right_of(one_view(logits), labels)
    mask = scenic["multihead"]["batch_mask"] > 0
    scalars = scenic["scalars"]["multihead/metrics_with_meta_class_splits"]
    names = {
        "noun/top1": "noun_accuracy",
        "noun/top5": "noun_accuracy_top_5",
        "verb/top1": "verb_accuracy",
        "verb/top5": "verb_accuracy_top_5",
        "action/top1": "noun-verb_accuracy",
        "action/top5_joint": "noun-verb_accuracy_top_5",
    }
    for ours, theirs in names.items():
        assert [np.sum(right[ours] & mask), np.sum(mask)] == scalars[theirs]
    assert set(right) - set(names) == {"action/top5_each"}
    # The two definitions of an action's top-5 differ here, so neither can stand in for the other.
    assert np.sum(right["action/top5_each"] & mask) > np.sum(right["action/top5_joint"] & mask)


@pytest.mark.parametrize("pairs_at_once", [metrics.PAIRS_AT_ONCE, 100])
def test_joint_predictions_are_scenics_however_many_are_ranked_at_once(scenic, two_heads, pairs_at_once, monkeypatch):
    monkeypatch.setattr(metrics, "PAIRS_AT_ONCE", pairs_at_once)
    logits, labels = two_heads
    probabilities = {head: as_probabilities(values, "logits") for head, values in logits.items()}
    data = scenic["multihead"]
    np.testing.assert_allclose(joint_probabilities(probabilities), data["joint_probs"], atol=1e-6)
    for k in (1, 5):
        right = joint_top_k_correct(probabilities, labels, k)
        np.testing.assert_array_equal(right, data[f"joint_top{k}_correct_no_mask"].reshape(-1) > 0)
        np.testing.assert_array_equal(right & (data["batch_mask"] > 0), data[f"joint_top{k}_correct"].reshape(-1) > 0)
    # What the documentation says of the joint top-1.
    np.testing.assert_array_equal(
        joint_top_k_correct(probabilities, labels, 1), right_of(one_view(logits), labels)["action/top1"]
    )


@pytest.mark.parametrize("how", ["logits", "softmax"])
def test_several_views_are_counted_as_scenic_does(scenic, how):
    data = scenic["multiview"]
    mask = data["batch_mask"][:, 0] > 0
    right = right_of({"label": data["view_logits"]}, {"label": data["label"]}, how)
    for step, expected in enumerate(scenic["scalars"][f"multiview/metrics_{how}_per_step"]):
        part = slice(2 * step, 2 * step + 2)
        for ours, theirs in (("label/top1", "accuracy"), ("label/top5", "accuracy_top_5")):
            assert [np.sum((right[ours] & mask)[part]), np.sum(mask[part])] == expected[theirs]


def test_top_k_counts_are_the_references(reference, recorded_stats):
    for index, k in enumerate(recorded_stats["topk"]["ks"]):
        right = top_k_correct(reference["topk/preds"], reference["topk/labels"], k)
        assert np.sum(right) == reference["topk/num_correct"][index]
        assert 100 * proportion(np.sum(right), len(right))["value"] == pytest.approx(reference["topk/accuracy"][index])
        assert reference["topk/error"][index] == pytest.approx(100 - reference["topk/accuracy"][index])


def test_two_heads_are_counted_as_the_reference_does(reference):
    logits = {head: reference[f"multitask/{head}_preds"] for head in ("verb", "noun")}
    labels = {head: reference[f"multitask/{head}_labels"] for head in ("verb", "noun")}
    right = right_of(one_view(logits), labels)
    for index, (top, action) in enumerate([("top1", "action/top1"), ("top5", "action/top5_each")]):
        assert np.sum(right[action]) == reference["multitask/num_correct"][index]
        for metric, recorded in ((action, "action"), (f"verb/{top}", "verb"), (f"noun/{top}", "noun")):
            share = 100 * np.mean(right[metric])
            assert share == pytest.approx(reference[f"multitask/{recorded}_accuracy"][index], abs=1e-4)
    assert np.sum(right["action/top5_joint"]) != reference["multitask/num_correct"][1]


@pytest.mark.parametrize(
    ("case", "how"),
    [("sum_logits", "logits"), ("sum_softmax", "softmax"), ("max_logits", "max_from_zero"), ("max_softmax", "max")],
)
def test_several_views_are_counted_as_the_reference_does(reference, recorded_stats, case, how):
    record = recorded_stats[f"ensemble/{case}"]
    views = by_video(reference["ensemble/clip_preds"], reference["ensemble/clip_ids"], record["num_clips"])
    if case == "max_softmax":
        views = as_probabilities(views, "logits")
    labels = reference[f"ensemble/{case}/video_labels"]
    right = right_of({"label": views}, {"label": labels}, how)
    for metric, recorded in (("label/top1", "top1_acc"), ("label/top5", "top5_acc")):
        assert f"{100 * np.mean(right[metric]):.2f}" == record["stats"][recorded]


def test_several_views_of_two_heads_are_counted_as_the_reference_does(reference, recorded_stats):
    record = recorded_stats["epic"]
    logits = {
        head: by_video(reference[f"epic/clip_{head}_preds"], reference["epic/clip_ids"], record["num_clips"])
        for head in ("verb", "noun")
    }
    for head, views in logits.items():
        sums = record["num_clips"] * combine_views(views, "logits")
        np.testing.assert_allclose(sums, reference[f"epic/{head}_video_preds"], rtol=1e-5, atol=1e-5)
    right = right_of(logits, {head: reference[f"epic/{head}_labels"] for head in logits})
    for metric, values in right.items():
        recorded = record["stats"].get(f"{metric.replace('/', '_').removesuffix('_each')}_acc")
        assert (recorded is None) == (metric == "action/top5_joint")
        assert recorded in (None, f"{100 * np.mean(values):.2f}")


def test_top5_needs_more_than_five_classes_and_actions_need_every_label():
    rng = np.random.default_rng(0)
    logits = {"noun": rng.normal(size=(3, 6)), "verb": rng.normal(size=(3, 5))}
    labels = {"noun": np.array([0, 4, 5]), "verb": np.zeros(3, int)}

    def metrics_of(logits, labels):
        return set(right_of(one_view(logits), labels))

    assert metrics_of(logits, labels) == {"noun/top1", "noun/top5", "verb/top1", "action/top1"}
    assert metrics_of(logits, {"verb": labels["verb"]}) == {"verb/top1"}
    assert metrics_of({"label": logits["verb"]}, {"label": labels["verb"]}) == {"label/top1"}


def test_equal_scores_are_decided_for_the_lowest_class():
    scores = np.zeros((3, 7), np.float32)
    assert top_k_correct(scores, np.array([0, 4, 5]), 5).tolist() == [True, True, False]
    assert top_k_correct(scores, np.array([0, 1, 6]), 1).tolist() == [True, False, False]
    assert predicted_classes(scores).tolist() == [0, 0, 0]


def test_scores_that_are_not_numbers_are_wrong_whatever_the_label():
    scores = np.zeros((3, 6), np.float32)
    scores[0, 2], scores[1] = np.nan, np.nan
    assert predicted_classes(scores).tolist() == [-1, -1, 0]
    for k in (1, 5):
        assert top_k_correct(scores, np.array([0, 0, 0]), k).tolist() == [False, False, True]
        assert not top_k_correct(scores, np.array([2, 2, 5]), k).any()


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


def test_runs_are_compared_by_the_top_1_of_all_heads_or_of_the_only_one():
    assert metrics.main_metric(["verb/top1", "noun/top1", "action/top1"]) == "action/top1"
    assert metrics.main_metric(["label/top1", "label/top5"]) == "label/top1"
