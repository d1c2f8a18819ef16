import json

import numpy as np
import pytest

from jax_vtm.evaluation import class_counts, class_means, confusion_matrix, predicted_classes


@pytest.fixture(scope="module")
def recorded(golden):
    """Scenic's batches: predictions, labels, which places count, and its own matrices."""
    data = dict(np.load(golden / "scenic" / "eval" / "confusion.npz"))
    batches = []
    for batch in range(3):
        counts = data[f"{batch}/batch_mask"] > 0
        batches.append(
            (
                predicted_classes(data[f"{batch}/logits"])[counts],
                data[f"{batch}/label"][counts],
                data[f"{batch}/confusion"][0],
            )
        )
    return batches


@pytest.fixture(scope="module")
def scalars(golden):
    return json.loads((golden / "scenic" / "eval" / "eval.json").read_text())["confusion/metrics"]


def test_confusion_matrices_are_scenics(recorded):
    for predicted, labels, expected in recorded:
        ours = confusion_matrix(predicted, labels, 9)
        assert ours.dtype == np.int64
        np.testing.assert_array_equal(ours, expected)


def test_shares_of_every_class_and_their_means_are_scenics(recorded, scalars):
    predicted, labels = (np.concatenate([batch[part] for batch in recorded]) for part in (0, 1))
    rows = class_counts(predicted, labels, 9)
    assert sum(row["count"] for row in rows) == len(labels)
    for row in rows:
        # Scenic writes 0 for a class without videos; its mean leaves the class out all the same.
        assert (row["accuracy"] or 0) == pytest.approx(scalars[f"recall/{row['class']}"], abs=1e-6)
    means = class_means(rows)
    for ours, theirs in (("accuracy", "recall"), ("precision", "precision"), ("jaccard", "jaccard")):
        assert means[ours] == pytest.approx(scalars[f"{theirs}/mean"], abs=1e-6)
    assert means["classes"] + means["classes_without_videos"] == 9
    assert means["classes_without_videos"] > 0, "the means would agree for a trivial reason"


def test_rows_truth_columns_prediction():
    matrix = confusion_matrix(np.array([1, 1, 0, 2]), np.array([0, 0, 0, 2]), 3)
    assert matrix.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 1]]


def test_counts_of_every_class_by_name():
    rows = class_counts(np.array([1, 1, 0, 2]), np.array([0, 0, 0, 2]), 3, ("up", "down", "left"))
    assert rows == [
        {"class": 0, "name": "up", "count": 3, "predicted": 1, "correct": 1, "accuracy": 1 / 3},
        {"class": 1, "name": "down", "count": 0, "predicted": 2, "correct": 0, "accuracy": None},
        {"class": 2, "name": "left", "count": 1, "predicted": 1, "correct": 1, "accuracy": 1.0},
    ]
    assert class_means(rows) == {
        "accuracy": pytest.approx((1 / 3 + 1) / 2),
        "precision": pytest.approx((1 + 0 + 1) / 3),
        "jaccard": pytest.approx((1 / 3 + 0 + 1) / 3),
        "classes": 2,
        "classes_without_videos": 1,
    }


def test_without_a_prediction_a_video_counts_for_its_class_alone():
    predicted, labels = np.array([-1, 0]), np.array([0, 0])
    assert confusion_matrix(predicted, labels, 2).sum() == 1
    (first, _) = class_counts(predicted, labels, 2)
    assert (first["count"], first["predicted"], first["correct"]) == (2, 1, 1)


def test_of_no_videos_there_are_no_means():
    means = class_means(class_counts(np.zeros(0, int), np.zeros(0, int), 3))
    assert [means[key] for key in ("accuracy", "precision", "jaccard", "classes")] == [None, None, None, 0]
