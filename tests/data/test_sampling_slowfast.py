import json
from pathlib import Path

import numpy as np
import pytest

from jax_vtm.data.sampling import clip_start, epic_clip, segment_middles, video_clip

RECORDS = json.loads((Path(__file__).parents[1] / "golden" / "torch" / "preprocess.json").read_text())


def test_all_records_are_there():
    counts = {name: len(records) for name, records in RECORDS.items() if isinstance(records, list)}
    assert counts["get_start_end_idx"] == 40
    assert counts["kinetics_pyav_sampling"] == 150
    assert counts["ssv2_get_seq_frames_test"] == 18
    assert counts["epickitchens_frames"] == 48


def test_where_clips_start():
    for record in RECORDS["get_start_end_idx"]:
        if record["use_offset"]:  # in no published configuration
            continue
        size, clip_size = record["video_size"], record["clip_size"]
        start = clip_start(size, clip_size, record["clip_idx"], record["num_clips"])
        room = max(size - clip_size, 0)
        assert [start, start + clip_size - 1, start / room if room else 0.0] == record["out"], record


def test_kinetics():
    for record in RECORDS["kinetics_pyav_sampling"]:
        if not record["has_duration"]:  # every mp4 file states one
            continue
        found = video_clip(
            record["frames_in_video"],
            record["fps"],
            record["num_frames"],
            record["sampling_rate"],
            record["clip_idx"],
            record["num_clips"],
            rate_fps=record["target_fps"],
            ends_at_last_frame=True,
        )
        assert found.tolist() == record["indices"], record


def test_epic_kitchens():
    """Recorded are numbers of files; the action's first picture is the one after `start_frame`."""
    for record in RECORDS["epickitchens_frames"]:
        found = epic_clip(
            record["num_frames_action"],
            record["fps"],
            record["num_frames"],
            record["sampling_rate"],
            record["temporal_sample_index"],
            record["num_views"],
            rate_fps=record["target_fps"],
        )
        assert (record["start_frame"] + 1 + found).tolist() == record["frame_ids"], record


def test_something_something():
    for record in RECORDS["ssv2_get_seq_frames_test"]:
        assert segment_middles(record["video_length"], record["num_frames"]).tolist() == record["indices"], record


def test_a_window_as_long_as_the_clip_holds_all_of_its_frames():
    # TimeSformer's clip of 8 x 32 frames: the shorter window of the paper's code ends at frame 224.
    assert video_clip(300, 30.0, 8, 32).tolist() == [0, 36, 72, 109, 145, 182, 218, 255]
    assert video_clip(300, 30.0, 8, 32, ends_at_last_frame=True).tolist()[-1] == 224
    # The second of ten clips starts at 23.6, and the first frame decoded is number 24.
    assert video_clip(300, 30.0, 16, 4, 1, 10)[:3].tolist() == [24, 28, 32]


@pytest.mark.parametrize("ends_at_last_frame", [False, True])
@pytest.mark.parametrize("fps", [1.0, 12.0, 23.976, 60.0])
@pytest.mark.parametrize("num_frames", [1, 2, 17, 299])
def test_numbers_are_inside_the_video_and_never_fall(num_frames, fps, ends_at_last_frame):
    for clip in range(10):
        for found in (
            video_clip(num_frames, fps, 16, 4, clip, 10, ends_at_last_frame=ends_at_last_frame),
            epic_clip(num_frames, fps, 16, 4, clip, 10),
            segment_middles(num_frames, 16),
        ):
            assert found.shape == (16,)
            assert found.min() >= 0
            assert found.max() < num_frames
            assert np.all(np.diff(found) >= 0)


def test_a_clip_of_one_frame():
    assert video_clip(300, 30.0, 1, 4).tolist() == [0]
    assert epic_clip(300, 60.0, 1, 4).tolist() == [0]
