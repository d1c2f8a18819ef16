from pathlib import Path

import numpy as np
import pytest

from jax_vtm.data.protocol import ClipProtocol, load_grey_levels, load_views
from jax_vtm.data.source import VideoError, VideoItem
from jax_vtm.errors import UserError

GOLDEN = Path(__file__).parents[1] / "golden" / "scenic" / "tfrecord" / "expected.npz"
SCENIC = {"num_frames": 4, "stride": 2, "short_side": 32, "crop": 27}


@pytest.mark.parametrize(
    ("name", "num_clips", "num_crops"),
    [("views_clips_x3crops", 4, 3), ("single_clip_x3crops", 1, 3), ("clips_central_crop", 4, 1)],
)
def test_the_whole_pipeline_is_scenics(tmp_path, encode, name, num_clips, num_crops):
    """The golden frames, stored without loss, come out as Scenic's views in Scenic's order."""
    protocol = ClipProtocol(**SCENIC, num_clips=num_clips, num_crops=num_crops)
    with np.load(GOLDEN) as golden:
        videos = [golden[f"{video}/decoded"] for video in range(4)]
        expected = golden[f"{name}/image_uint8"].reshape(4, *protocol.views_shape)
    for number, frames in enumerate(videos):
        path = encode(tmp_path / f"{number}.mkv", frames, "ffv1", "bgr0")
        np.testing.assert_array_equal(load_grey_levels(VideoItem("a", path), protocol), expected[number])


def test_views_are_normalised(tmp_path, frames, encode):
    item = VideoItem("a", encode(tmp_path / "a.mp4", frames(9)))
    views = load_views(item, ClipProtocol(**SCENIC))
    assert views.shape == (1, 4, 27, 27, 3)
    assert views.dtype == np.float32
    assert -1 <= views.min() < views.max() <= 1


@pytest.mark.parametrize("count", [1, 3])
def test_videos_shorter_than_a_clip(tmp_path, frames, encode, read_numbers, count):
    item = VideoItem("a", encode(tmp_path / "a.mp4", frames(count, 64, 64)))
    protocol = ClipProtocol(num_frames=4, stride=2, short_side=64, crop=64, num_clips=2)
    expected = [(2 * step) % count for step in range(4)]
    assert [read_numbers(clip) for clip in load_grey_levels(item, protocol)] == [expected, expected]


def test_errors_name_the_id():
    with pytest.raises(VideoError, match=r"video cats/1\.mp4: the file is empty"):
        load_views(VideoItem("cats/1.mp4", b""), ClipProtocol(**SCENIC))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_frames": 0}, "num_frames is 0, expected an integer of at least 1"),
        ({"stride": 1.5}, "stride is 1.5"),
        ({"num_crops": 2}, "num_crops is 2, expected 1 or 3"),
        ({"pad": "mirror"}, "pad is 'mirror', expected 'loop' or 'clamp'"),
        ({"crop": 33}, "crop is 33, larger than short_side 32"),
    ],
)
def test_senseless_values_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        ClipProtocol(**SCENIC | changes)


def test_description():
    assert ClipProtocol(32, 2, 256, 224, num_clips=4, num_crops=3).describe() == (
        "4 evenly spaced clips of 32 frames at stride 2, short side 256 pixels, 3 crops along the longer "
        "side of 224x224 pixels: 12 views per video; shorter videos go on from their start."
    )
    assert ClipProtocol(8, 1, 32, 32, pad="clamp").describe() == (
        "1 clip from the middle of 8 consecutive frames, short side 32 pixels, the central crop of "
        "32x32 pixels: 1 view per video; shorter videos go on with their last frame."
    )
