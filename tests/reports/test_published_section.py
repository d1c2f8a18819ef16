import dataclasses

import pytest
from page_reader import PageReader
from report_examples import two_heads

from jax_vtm.commands.evaluation_page import evaluation_page
from jax_vtm.data import published_protocol


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


def read(given):
    return PageReader(evaluation_page(given).html)


def test_ours_stands_beside_what_is_comparable():
    rows = read(PAPER).tables["Our numbers beside published ones"][1:]
    assert [row[0] for row in rows] == ["unmerged", "merge r=110"]
    assert rows[1][1:6] == ["top-1", "63.1 [60.0, 66.0]", "63.08", "0.0", "within our interval"]


def test_what_is_not_comparable_is_shown_as_such():
    page = read(PAPER)
    rows = page.tables["Published numbers that are not comparable"][1:]
    by_accuracy = {row[3]: row for row in rows}
    assert set(by_accuracy) == {"59.95", "58.00", "28.88", "63.09", "79.9"}
    assert by_accuracy["63.09"][1] == "hybrid r=300, threshold 0.4"
    assert by_accuracy["79.9"][4] == "4\N{MULTIPLICATION SIGN}3"
    assert "another protocol: num clips" in by_accuracy["79.9"][5]
    assert "5 published under another protocol or reduction, not comparable" in page.text["summary"]
    assert any("google-research/scenic" in text for text in page.text["p"])


@pytest.mark.parametrize(
    ("given", "paper", "authors", "only"),
    [
        (PAPER, "63.43", "79.9", "PySlowFast's 0.45 and 0.225"),
        (AUTHORS, "62.09", "81.5", "every fourth frame"),
    ],
)
def test_why_the_papers_numbers_are_lower_is_explained_on_request(given, paper, authors, only):
    page = read(given)
    summary = f"Why the paper has {paper}\u00a0% without merging where the model's authors have {authors}\u00a0%"
    assert summary in page.text["summary"]
    said = " ".join(page.text["li"])
    assert only in said
    assert sum(words in said for words in ("PySlowFast", "every fourth frame")) == 1


def test_under_the_authors_protocol_the_papers_numbers_are_not_compared():
    rows = read(AUTHORS).tables["Our numbers beside published ones"][1:]
    assert {row[0] for row in rows} == {"unmerged"}
    assert all("outside our interval" in row for row in rows)
    assert not any("62.09" in row for row in rows)


def test_no_run_may_be_comparable():
    said = "None of these runs is comparable with a published number."
    assert said in read(PAPER | {"runs": []}).text["p"]


def test_the_page_has_the_section_only_where_something_is_published():
    assert "Published numbers" not in read(two_heads()).text["h2"]
    # A protocol cannot explain numbers that are not there.
    page = read(PAPER | {"dataset": PAPER["dataset"] | {"name": "epic_kitchens_100"}})
    assert "Published numbers" in page.text["h2"]
    assert not any("Why the paper" in text for text in page.text["summary"])
