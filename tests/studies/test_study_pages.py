"""The pages of both studies, of results with round numbers."""

import copy
import math

import numpy as np
import pytest
from page_reader import HOSTILE
from page_reader import PageReader as Page
from study_examples import layers, splices

from jax_vtm.studies.finetuning import compare, over_seeds
from jax_vtm.studies.finetuning_page import finetuning_headline
from jax_vtm.studies.layers_page import layers_headline, layers_page
from jax_vtm.studies.splices_page import splices_headline, splices_page


@pytest.fixture(name="splices")
def example_of_splices() -> dict:
    return splices()


@pytest.fixture(name="layers")
def example_of_layers() -> dict:
    return layers()


def test_the_answer_of_splices_is_that_of_the_last_layer(splices):
    across = "With 4 of 8 tubelets from a donor of another class, 49.6 % of merged tokens are across the splice"
    assert splices_headline(splices) == f"{across}; 97.0 % unspliced, 90.0 % by chance."
    for entry in splices["layers"]:
        entry["over_unspliced"] = {"value": -0.5, "low": -1.0, "high": 0.1}
    assert splices_headline(splices) == f"{across}; 90.0 % by chance."
    splices["study"]["donors"] = ["random"]
    splices["layers"] = [entry for entry in splices["layers"] if entry["clips"] in ("unspliced", "random")]
    assert splices_headline(splices).startswith("With 4 of 8 tubelets from a random donor, 48.0 %")


def test_the_page_of_splices_has_every_number(splices):
    page = Page(splices_page(splices).html)
    assert {"Merged across the splice", "Noun accuracy of the host"} <= set(page.text["h3"])
    rows = page.tables["Predictions"]
    assert rows[0][2:5] == ["as unspliced (%)", "noun accuracy (%)", "noun follows host (%)"]
    assert rows[3] == [
        *("random donor", "unmerged", "55.0 [50.0, 60.0]", "40.0 [35.0, 45.0]"),
        *("41.0 [36.0, 46.0]", "32.0 [27.0, 37.0]"),
    ]
    layers = page.tables["Layer by layer"]
    assert [row[1] for row in layers[1:9]] == ["0", "1"] * 4
    assert layers[4][4] == "\N{MINUS SIGN}50.0 [\N{MINUS SIGN}52.0, \N{MINUS SIGN}48.0]"


def test_nothing_merged_and_no_labels_are_said(splices):
    nothing = {"merged_tokens": 0.0, "share_of_tokens": {"value": math.nan}}
    splices["layers"] = [entry | nothing for entry in splices["layers"]]
    assert splices_headline(splices).startswith("Nothing was merged")
    for entry in splices["predictions"]:
        entry["heads"] = {}
    assert not Page(splices_page(splices).html).of("svg")


def compared(results: dict, half: float) -> dict:
    """Compares runs with the unmerged one; intervals end so much below and above the differences."""
    unmerged, *others = results["runs"]
    results["comparison"] = []
    for entry in others:
        difference = entry["metrics"]["top1"]["value"] - unmerged["metrics"]["top1"]["value"]
        ends = {"low": difference - half, "high": difference + half}
        pair = {"run": entry["name"], "baseline": "unmerged", "metric": "top1", "agreement": 0.9}
        results["comparison"].append(pair | {"difference": difference} | ends)
    return results


def test_the_answer_of_layers_names_the_one_that_costs_most_where_that_is_known(layers):
    said = "In one layer alone (2 times r = 50), 512 tokens become 412"
    assert layers_headline(compared(layers, 0.01)) == f"{said}; accuracy falls most in layer 0, by 22.0 points."
    assert layers_headline(compared(layers, 0.3)) == f"{said}."


def test_the_page_of_layers_has_every_number(layers):
    page = Page(layers_page(compared(layers, 0.01)).html)
    assert page.text["h3"][:2] == ["Top-1 over the layer", "Merged across times"]
    head, *rows = page.tables["Every run"]
    place = head.index("across times (%)")
    # Half of the merged tokens across times, and three quarters by chance.
    assert [row[place : place + 2] for row in rows[1:5]] == [["50.0", "75.0"]] * 4


def test_text_from_outside_stays_text(splices, layers):
    hostile = copy.deepcopy(splices)
    hostile["name"] = hostile["study"]["classes"] = hostile["dataset"]["description"] = HOSTILE
    for entry in [*hostile["predictions"], *hostile["layers"]]:
        entry["run"] = HOSTILE
    for entry in hostile["predictions"]:
        entry["heads"] = {HOSTILE: entry["heads"]["noun"]}
    for entry in layers["runs"]:
        entry["name"] = f"{HOSTILE}{entry['name']}"
    layers["measured"]["runs"] = {}
    for page in (splices_page(hostile), layers_page(layers)):
        assert len(Page(page.html).of("script")) == 1


def test_the_interval_counts_videos_and_seeds():
    # Of 100 videos all seeds get 80 right: nothing varies over seeds.
    right = np.broadcast_to(np.arange(100) < 80, (3, 100)).astype(float)
    alike = over_seeds(right)
    assert alike["value"] == pytest.approx(0.8)
    assert alike["high"] - 0.8 == pytest.approx(1.96 * 0.4 / math.sqrt(99), rel=1e-3)
    # 79, 80 and 81: Student's t of two degrees is 4.303, and the standard error of the mean 0.01 / sqrt(3).
    other = over_seeds(np.stack([np.arange(100) < count for count in (79, 80, 81)]).astype(float))
    over_videos = (np.array([1.0] * 79 + [2 / 3, 1 / 3] + [0.0] * 19)).std(ddof=1) * 1.96 / 10
    assert other["high"] - 0.8 == pytest.approx(math.hypot(over_videos, 4.303 * 0.01 / math.sqrt(3)), rel=1e-3)


def test_the_share_that_is_won_back_is_of_what_merging_costs():
    def first(*counts):
        return np.stack([np.arange(100) < count for count in counts])

    right = {
        ("unmerged", "training-free"): first(90),
        ("weak", "training-free"): first(95),
        ("strong", "training-free"): first(70),
        ("weak", "finetuned with merging"): first(96, 98),
        ("strong", "finetuned with merging"): first(78, 82),
    }
    *_, weak, strong = compare(right)
    assert (weak["won_back"], strong["won_back"]) == (None, pytest.approx(0.5))
    results = {"study": {"metric": "top1", "compared": compare(right)}}
    assert finetuning_headline(results).endswith("wins back 10.0 of 20.0, at the same MACs.")
