import copy
import dataclasses

import pytest

from jax_vtm.data import published_protocol
from jax_vtm.reports.published import set_beside


def results(protocol="paper", family="vivit", preset="vivit_b_16x2", dataset="kinetics400", frames=32, **reduction):
    """As much of results as is asked for, of one unmerged and one merged run."""
    fields = dataclasses.asdict(published_protocol(protocol, family, dataset, num_frames=frames, crop=224))
    merged = {
        "mode": "merge",
        "r": 300,
        "inflection": 0.0,
        "proportional_attention": True,
        "head_aggregation": "mean",
        "threshold": 0.0,
        **reduction,
    }
    metric = {"value": 0.63, "low": 0.62, "high": 0.64}
    return {
        "model": {"name": preset},
        "dataset": {"name": dataset},
        "protocol": {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()},
        "runs": [
            {"name": "unmerged", "reduction": {**merged, "mode": "none", "r": 0}, "metrics": {"label/top1": metric}},
            {"name": "reduced", "reduction": merged, "metrics": {"label/top1": metric}},
        ],
    }


def numbers(given):
    beside, _ = set_beside(given)
    return {entry.run: entry.published.accuracy for entry in beside}


def test_runs_stand_beside_what_is_comparable_and_the_rest_is_apart():
    beside, apart = set_beside(results())
    assert [(entry.run, entry.published.accuracy) for entry in beside] == [("unmerged", 63.43), ("reduced", 63.08)]
    assert beside[1].difference == pytest.approx(0.63 - 0.6308)
    assert {entry.published.accuracy for entry in apart} == {59.95, 58.0, 28.88, 63.09, 79.9}
    reasons = {entry.published.accuracy: entry.reason for entry in apart}
    assert reasons[58.0] == "no run here has this reduction and metric"
    assert reasons[79.9].startswith("another protocol: num clips, num crops")


def test_under_the_authors_protocol_the_papers_numbers_are_apart():
    beside, apart = set_beside(results("standard"))
    assert [entry.published.accuracy for entry in beside] == [79.9]
    assert {entry.published.accuracy for entry in apart} == {63.43, 63.08, 59.95, 58.0, 28.88, 63.09}
    assert all("another protocol" in entry.reason for entry in apart)


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ({"mode": "drop"}, 58.0),
        # Of dropped tokens there are no sizes.
        ({"mode": "drop", "proportional_attention": False}, 58.0),
        ({"mode": "random_merge"}, 28.88),
        ({"mode": "hybrid", "threshold": 0.4}, 63.09),
        ({"mode": "hybrid", "threshold": 0.8}, None),
        ({"r": 301}, None),
        ({"r": [300] * 12}, None),
        ({"inflection": -1.0}, None),
        ({"proportional_attention": False}, None),
        ({"head_aggregation": "concat"}, None),
    ],
)
def test_the_reduction_has_to_be_the_same(reduction, expected):
    assert numbers(results(**reduction)).get("reduced") == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_clips", 2), ("view_average", "softmax"), ("mean", [0.5, 0.5, 0.5]), ("stride", 4), ("crop", 256)],
)
def test_the_protocol_has_to_be_the_same_in_every_value(key, value):
    given = copy.deepcopy(results())
    given["protocol"][key] = value
    assert numbers(given) == {}
    assert len(set_beside(given)[1]) == 7


def test_several_checkpoints_of_one_architecture_are_all_there():
    beside, _ = set_beside(results("standard", "videomae", "videomae_b_16", frames=16))
    assert [entry.published.accuracy for entry in beside] == [80.0, 79.4, 81.5, 80.9]


def test_heads_have_their_own_numbers():
    given = results(
        preset="videomae_b_16",
        family="videomae",
        dataset="epic_kitchens_100",
        frames=16,
        r=150,
        proportional_attention=False,
    )
    metric = {"value": 0.3}
    for run in given["runs"]:
        run["metrics"] = {"action/top1": metric, "verb/top1": metric, "noun/top5": metric}
    beside, _ = set_beside(given)
    assert [(entry.metric, entry.published.accuracy) for entry in beside if entry.run == "reduced"] == [
        ("action/top1", 31.27),
        ("verb/top1", 58.0),
    ]


@pytest.mark.parametrize(
    "change", [{"model": {"name": "vivit_moving_digits"}}, {"dataset": {"name": "moving_digits"}}, {"model": {}}]
)
def test_where_nothing_is_published_there_is_nothing(change):
    assert set_beside(results() | change) == ([], [])
