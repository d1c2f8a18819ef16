import json

import pytest

from jax_vtm.data.sources.epic_kitchens import seconds


def test_the_reference_reading_is_the_reference(golden):
    cases = json.loads((golden / "torch" / "preprocess.json").read_text())["epickitchens_timestamp_to_sec"]
    assert len(cases) == 4
    for case in cases:
        assert seconds(case["t"], "reference") == case["sec"]
    two_digits = [case for case in cases if len(case["t"].rpartition(".")[2]) == 2]
    assert len(two_digits) == 3
    for case in two_digits:
        assert seconds(case["t"], "exact") == case["sec"]


@pytest.mark.parametrize(
    ("timestamp", "exact", "reference"),
    [
        ("00:00:01.9", 1.9, 1.09),
        ("00:00:01.5", 1.5, 1.05),
        ("00:00:01.05", 1.05, 1.05),
        ("00:00:01.250", 1.25, 3.5),
        ("00:10:00", 600, 600),
        ("12:00:59.99", 43259.99, 43259.99),
    ],
)
def test_fractions(timestamp, exact, reference):
    assert seconds(timestamp) == exact
    assert seconds(timestamp, "reference") == reference


@pytest.mark.parametrize(
    "timestamp", ["", "1.5", "00:01", "00:60:00.0", "00:00:60", "00:00:01.", "-00:00:01.00", "nan"]
)
def test_no_timestamp(timestamp):
    with pytest.raises(ValueError, match="is not a time such as"):
        seconds(timestamp)
