import dataclasses
import re

import pytest
from report_examples import two_heads
from test_page import Page

from jax_vtm.data import published_protocol
from jax_vtm.reports import render_report
from jax_vtm.reports.published_section import published_section


def results(protocol, family, preset, frames, r):
    found = two_heads()
    fields = dataclasses.asdict(published_protocol(protocol, family, "kinetics400", num_frames=frames, crop=224))
    found["protocol"] |= {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    found["model"]["name"], found["dataset"]["name"] = preset, "kinetics400"
    for run in found["runs"]:
        run["metrics"] = {"label/top1": {"correct": 631, "count": 1000, "value": 0.631, "low": 0.6, "high": 0.66}}
    found["runs"][1]["reduction"] = {
        "mode": "merge",
        "r": r,
        "inflection": 0.0,
        "proportional_attention": family == "vivit",
        "head_aggregation": "mean",
        "threshold": 0.0,
    }
    return found


PAPER = results("paper", "vivit", "vivit_b_16x2", 32, 300)
AUTHORS = results("standard", "videomae", "videomae_b_16", 16, 150)


def rows_of(content, label):
    table = content.partition(f'aria-label="{label}"')[2].partition("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table.partition("<tbody>")[2], re.DOTALL)
    return [re.findall(r"<(?:t[hd]|small)[^>]*>([^<]*)", row) for row in rows]


def test_ours_stands_beside_what_is_comparable():
    rows = rows_of(published_section(PAPER), "Our numbers beside published ones")
    assert [row[0] for row in rows] == ["unmerged", "merge r=110"]
    assert rows[1][1:4] == ["top-1", "63.1 %", "[60.0, 66.0]"]
    assert rows[1][4:7] == ["63.08 %", "0.0", "within our interval"]


def test_what_is_not_comparable_is_shown_as_such():
    content = published_section(PAPER)
    rows = rows_of(content, "Published numbers that are not comparable")
    by_accuracy = {row[3]: row for row in rows}
    assert set(by_accuracy) == {"59.95 %", "58.00 %", "28.88 %", "63.09 %", "79.9 %"}
    assert by_accuracy["63.09 %"][1] == "hybrid r=300, threshold 0.4"
    assert by_accuracy["79.9 %"][4] == "4\N{MULTIPLICATION SIGN}3"
    assert "another protocol: num clips" in by_accuracy["79.9 %"][5]
    assert "5 published numbers under another protocol or reduction" in content
    assert "google-research/scenic" in content.partition("Sources: ")[2]


@pytest.mark.parametrize(
    ("given", "paper", "authors", "only"),
    [
        (PAPER, "63.43", "79.9", "PySlowFast&#x27;s 0.45 and 0.225"),
        (AUTHORS, "62.09", "81.5", "every fourth frame"),
    ],
)
def test_why_the_papers_numbers_are_lower_is_explained_on_request(given, paper, authors, only):
    content = published_section(given)
    summary = f"Why the paper has {paper}\u00a0% without merging where the model&#x27;s authors have {authors}\u00a0%"
    assert f"<details><summary>{summary}</summary>" in content
    assert only in content
    assert sum(words in content for words in ("PySlowFast", "every fourth frame")) == 1


def test_under_the_authors_protocol_the_papers_numbers_are_not_compared():
    content = published_section(AUTHORS)
    rows = rows_of(content, "Our numbers beside published ones")
    assert {row[0] for row in rows} == {"unmerged"}
    assert all("outside our interval" in row for row in rows)
    assert "62.09" not in content.partition('aria-label="Our numbers')[2].partition("</table>")[0]


def test_no_run_may_be_comparable():
    given = PAPER | {"runs": []}
    assert "None of these runs is comparable with a published number." in published_section(given)


def test_the_page_has_the_section_only_where_something_is_published():
    assert "Published numbers" in Page(render_report(PAPER)).text["h2"]
    assert "Published numbers" not in render_report(two_heads())
    # A protocol cannot explain numbers that are not there.
    epic = PAPER | {"dataset": PAPER["dataset"] | {"name": "epic_kitchens_100"}}
    assert published_section(epic)
    assert "Why the paper" not in published_section(epic)
