import json
import re

import numpy as np
import pytest
from ladder_examples import ALIKE, NEAR_TIE, OTHER_ORDER, UNEXPLAINED, ladder
from page_reader import HOSTILE
from page_reader import PageReader as Page

from jax_vtm.parity.page import render_ladder
from jax_vtm.parity.text import format_ladder, ladder_headline, share
from jax_vtm.reports.depth_plot import Line, depth_plot
from jax_vtm.reports.wording import TIMES

EXAMPLES = {"alike": ALIKE, "near tie": NEAR_TIE, "order": OTHER_ORDER, "unexplained": UNEXPLAINED}


@pytest.mark.parametrize("results", EXAMPLES.values(), ids=EXAMPLES)
def test_page_is_well_formed_opens_with_the_answer_and_loads_nothing(results):
    text = render_ladder(results)
    page = Page(text)
    assert "".join(page.text["h1"]).replace("\u00a0", " ") == ladder_headline(results)
    assert not re.search(r"https?://|@import|url\(", text)
    assert all("src" not in attributes for attributes in page.of("script"))
    assert not page.of("link")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("alike", "take all 200 merging decisions alike; logits differ by at most 1.5e-06; JAX classifies 1.50"),
        (
            "near tie",
            "take 199 of 200 merging decisions alike, differing in near ties only; logits differ by at most 6.0e-05, ",
        ),
        (
            "order",
            "take all 200 merging decisions alike and put 2 kept tokens in another order, differing in near ties only",
        ),
        ("unexplained", "take 198 of 200 merging decisions alike, differing in more than near ties; "),
    ],
)
def test_headline(name, said):
    assert said in ladder_headline(EXAMPLES[name])
    assert ("decisions replayed" in ladder_headline(EXAMPLES[name])) == (name != "alike")


def test_only_what_rounding_does_not_explain_is_a_warning():
    warned = [name for name, results in EXAMPLES.items() if 'role="note"' in render_ladder(results)]
    assert warned == ["unexplained"]


def test_uneven_speeds_are_not_summed_up():
    measured = {**ALIKE["measured"], "ratio_lowest": 0.9}
    said = ladder_headline(ladder(measured=measured)).rpartition("; ")[2]
    span = f"0.90{TIMES} to 2.00{TIMES}"
    assert said == f"JAX classifies {span} as many clips per second, too uneven in 3 rounds to say more."
    measured = {**measured, "rounds": measured["rounds"][:1], "ratio_lowest": 1.5, "ratio_highest": 1.5}
    assert ladder_headline(ladder(measured=measured)).endswith("as many clips per second (one round).")


@pytest.mark.parametrize(("load", "busy"), [(None, False), (2.9, False), (3.1, True)])
def test_a_busy_machine_is_a_warning(load, busy):
    results = ladder(measured={**ALIKE["measured"], "load_average": load})
    assert ("busy with other things (load 3.1 on 2 cores)" in render_ladder(results)) == busy
    assert ("busy with other things" in format_ladder(results)) == busy
    assert ("ladder.threads=1" in format_ladder(results)) == busy
    results["environment"]["threads"] = 1
    assert "ladder.threads=1" not in format_ladder(results)
    assert "1 thread)" in format_ladder(results).replace("\n", " ")


def test_without_decisions_it_says_so():
    rungs = [{**rung, "matching": None} for rung in ALIKE["rungs"]]
    random = ladder(rungs=rungs, reduction={"mode": "random_merge", "r": 100})
    assert ladder_headline(random).startswith(
        "JAX and PyTorch (VivitForVideoClassification): no tokens are merged by similarity"
    )
    assert "nothing is merged" in ladder_headline(ladder(rungs=rungs, reduction={"mode": "none", "r": 0}))
    assert "no tokens are merged by similarity" in render_ladder(random)


def test_numbers_are_the_ones_given():
    page = Page(render_ladder(NEAR_TIE))
    cells = [attributes["data-sort"] for attributes in page.of("td")]
    for rung in NEAR_TIE["rungs"]:
        own, replayed, yardstick = (rung[kind] for kind in ("own", "replayed", "yardstick"))
        alike = own.get("groups_alike", "")
        expected = [rung["tokens"] or "", own["largest"], own["relative"], alike]
        expected += [one[what] for one in (replayed, yardstick) for what in ("largest", "relative")]
        assert cells[:8] == [str(value) for value in expected]
        cells = cells[8:]
    for counts in ((1.0, 1.0, 1.0, 5e-7, ""), (1.0, 0.99, 1.0, 5e-7, 6e-8)):
        assert cells[:5] == [str(value) for value in counts]
        cells = cells[5:]
    for timed in NEAR_TIE["measured"]["rounds"]:
        assert cells[:3] == [str(value) for value in (timed["jax"], timed["pytorch"], timed["jax"] / timed["pytorch"])]
        cells = cells[3:]
    assert not cells


def test_hostile_names_stay_text():
    text = render_ladder(ladder(name=HOSTILE, clips=[HOSTILE]))
    assert HOSTILE not in text
    Page(text)


def test_terminal_has_a_row_for_every_rung_and_fits():
    lines = format_ladder(NEAR_TIE).splitlines()
    assert [line.split("  ")[0] for line in lines[2:6]] == ["embedding", "layer 1", "layer 2", "logits"]
    assert "99.00 %" in lines[4]
    assert "99.50 %" in lines[4]
    assert max(map(len, lines)) <= 120
    assert "Both predict the same class for 2 of 2 clips." in format_ladder(NEAR_TIE)
    assert "the median of 3 rounds" in format_ladder(NEAR_TIE).replace("\n", " ")


def test_nearly_all_is_not_all():
    assert share(1.0) == "100 %"
    assert share(1 - 1e-7) == "99.99 %"
    assert share(0.0) == "0.00 %"


def test_plot_puts_larger_differences_higher_and_has_no_dot_for_none():
    values = [0.0, 2e-6, 1e-3, 0.0, 1e-5]
    drawing = depth_plot("Title", ["in", "1", "2", "3", "out"], [Line("own", values)], ["written"])
    heights = [float(y) for y in re.findall(r'cy="([\d.]+)"', drawing)]
    assert np.argsort(heights).tolist() == [1, 2, 0]
    assert re.findall(r">1e(-\d+)<", drawing) == ["-6", "-5", "-4", "-3"]
    path = re.findall(r'class="line" d="(.*?)"', drawing)[0]
    assert re.sub(r"[^ML]", "", path) == "MLM"
    depth_plot("All zero", ["in", "out"], [Line("own", [0.0, 0.0])], ["0"])


def test_examples_are_json():
    assert json.loads(json.dumps(NEAR_TIE)) == NEAR_TIE
