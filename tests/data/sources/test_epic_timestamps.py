import json

import pytest

from jax_vtm.data import open_videos

HEADER = "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class"


@pytest.fixture
def seconds(tmp_path, write):
    """Reads a time stamp: the start of a segment."""
    write(tmp_path / "P01_01.MP4")

    def read(timestamp, reading="exact"):
        path = write(tmp_path / "one.csv", f"{HEADER}\na,P01,P01_01,{timestamp},9999:00:00,0,0\n")
        return open_videos("epic_kitchens_100", tmp_path, annotations=path, timestamps=reading)[0].span[0]

    return read


def test_the_reference_reading_is_the_reference(golden, seconds):
    cases = json.loads((golden / "torch" / "preprocess.json").read_text())["epickitchens_timestamp_to_sec"]
    assert len(cases) == 4
    for case in cases:
        assert seconds(case["t"], "reference") == case["sec"]
        if len(case["t"].rpartition(".")[2]) == 2:
            assert seconds(case["t"]) == case["sec"]


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
def test_fractions(seconds, timestamp, exact, reference):
    assert seconds(timestamp) == exact
    assert seconds(timestamp, "reference") == reference


@pytest.mark.parametrize(
    "timestamp", ["", "1.5", "00:01", "00:60:00.0", "00:00:60", "00:00:01.", "-00:00:01.00", "nan"]
)
def test_no_timestamp(seconds, complaint, timestamp):
    assert f"column 'start_timestamp': {timestamp!r} is not a time such as 00:01:02.34" in complaint(seconds, timestamp)
