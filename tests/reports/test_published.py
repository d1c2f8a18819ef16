"""Published accuracies as data, and which of them a run is compared with on its page."""

import dataclasses

import pytest
from page_reader import PageReader
from report_examples import two_heads

from jax_vtm.commands.evaluation_page import evaluation_page
from jax_vtm.data import published_protocol
from jax_vtm.models import create_model
from jax_vtm.reports.published import published_results, published_section

ROWS = published_results()


def results(protocol="paper", family="vivit", preset="vivit_b_16x2", dataset="kinetics400", frames=32, **reduction):
    """Results of one unmerged and one merged run under a published protocol."""
    found = two_heads()
    fields = dataclasses.asdict(published_protocol(protocol, family, dataset, num_frames=frames, crop=224))
    found["protocol"] |= {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    found["model"]["name"], found["dataset"]["name"] = preset, dataset
    for run in found["runs"]:
        run["metrics"] = {"label/top1": {"value": 0.631, "low": 0.6, "high": 0.66}}
        run["classes"], run["class_means"] = {}, {}
    found["comparison"] = []
    found["runs"][1]["reduction"] = {
        "mode": "merge",
        "r": 300,
        "inflection": 0.0,
        "proportional_attention": True,
        "head_aggregation": "mean",
        "threshold": 0.0,
        **reduction,
    }
    return found


AUTHORS = {"protocol": "standard", "family": "videomae", "preset": "videomae_b_16", "frames": 16}
EPIC = {"family": "videomae", "preset": "videomae_b_16", "dataset": "epic_kitchens_100", "frames": 16}


def compared(given) -> list[tuple[str, str]]:
    """(run, published accuracy) of what stands next to each other."""
    section = published_section(given)
    assert section
    return [(row["run"], row["accuracy"]) for row in section.table.rows] if section.table else []


def others(given) -> dict[str, str]:
    """{published accuracy: why it is not compared}."""
    section = published_section(given)
    assert section
    assert section.folded[0].table
    return {row["accuracy"]: row["reason"] for row in section.folded[0].table.rows}


def test_every_row_says_where_it_is_from_and_what_it_is_of():
    assert len(ROWS) == 143
    keys = ("preset", "model", "dataset", "metric", "protocol", "mode", "r", "threshold", "source")
    assert len({tuple(row[key] for key in keys) for row in ROWS}) == len(ROWS), "no accuracy is there twice"
    for row in ROWS:
        assert ": " in row["source"] or "(" in row["source"]
        assert "recalled" not in row["source"]
        assert 0 < float(row["accuracy"]) < 100
        assert row["metric"] in ("top1", "top5", "action/top1", "verb/top1", "noun/top1")
        assert (row["mode"] == "none") == (row["r"] == 0) == (row["inflection"] is None)
        assert (row["threshold"] is not None) == (row["mode"] == "hybrid")


def test_views_are_those_of_the_protocol():
    sizes = {row["preset"]: create_model(row["preset"]).input_shape[:2] for row in ROWS if row["preset"]}
    for row in ROWS:
        frames, height = sizes.get(row["preset"], (16, 224))
        protocol = published_protocol(row["protocol"], row["family"], row["dataset"], num_frames=frames, crop=height)
        assert row["views"] == f"{protocol.num_clips}x{protocol.num_crops}", row


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (
            {"model": "ViViT-B/16x2", "protocol": "paper", "dataset": "kinetics400", "mode": "merge"},
            {"accuracy": "63.08", "r": 300, "proportional_attention": True, "frames_per_s": 260.72, "speedup": 2.46},
        ),
        (
            {"family": "videomae", "protocol": "paper", "dataset": "epic_kitchens_100", "mode": "hybrid"}
            | {"metric": "verb/top1"},
            {"accuracy": "57.90", "threshold": 0.8, "proportional_attention": False, "speedup": None},
        ),
        (
            {"preset": "vivit_b_16x2", "protocol": "standard", "dataset": "kinetics400"},
            {"accuracy": "79.9", "views": "4x3"},
        ),
    ],
)
def test_numbers_are_the_published_ones(wanted, found):
    (row,) = [row for row in ROWS if wanted.items() <= row.items()]
    assert found.items() <= row.items()


def test_runs_are_compared_with_what_is_comparable_and_the_rest_says_why_not():
    page = PageReader(evaluation_page(results()).html)
    rows = page.tables["Our numbers and published ones"][1:]
    assert [row[0] for row in rows] == ["unmerged", "merge r=110"]
    assert rows[1][1:6] == ["top-1", "63.1 [60.0, 66.0]", "63.08", "0.0", "within our interval"]
    rows = {row[3]: row for row in page.tables["Published numbers that are not comparable"][1:]}
    assert set(rows) == {"59.95", "58.00", "28.88", "63.09", "79.9"}
    assert rows["63.09"][1] == "hybrid r=300, threshold 0.4"
    assert rows["58.00"][5] == "no run here has this reduction and metric"
    assert rows["79.9"][4] == "4\N{MULTIPLICATION SIGN}3"
    assert rows["79.9"][5].startswith("another protocol: num clips, num crops")
    assert "5 published under another protocol or reduction, not comparable" in page.text["summary"]
    assert any("google-research/scenic" in text for text in page.text["p"])


def test_under_the_authors_protocol_the_papers_numbers_are_not_compared():
    given = results("standard")
    assert compared(given) == [("unmerged", "79.9")]
    assert set(others(given)) == {"63.43", "63.08", "59.95", "58.00", "28.88", "63.09"}
    assert all("another protocol" in reason for reason in others(given).values())
    # Of several checkpoints of one architecture all are there.
    rows = PageReader(evaluation_page(results(**AUTHORS)).html).tables["Our numbers and published ones"][1:]
    assert [(row[0], row[3], row[5]) for row in rows] == [
        ("unmerged", accuracy, "outside our interval") for accuracy in ("80.0", "79.4", "81.5", "80.9")
    ]


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ({"mode": "drop"}, "58.00"),
        # Of dropped tokens there are no sizes.
        ({"mode": "drop", "proportional_attention": False}, "58.00"),
        ({"mode": "random_merge"}, "28.88"),
        ({"mode": "hybrid", "threshold": 0.4}, "63.09"),
        ({"mode": "hybrid", "threshold": 0.8}, None),
        ({"r": 301}, None),
        ({"r": [300] * 12}, None),
        ({"inflection": -1.0}, None),
        ({"proportional_attention": False}, None),
        ({"head_aggregation": "concat"}, None),
    ],
)
def test_the_reduction_has_to_be_the_same(reduction, expected):
    assert dict(compared(results(**reduction))).get("merge r=110") == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_clips", 2), ("view_average", "softmax"), ("mean", [0.5, 0.5, 0.5]), ("stride", 4), ("crop", 256)],
)
def test_the_protocol_has_to_be_the_same_in_every_value(key, value):
    given = results()
    given["protocol"][key] = value
    assert compared(given) == []
    assert len(others(given)) == 7
    said = "No run here is comparable with a published number."
    assert any(text.endswith(said) for text in PageReader(evaluation_page(given).html).text["p"])


def test_heads_have_their_own_numbers():
    given = results(**EPIC, r=150, proportional_attention=False)
    for run in given["runs"]:
        run["metrics"] = {key: {"value": 0.3} for key in ("action/top1", "verb/top1", "noun/top5")}
    assert [accuracy for run, accuracy in compared(given) if run == "merge r=110"] == ["31.27", "58.00"]


@pytest.mark.parametrize(
    ("given", "paper", "authors", "only"),
    [
        (results(), "63.43", "79.9", "PySlowFast's 0.45 and 0.225"),
        (results(**AUTHORS), "62.09", "81.5", "every fourth frame"),
    ],
)
def test_why_the_papers_numbers_are_lower_is_explained_on_request(given, paper, authors, only):
    page = PageReader(evaluation_page(given).html)
    summary = f"Why the paper has {paper}\u00a0% without merging where the model's authors have {authors}\u00a0%"
    assert summary in page.text["summary"]
    said = " ".join(page.text["p"])
    assert only in said
    assert sum(words in said for words in ("PySlowFast", "every fourth frame")) == 1


def test_the_page_has_the_section_only_where_something_is_published():
    for part, name in (("model", "vivit_moving_digits"), ("dataset", "moving_digits")):
        given = results()
        given[part]["name"] = name
        assert published_section(given) is None
    assert "Published numbers" not in PageReader(evaluation_page(two_heads()).html).text["h2"]
    # A protocol cannot explain numbers that are not there.
    page = PageReader(evaluation_page(results(**EPIC)).html)
    assert "Published numbers" in page.text["h2"]
    assert not any("Why the paper" in text for text in page.text["summary"])
