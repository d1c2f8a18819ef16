import copy
import re

import pytest
from page_reader import HOSTILE
from page_reader import PageReader as Page
from report_examples import metric, run, timing, two_heads, unlabelled

from jax_vtm.reports.wording import TIMES
from jax_vtm.sweep.page import render_sweep, schedule

PLAIN = {
    "inflection": 0.0,
    "proportional_attention": True,
    "head_aggregation": "mean",
    "threshold": 0.0,
    "layout": "reference",
    "repeat_layer": None,
}
# name, what differs from a plain reduction, MACs in units of a hundredth of the unmerged's, top-1 in percent, clips/s
GRID = [
    ("unmerged", {"mode": "none", "r": 0}, 100, 92.0, 140),
    ("merge r=50, decreasing", {"mode": "merge", "r": 50, "inflection": -1.0}, 40, 90.5, 280),
    ("merge r=50", {"mode": "merge", "r": 50}, 60, 91.5, 210),
    ("merge r=50, increasing", {"mode": "merge", "r": 50, "inflection": 1.0}, 80, 91.9, 160),
    ("drop r=50", {"mode": "drop", "r": 50}, 59, 88.0, 245),
    ("random_merge r=50", {"mode": "random_merge", "r": 50}, 58, 30.0, 212),
    ("random_drop r=50", {"mode": "random_drop", "r": 50}, 58, 87.0, 238),
    ("merge r=[9, 9]", {"mode": "merge", "r": [9, 9]}, 95, 91.0, 141),
]


def cell(name: str = "grid", **changes) -> dict:
    results = two_heads() | {"name": name, "runs": [], "comparison": []}
    results["measured"] = {**results["measured"], "runs": {}}
    for run_name, reduction, share, top1, rate in GRID:
        entry = run(run_name, PLAIN | reduction, [513, 403, 293], share * 1_570_000)
        entry["metrics"] = {"top1": metric(round(28.80 * top1), top1 / 100 - 0.01, top1 / 100 + 0.01)}
        results["runs"].append(entry)
        results["measured"]["runs"][run_name] = timing(float(rate))
        if reduction["mode"] != "none":
            difference = (round(28.80 * top1) - round(28.80 * 92.0)) / 2880
            results["comparison"].append(
                {
                    "run": run_name,
                    "baseline": "unmerged",
                    "metric": "top1",
                    "difference": difference,
                    "low": difference - 0.002,
                    "high": difference + 0.002,
                    "agreement": 0.9,
                }
            )
    return results | changes


def render(*cells) -> tuple[str, Page]:
    text = render_sweep({"name": "grid", "command": "sweep", "cells": list(cells)})
    return text, Page(text)


def test_page_opens_with_the_fastest_run_that_loses_less_than_a_point():
    text, page = render(cell())
    heading = "".join(page.text["h1"]).replace("\u00a0", " ")
    answer = "Of 7 reduced runs, merge r=50 is the fastest that keeps accuracy within 1 point of unmerged"
    assert heading.startswith(f"{answer}: it runs 1.50{TIMES} as fast with 60 % of the arithmetic; accuracy changes by")
    assert not re.search(r"https?://|@import|url\(|src=", text)
    assert not page.of("link")


def test_plots_show_every_run_its_mode_its_schedule_and_the_front():
    _, page = render(cell())
    macs, speed = page.of("svg")
    assert (macs["aria-label"], speed["aria-label"]) == (
        "Top-1 over arithmetic, in percent",
        "Top-1 over measured throughput, in percent",
    )
    descriptions = page.text["desc"]
    assert descriptions[0].startswith("unmerged: 0.157, 92.0 %; merge r=50, decreasing: 0.0628, 90.5 %; ")
    assert descriptions[1].startswith(f"unmerged: 1.00{TIMES}, 92.0 %; merge r=50, decreasing: 2.00{TIMES}, 90.5 %; ")
    marks = [attributes for attributes in page.of("path") if (attributes["class"] or "").startswith("mark")]
    shown = [text for text in page.text["title"] if text.endswith("%")]
    assert len(shown) == 2 * len(GRID)
    for name, *_ in GRID:
        assert len([text for text in shown if text.startswith(f"{name}: ")]) == 2
    hollow = {attributes["class"] for attributes in marks if "hollow" in (attributes["class"] or "")}
    assert hollow == {"mark hollow s4", "mark hollow s5"}
    # Each shape is in the dots and in the legend; circles, triangles both ways, a square, a diamond.
    assert len({attributes["d"] for attributes in marks}) == 5
    labels = page.text["text"]
    assert {"merge", "random merge", "decreasing", "increasing", "r per layer", "unmerged"} <= set(labels)
    names = [text for text in labels if text in {row[0] for row in GRID} and text != "unmerged"]
    assert names == [
        *("merge r=50, decreasing", "merge r=50", "merge r=50, increasing"),  # by rising MACs, before the unmerged run
        *("merge r=50, decreasing", "merge r=50", "merge r=50, increasing"),  # by falling speed
    ]


def test_a_run_far_below_is_at_the_lower_edge_and_named_with_its_own_number():
    text, page = render(cell())
    assert text.count("1 run below 82 % is drawn at the lower edge.") == 2
    assert page.text["text"].count("82 or less") == 2
    assert f"random_merge r=50: 1.51{TIMES}, 30.0 %" in page.text["title"]


def test_equal_r_is_said_to_be_unequal_work():
    text, _ = render(cell())
    assert "Here merge with r\u00a0=\u00a050 takes from 40\u00a0% to 80\u00a0% of the unmerged arithmetic" in text


def test_table_has_every_run_with_the_numbers_given():
    results = cell()
    text, page = render(results)
    assert [name for name in page.text["th"] if name in {row[0] for row in GRID}] == [row[0] for row in GRID]
    rows = re.findall(r"<tr[^>]*><th scope=\"row\".*?</tr>", text, re.S)
    for row, entry in zip(rows, results["runs"], strict=True):
        values = [float(value or "nan") for value in re.findall(r'<td class="number" data-sort="([^"]*)"', row)]
        measured = results["measured"]["runs"][entry["name"]]
        compared = next((one for one in results["comparison"] if one["run"] == entry["name"]), None)
        if compared:
            assert values[:3] == [entry["metrics"]["top1"]["value"], compared["difference"], compared["agreement"]]
        assert values[3:7] == [
            measured["clips_per_s"],
            measured["speedup"],
            entry["macs_per_clip"],
            entry["mac_ratio"],
        ]
    fronts = {
        re.findall(r'scope="row" data-sort="([^"]*)"', row)[0]: re.findall(
            r'<td class="text" data-sort="([^"]*)"', row
        )[0]
        for row in rows
    }
    both = ("unmerged", "merge r=50, decreasing", "merge r=50", "merge r=50, increasing")
    assert fronts == {row[0]: "MACs, speed" if row[0] in both else "" for row in GRID}


def test_settings_have_columns_where_they_differ():
    _, page = render(cell())
    assert "heads" not in page.text["th"]
    results = cell()
    results["runs"][2]["reduction"] |= {"head_aggregation": "concat", "repeat_layer": [0, 12]}
    _, page = render(results)
    assert {"heads", "layer, times"} <= set(page.text["th"])
    assert {"concat", "0, 12"} <= set(page.text["td"])


def test_without_labels_the_plots_show_agreement():
    results = unlabelled()
    for entry in results["runs"]:
        entry["reduction"] = PLAIN | entry["reduction"]
    text, _ = render(results)
    assert "Agreement with unmerged over arithmetic" in text
    assert "carry no labels" in text


def test_several_cells_have_a_section_each():
    text, page = render(cell("one"), cell("two", dataset=cell()["dataset"] | {"n_failed": 3, "n_ok": 2877}))
    assert "2 models and data sets: 16 runs." in text
    assert {"one: Every run", "two: Every run"} <= set(page.text["h2"])
    assert any("two: 3 of 2880" in text for text in page.text["p"])


def test_names_are_escaped_and_the_unmerged_run_alone_is_a_page():
    results = copy.deepcopy(cell(HOSTILE))
    results["runs"] = results["runs"][:1]
    results["comparison"] = []
    text, page = render(results)
    assert HOSTILE not in text
    assert not page.of("svg")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"mode": "none", "r": 0}, "unmerged"),
        ({"inflection": 0.0}, "constant"),
        ({"inflection": -0.5}, "decreasing"),
        ({"inflection": 0.5}, "increasing"),
        ({"r": [3, 2]}, "list"),
    ],
)
def test_schedules_by_name(changes, name):
    assert schedule(PLAIN | {"mode": "merge", "r": 5} | changes) == name
