import json
import types

import numpy as np
import pytest

from jax_vtm.config import default_config
from jax_vtm.data import ClipProtocol, Failure
from jax_vtm.evaluation import Evaluation, Predictions, Variant, as_probabilities, combine_heads, correct_predictions
from jax_vtm.evaluation.results import FAILURES_LISTED, confusion_matrices, summarise
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models import create_model

CLASSES = {"noun": 7, "verb": 6}
VIDEOS = 40


class Source:
    """As much of a source as the results ask for."""

    class_names = types.MappingProxyType({"verb": ("a", "b", "c", "d", "e", "f")})

    def __len__(self):
        return VIDEOS


@pytest.fixture(scope="module")
def variants():
    return [
        Variant(name, create_model("vivit_moving_digits", num_classes=CLASSES, reduction=reduction), {})
        for name, reduction in (("unmerged", no_reduction()), ("merge r=9", Reduction(r=9)))
    ]


@pytest.fixture
def outcome():
    """Two runs' logits for two views; class 6 has no videos."""
    rng = np.random.default_rng(3)
    labels = {head: rng.integers(min(count, 6), size=VIDEOS) for head, count in CLASSES.items()}
    predictions = {
        name: Predictions(
            {head: rng.normal(size=(VIDEOS, 2, count)).astype(np.float32) for head, count in CLASSES.items()},
            1.5,
            seconds,
        )
        for name, seconds in (("unmerged", [0.5, 0.4, 0.6]), ("merge r=9", [0.25, 0.1, 0.3]))
    }
    ids = [f"{i}.mp4" for i in range(VIDEOS)]
    return Evaluation(
        ids=ids,
        indices=np.arange(VIDEOS),
        labels=labels,
        predictions=predictions,
        failures=[],
        batch_size=20,
        views=2,
        wall_s=3.0,
        data_wait_s=0.3,
    )


def summary(variants, outcome, view_average="logits"):
    config = default_config("tiny")
    config.checkpoint = "embedded:moving_digits"
    config.model = {"name": "vivit_moving_digits", "dtype": "float32"}
    protocol = ClipProtocol(16, 1, 64, 64, num_clips=2, view_average=view_average)
    return summarise(config, variants, outcome, Source(), protocol)


@pytest.mark.parametrize("how", ["logits", "softmax", "max", "max_from_zero"])
def test_everything_that_is_counted_follows_the_protocols_view_average(variants, outcome, how):
    results = summary(variants, outcome, how)
    matrices = confusion_matrices(outcome, how)
    for run in results["runs"]:
        scores = combine_heads(outcome.predictions[run["name"]].logits, how)
        probabilities = {head: as_probabilities(values, how) for head, values in scores.items()}
        right = correct_predictions(scores, probabilities, outcome.labels)
        assert {name: metric["correct"] for name, metric in run["metrics"].items()} == {
            name: values.sum() for name, values in right.items()
        }
        for head in CLASSES:
            predicted = scores[head].argmax(axis=-1)
            assert sum(row["correct"] for row in run["classes"][head]) == run["metrics"][f"{head}/top1"]["correct"]
            for row in run["classes"][head]:
                assert row["predicted"] == np.sum(predicted == row["class"])
                assert row["correct"] == matrices[run["name"]][head][row["class"], row["class"]]
    assert results["protocol"]["view_average"] == how
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_the_view_average_makes_a_difference_here(variants, outcome):
    counted = {
        how: summary(variants, outcome, how)["runs"][0]["metrics"]["noun/top1"]["correct"] for how in ("logits", "max")
    }
    assert counted["logits"] != counted["max"]


def test_classes_go_by_name_where_they_have_one_and_means_leave_out_those_without_videos(variants, outcome):
    run = summary(variants, outcome)["runs"][0]
    assert [row["name"] for row in run["classes"]["verb"]] == list("abcdef")
    assert "name" not in run["classes"]["noun"][0]
    assert run["classes"]["noun"][6]["accuracy"] is None
    means = run["class_means"]["noun"]
    assert (means["classes"], means["classes_without_videos"]) == (6, 1)
    shares = [row["accuracy"] for row in run["classes"]["noun"][:6]]
    assert means["accuracy"] == pytest.approx(np.mean(shares))


def test_what_is_measured_is_in_one_place(variants, outcome):
    results = summary(variants, outcome)
    measured = results.pop("measured")
    assert measured["wall_s"] == 3.0
    assert measured["runs"]["merge r=9"] == {
        "compile_s": 1.5,
        "run_s": pytest.approx(0.65),
        "clips_per_s": pytest.approx(40 / 0.25),
        # The median of 0.5 / 0.25, 0.4 / 0.1 and 0.6 / 0.3.
        "speedup": pytest.approx(2.0),
    }
    for prediction in outcome.predictions.values():
        prediction.step_s = [2 * seconds for seconds in prediction.step_s]
        prediction.compile_s = 7.0
    again = summary(variants, outcome)
    assert again.pop("measured") != measured
    assert again == results


def test_comparison_is_of_actions_and_of_the_same_videos(variants, outcome):
    (entry,) = summary(variants, outcome)["comparison"]
    runs = {run["name"]: run for run in summary(variants, outcome)["runs"]}
    assert (entry["run"], entry["baseline"], entry["metric"]) == ("merge r=9", "unmerged", "action/top1")
    values = [runs[name]["metrics"]["action/top1"]["value"] for name in ("merge r=9", "unmerged")]
    assert entry["difference"] == pytest.approx(values[0] - values[1])


def test_outputs_that_are_not_numbers_are_counted(variants, outcome):
    outcome.predictions["merge r=9"].logits["noun"][:3, 1, 0] = np.nan
    outcome.predictions["merge r=9"].logits["verb"][2:5, 0] = np.nan
    unmerged, merged = summary(variants, outcome)["runs"]
    assert (unmerged["n_without_prediction"], merged["n_without_prediction"]) == (0, 5)
    assert confusion_matrices(outcome, "logits")["merge r=9"]["noun"].sum() == VIDEOS - 3


def test_a_long_list_of_failures_is_cut_and_its_length_is_known(variants, outcome):
    outcome.failures.extend(Failure(f"broken{i}.mp4", "empty") for i in range(60))
    results = summary(variants, outcome)
    assert results["dataset"]["n_failed"] == 60
    assert len(results["failures"]) == FAILURES_LISTED
    assert results["failures"][0] == {"id": "broken0.mp4", "reason": "empty"}


def test_without_labels_the_predicted_classes_are_named(variants, outcome):
    outcome.labels.clear()
    outcome.predictions["unmerged"].logits["verb"][1] = np.nan
    run = summary(variants, outcome)["runs"][0]
    assert (run["metrics"], run["classes"], run["class_means"]) == ({}, {}, {})
    logits = outcome.predictions["unmerged"].logits
    assert run["predictions"][0] == {
        "id": "0.mp4",
        "noun": int(logits["noun"][0].mean(axis=0).argmax()),
        "verb": "abcdef"[logits["verb"][0].mean(axis=0).argmax()],
    }
    assert run["predictions"][1]["verb"] is None
    assert confusion_matrices(outcome, "logits") == {"unmerged": {}, "merge r=9": {}}


def test_how_things_were_computed_is_said(variants, outcome):
    environment = summary(variants, outcome)["environment"]
    # What "auto" chose, on a CPU.
    said = {name: environment[name] for name in ("dtype", "attention", "matching", "merging")}
    assert said == {"dtype": "float32", "attention": "chunked", "matching": "chunked", "merging": "scatter"}
