import copy
import math

import pytest
from page_reader import HOSTILE
from page_reader import PageReader as Page
from report_examples import two_heads

from jax_vtm.studies.page import splice_headline, splice_page

KINDS = ("unspliced", "random", "same_class", "different_class")


def share(correct: int, count: int = 100) -> dict:
    value = correct / count
    return {"correct": correct, "count": count, "value": value, "low": value - 0.05, "high": value + 0.05}


def layer(kind: str, number: int, mixed: int) -> dict:
    ratio = {"value": mixed / 1000, "low": mixed / 1000 - 0.01, "high": mixed / 1000 + 0.01}
    entry = {"clips": kind, "run": "merge r=9", "layer": number, "merged_tokens": 1000.0, "merged_groups": 400.0}
    entry |= {"share_of_tokens": ratio, "share_of_groups": ratio, "chance_of_tokens": 0.9, "chance_of_groups": 0.8}
    return entry if kind == "unspliced" else entry | {"over_unspliced": {"value": -0.5, "low": -0.52, "high": -0.48}}


def predictions(kind: str, run: str) -> dict:
    head = {"accuracy": share(40)}
    if kind not in ("unspliced", "same_class"):
        head |= {"follows_host": share(41), "follows_donor": share(32), "follows_neither": share(27)}
    entry = {"clips": kind, "run": run, "heads": {"noun": head}}
    return entry if kind == "unspliced" else entry | {"as_unspliced": share(55)}


@pytest.fixture
def results() -> dict:
    mixed = {"unspliced": 970, "random": 480, "same_class": 502, "different_class": 496}
    return {
        "name": "splices",
        "dataset": {"name": "d", "description": "some", "n_videos": 100, "n_ok": 100, "n_failed": 0, "labelled": True},
        "failures": [],
        **{key: two_heads()[key] for key in ("model", "environment")},
        "protocol": {"description": "one clip", "num_clips": 1, "num_crops": 1, "view_average": "logits"},
        "study": {
            "tubelets": 4,
            "of": 8,
            "frames_per_tubelet": 2,
            "donors": list(KINDS[1:]),
            "classes": "noun",
            "seed": 0,
        },
        "runs": [],
        "predictions": [predictions(kind, run) for kind in KINDS for run in ("unmerged", "merge r=9")],
        "layers": [layer(kind, number, mixed[kind] - 100 * (1 - number)) for kind in KINDS for number in (0, 1)],
        "measured": {"created": "2026-11-24T03:00:00Z", "wall_s": 3.0},
    }


def test_the_answer_is_that_of_the_last_layer(results):
    across = "with 4 of 8 tubelets from a donor of another class, 49.6 % of merged tokens are across the splice"
    assert splice_headline(results) == f"{across.capitalize()}; 97.0 % unspliced, 90.0 % by chance."
    for entry in results["layers"]:
        entry["over_unspliced"] = {"value": -0.5, "low": -1.0, "high": 0.1}
    assert splice_headline(results) == f"{across.capitalize()}; 90.0 % by chance."
    results["study"]["donors"] = ["random"]
    results["layers"] = [entry for entry in results["layers"] if entry["clips"] in ("unspliced", "random")]
    assert splice_headline(results).startswith("With 4 of 8 tubelets from a random donor, 48.0 %")


def test_the_page_has_every_number(results):
    page = Page(splice_page(results).html)
    assert {"Merged across the splice", "Noun accuracy of the host"} <= set(page.text["h3"])
    rows = page.tables["Predictions"]
    assert rows[0][2:5] == ["as unspliced (%)", "noun accuracy (%)", "noun follows host (%)"]
    assert rows[3] == [
        *("random donor", "unmerged", "55.0 [50.0, 60.0]", "40.0 [35.0, 45.0]"),
        *("41.0 [36.0, 46.0]", "32.0 [27.0, 37.0]"),
    ]
    layers = [row[1] for row in page.tables["Layer by layer"][1:9]]
    assert layers == ["0", "1"] * 4
    assert page.tables["Layer by layer"][4][4] == "\N{MINUS SIGN}50.0 [\N{MINUS SIGN}52.0, \N{MINUS SIGN}48.0]"


def test_nothing_merged_and_no_labels_are_said(results):
    nothing = {"merged_tokens": 0.0, "share_of_tokens": {"value": math.nan}}
    results["layers"] = [entry | nothing for entry in results["layers"]]
    assert splice_headline(results).startswith("Nothing was merged")
    for entry in results["predictions"]:
        entry["heads"] = {}
    assert not Page(splice_page(results).html).of("svg")


def test_text_from_outside_stays_text(results):
    hostile = copy.deepcopy(results)
    hostile["name"] = hostile["study"]["classes"] = hostile["dataset"]["description"] = HOSTILE
    for entry in [*hostile["predictions"], *hostile["layers"]]:
        entry["run"] = HOSTILE
    for entry in hostile["predictions"]:
        entry["heads"] = {HOSTILE: entry["heads"]["noun"]}
    assert len(Page(splice_page(hostile).html).of("script")) == 1
