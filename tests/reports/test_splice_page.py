import copy
import math

import pytest
from page_reader import HOSTILE
from page_reader import PageReader as Page

from jax_vtm.studies.page import render_splices, splice_headline

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
        "protocol": {"description": "one clip", "num_clips": 1, "num_crops": 1, "view_average": "logits"},
        "model": {
            "name": "m",
            "parameters": 1,
            "checkpoint": "c",
            "checkpoint_sha256": "0" * 64,
            "heads": {"noun": 10},
        },
        "environment": {"platform": "cpu", "device_kind": "cpu", "num_devices": 1},
        "splice": {
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
    assert splice_headline(results) == (
        "With 4 of 8 tubelets from a video of another class, 49.6 % of the merged tokens share their group with tokens "
        "of the other clip, against 97.0 % across the same borders of unspliced clips and 90.0 % by chance. With a "
        "donor of the same class it is 50.2 %."
    )
    results["splice"]["donors"] = ["random"]
    results["layers"] = [entry for entry in results["layers"] if entry["clips"] in ("unspliced", "random")]
    assert splice_headline(results).startswith("With 4 of 8 tubelets from a random video, 48.0 %")


def test_the_page_has_every_number(results):
    html = render_splices(results)
    page = Page(html)
    assert "noun predictions follow host and donor in 41.0\u00a0% and 32.0\u00a0% (unmerged)" in html
    for title in ("Merged across the splice, after each layer", "Noun accuracy of the host"):
        assert f"<h3>{title}</h3>" in html
    assert html.count("<tr") == 2 + len(results["predictions"]) + len(results["layers"])
    assert "\N{MINUS SIGN}50.0" in html
    assert page


def test_nothing_merged_and_no_labels_are_said(results):
    nothing = {"merged_tokens": 0.0, "share_of_tokens": {"value": math.nan}}
    results["layers"] = [entry | nothing for entry in results["layers"]]
    assert splice_headline(results).startswith("Nothing was merged")
    for entry in results["predictions"]:
        entry["heads"] = {}
    html = render_splices(results)
    assert "follow host" not in html


def test_text_from_outside_stays_text(results):
    hostile = copy.deepcopy(results)
    hostile["name"] = hostile["splice"]["classes"] = hostile["dataset"]["description"] = HOSTILE
    for entry in [*hostile["predictions"], *hostile["layers"]]:
        entry["run"] = HOSTILE
    for entry in hostile["predictions"]:
        entry["heads"] = {HOSTILE: entry["heads"]["noun"]}
    assert HOSTILE not in render_splices(hostile)
