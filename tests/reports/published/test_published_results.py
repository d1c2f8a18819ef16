import collections

import pytest

from jax_vtm.data import published_protocol
from jax_vtm.models import create_model
from jax_vtm.reports.published import published_results

ROWS = published_results()


def one(**values):
    (row,) = [row for row in ROWS if all(getattr(row, name) == value for name, value in values.items())]
    return row


def test_every_row_says_where_it_is_from_and_what_it_is_of():
    assert len(ROWS) == 141
    for row in ROWS:
        assert ": " in row.source or "(" in row.source
        assert "recalled" not in row.source
        assert 0 < row.accuracy < 100
        assert row.metric in ("top1", "top5", "action/top1", "verb/top1", "noun/top1")
        assert (row.mode == "none") == (row.r == 0) == (row.inflection is None)
        assert (row.threshold is not None) == (row.mode == "hybrid")


def test_no_accuracy_is_there_twice():
    keys = [
        (row.preset, row.model, row.dataset, row.metric, row.protocol, row.mode, row.r, row.threshold, row.source)
        for row in ROWS
    ]
    assert [key for key, count in collections.Counter(keys).items() if count > 1] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.model} {row.dataset} {row.metric} {row.mode}")
def test_views_are_those_of_the_protocol(row):
    if row.preset:
        frames, height, *_ = create_model(row.preset).input_shape
    else:
        frames, height = 16, 224
    protocol = published_protocol(row.protocol, row.family, row.dataset, num_frames=frames, crop=height)
    assert row.views == f"{protocol.num_clips}x{protocol.num_crops}"


def test_numbers_are_the_published_ones():
    merged = one(model="ViViT-B/16x2", protocol="paper", dataset="kinetics400", mode="merge")
    assert (merged.accuracy, merged.decimals, merged.r, merged.proportional_attention) == (63.08, 2, 300, True)
    assert (merged.frames_per_s, merged.speedup) == (260.72, 2.46)
    hybrid = one(family="videomae", protocol="paper", dataset="epic_kitchens_100", mode="hybrid", metric="verb/top1")
    assert (hybrid.accuracy, hybrid.threshold, hybrid.proportional_attention) == (57.9, 0.8, False)
    assert (hybrid.frames_per_s, hybrid.speedup) == (None, None)
    scenic = one(preset="vivit_b_16x2", protocol="standard", dataset="kinetics400")
    assert (scenic.accuracy, scenic.views, scenic.decimals) == (79.9, "4x3", 1)
