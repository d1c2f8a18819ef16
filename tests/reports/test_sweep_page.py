import copy
import json

import hypothesis
import numpy as np
from hypothesis import strategies
from page_reader import HOSTILE, marks_of
from page_reader import PageReader as Page
from report_examples import metric, run, timing, two_heads, unlabelled

from jax_vtm.reports.equal_cost import pareto_front
from jax_vtm.reports.formatting import TIMES
from jax_vtm.sweep.page import sweep_page

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


def experiment(name: str = "grid", **changes) -> dict:
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


def render(*experiments) -> Page:
    return Page(sweep_page({"name": "grid", "command": "sweep", "experiments": list(experiments)}).html)


def test_page_opens_with_the_fastest_run_that_surely_keeps_the_accuracy():
    heading = "".join(render(experiment()).text["h1"]).replace("\u00a0", " ")
    answer = "Of 7 reduced runs, merge r=50 is the fastest that keeps accuracy within 1 point"
    assert heading == f"{answer}: 1.50{TIMES} as fast, 60 % of the arithmetic."


def test_the_first_sentence_has_two_lines_however_long_the_name():
    text = json.dumps(experiment()).replace(
        '"merge r=50"', '"drop x 2 then merge r=50, input 192 by run_length, by shift"'
    )
    heading = "".join(render(json.loads(text)).text["h1"])
    assert 150 < len(heading) <= 160
    assert "drop x 2 then merge r=50" in heading


def test_figures_show_every_run_where_it_is_and_the_front():
    results = experiment()
    html = sweep_page({"name": "grid", "command": "sweep", "experiments": [results]}).html
    labels = [figure["aria-label"] for figure in Page(html).of("svg")]
    assert labels == ["Top-1 over arithmetic", "Top-1 over speed"]
    figure = html[html.index('aria-label="Top-1 over speed"') :].partition("</svg>")[0]
    marks = marks_of(figure)
    order = [*results["runs"]]
    values = [
        (results["measured"]["runs"][entry["name"]]["speedup"], entry["metrics"]["top1"]["value"]) for entry in order
    ]
    assert len(marks) == len(values)
    for axis, sign in ((0, 1), (1, -1)):
        drawn, given = (np.array(sorted(one))[:, axis] for one in (marks, values))
        scale = (drawn.max() - drawn.min()) / (given.max() - given.min())
        np.testing.assert_allclose(sign * (drawn - drawn[0]), scale * (given - given[0]), atol=0.01)
    texts = Page(f"<svg {figure}</svg>").text["text"]
    assert {"merge, decreasing", "merge", "merge, increasing", "random merge", "Pareto front"} <= set(texts)
    assert texts.count("50") == 1 + 3, "a percentage on the axis, and r of those on the front that merge"


def test_table_has_every_run_with_the_numbers_given():
    results = experiment()
    page = render(results)
    rows = page.tables["Every run"]
    assert [row[0] for row in rows[1 : 1 + len(GRID)]] == [row[0] for row in GRID]
    for row, entry in zip(rows[1:], results["runs"], strict=False):
        measured = results["measured"]["runs"][entry["name"]]
        assert row[1].startswith(f"{100 * entry['metrics']['top1']['value']:.1f} [")
        assert row[5] == f"{measured['speedup']:.2f}"
        assert row[7] == f"{entry['mac_ratio']:.2f}"
    head = next(row for row in rows if "front" in row)
    fronts = {row[0]: row[head.index("front")] for row in rows[-len(GRID) :]}
    both = ("unmerged", "merge r=50, decreasing", "merge r=50", "merge r=50, increasing")
    assert fronts == {row[0]: "GMACs, speed" if row[0] in both else "" for row in GRID}


def test_without_labels_the_figures_show_agreement():
    results = unlabelled()
    for entry in results["runs"]:
        entry["reduction"] = PLAIN | entry["reduction"]
    page = render(results)
    assert "Agreement with unmerged over arithmetic" in page.text["h3"]
    assert "Without labels, accuracy was not measured." in page.text["h1"][0]


def test_several_experiments_have_a_section_each():
    page = render(experiment("one"), experiment("two", dataset=experiment()["dataset"] | {"n_failed": 3, "n_ok": 2877}))
    assert page.text["h1"] == ["2 models and data sets, 16 runs."]
    assert {"one: Every run", "two: Every run"} <= set(page.tables)
    assert any("two: 3 of 2" in text for text in page.text["p"])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_names_are_escaped_and_the_unmerged_run_alone_is_a_page():
    results = copy.deepcopy(experiment(HOSTILE))
    results["runs"] = results["runs"][:1]
    results["comparison"] = []
    page = render(results)
    assert len(page.of("script")) == 1
    assert not page.of("svg")


@hypothesis.given(strategies.lists(strategies.tuples(strategies.integers(0, 6), strategies.integers(0, 6))))
def test_the_front_is_all_that_nothing_dominates(points):
    def dominated(point):
        return any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)

    front = pareto_front(points)
    assert [points[number] for number in front] == sorted({point for point in points if not dominated(point)})
    assert all(points.index(points[number]) == number for number in front)
