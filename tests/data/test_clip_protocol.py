import dataclasses
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from jax_vtm.data.protocol import SPREAD, ClipProtocol, Sampling
from jax_vtm.data.protocol import TIMED as TIMED_SAMPLINGS
from jax_vtm.data.sampling import epic_clip, segment_middles, video_clip
from jax_vtm.data.source import Pictures, VideoError, VideoInfo, VideoItem
from jax_vtm.data.views import load_frames, load_views
from jax_vtm.errors import UserError

SCENIC = {"num_frames": 4, "stride": 2, "short_side": 32, "crop": 27}
SLOWFAST = {"num_frames": 4, "stride": 2, "short_side": 32, "crop": 32, "resize": "slowfast", "pad": "clamp"}
TIMED = {**SLOWFAST, "sampling": "slowfast", "rate_fps": 30.0}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.mark.parametrize(
    ("name", "num_clips", "num_crops"),
    [("views_clips_x3crops", 4, 3), ("single_clip_x3crops", 1, 3), ("clips_central_crop", 4, 1)],
)
def test_the_whole_pipeline_is_scenics(tmp_path, golden, encode, name, num_clips, num_crops):
    """The golden frames, stored without loss, come out as Scenic's views in Scenic's order."""
    protocol = ClipProtocol(**SCENIC, num_clips=num_clips, num_crops=num_crops)
    with np.load(golden / "scenic" / "tfrecord" / "expected.npz") as recorded:
        videos = [recorded[f"{video}/decoded"] for video in range(4)]
        expected = recorded[f"{name}/image_uint8"].reshape(4, *protocol.views_shape)
    for number, frames in enumerate(videos):
        path = encode(tmp_path / f"{number}.mkv", frames, "ffv1", "bgr0")
        found = load_frames(VideoItem("a", path), protocol)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected[number])


@pytest.mark.parametrize("count", [1, 3])
def test_videos_shorter_than_a_clip(tmp_path, frames, encode, read_numbers, count):
    item = VideoItem("a", encode(tmp_path / "a.mp4", frames(count, 64, 64)))
    protocol = ClipProtocol(num_frames=4, stride=2, short_side=64, crop=64, num_clips=2)
    expected = [(2 * step) % count for step in range(4)]
    assert [read_numbers(clip) for clip in load_frames(item, protocol)] == [expected, expected]


def test_each_sampling_chooses_its_frames():
    info = VideoInfo(100, 50.0)

    def chosen(sampling, **changes):
        fields = {**SLOWFAST, "sampling": sampling, **changes}
        return ClipProtocol(**fields).frame_numbers(info).tolist()

    timed = {"num_clips": 2, "rate_fps": 30.0}
    assert chosen("slowfast", **timed) == [video_clip(100, 50.0, 4, 2, clip, 2).tolist() for clip in range(2)]
    assert chosen("slowfast_paper", stride=20, rate_fps=30.0) == [
        video_clip(100, 50.0, 4, 20, ends_at_last_frame=True).tolist()
    ]
    assert chosen("slowfast_epic", **timed) == [epic_clip(100, 50.0, 4, 2, clip, 2).tolist() for clip in range(2)]
    assert chosen("slowfast", stride=2, rate_fps=60.0) == [video_clip(100, 50.0, 4, 2, rate_fps=60.0).tolist()]
    assert chosen("slowfast_segments", stride=None) == [segment_middles(100, 4).tolist()]
    assert chosen("videomae", num_clips=2) == [[0, 2, 4, 6], [92, 94, 96, 98]]
    assert chosen("videomae_segments", stride=None, num_clips=2) == [[0, 25, 50, 75], [12, 37, 62, 87]]
    assert chosen("scenic") == [[46, 48, 50, 52]]


def test_the_frame_rate_comes_from_the_video(tmp_path, frames, encode, read_numbers):
    """The file has 25 frames per second: at rate 3 of 30, neighbours are 2.5 frames apart."""
    item = VideoItem("a", encode(tmp_path / "a.mp4", frames(40, 64, 64)))
    protocol = ClipProtocol(**{**TIMED, "stride": 3, "short_side": 64, "crop": 64})
    expected = video_clip(40, 25.0, 4, 3).tolist()
    assert expected == [0, 3, 6, 9]
    (clip,) = load_frames(item, protocol)
    assert read_numbers(clip) == expected


def jpegs(tmp_path, count, height=40, width=60):
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(rng.integers(256, size=(height, width, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def test_pictures_need_a_frame_rate_where_time_counts(tmp_path):
    paths = jpegs(tmp_path, 9)
    protocol = ClipProtocol(**TIMED)
    with pytest.raises(VideoError, match=r"video walk: its frames per second are not known"):
        load_frames(VideoItem("walk", Pictures(paths)), protocol)
    views = load_frames(VideoItem("walk", Pictures(paths, fps=30.0)), protocol)
    assert views.shape == (1, 4, 32, 32, 3)
    assert views.dtype == np.float32
    assert load_frames(VideoItem("walk", Pictures(paths)), ClipProtocol(**SCENIC)).dtype == np.uint8


def test_views_are_crop_by_crop_and_blue_can_be_first(tmp_path):
    item = VideoItem("a", Pictures(jpegs(tmp_path, 9), fps=30.0))
    protocol = ClipProtocol(**TIMED, num_clips=2, num_crops=3, **IMAGENET)
    views = load_frames(item, protocol)
    assert views.shape == protocol.views_shape == (6, 4, 32, 32, 3)
    for clip in range(2):
        frames = protocol.frame_numbers(VideoInfo(9, 30.0))[clip]
        again = dataclasses.replace(protocol, num_clips=1, num_crops=1, single_crop="first")
        first_frame = Pictures([item.video.frames[frames[0]]], fps=30.0)
        np.testing.assert_array_equal(views[clip, 0], load_frames(VideoItem("b", first_frame), again)[0, 0])
    reversed_colours = dataclasses.replace(protocol, channels="bgr")
    np.testing.assert_array_equal(load_frames(item, reversed_colours), views[..., ::-1])
    expected = (views / 255 - protocol.mean) / protocol.std
    np.testing.assert_allclose(load_views(item, protocol), expected, atol=1e-6)
    for each in (protocol, reversed_colours):
        assert np.abs(each.pictures(load_views(item, each)) - views).max() < 0.501


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_frames": 0}, "num_frames is 0, expected an integer of at least 1"),
        ({"stride": 1.5}, "stride is 1.5, expected an integer"),
        ({"stride": None}, "stride is None, expected an integer"),
        ({"num_crops": 2}, "num_crops is 2, expected 1 or 3"),
        ({"pad": "mirror"}, "pad is 'mirror', expected 'loop' or 'clamp'"),
        ({"crop": 33}, "crop is 33, larger than short_side 32"),
        ({"sampling": "random"}, "sampling is 'random', expected 'scenic', .* or 'slowfast_segments'"),
        ({"resize": "area"}, "resize is 'area', expected 'scenic', 'slowfast' or 'videomae'"),
        ({"view_average": "median"}, "view_average is 'median', expected"),
        ({"channels": "yuv"}, "channels is 'yuv', expected 'rgb' or 'bgr'"),
        ({"single_crop": "last"}, "single_crop is 'last', expected 'centre' or 'first'"),
        ({"mean": (0.5, 0.5)}, "mean is .*, expected three numbers"),
        ({"std": (0.5, 0.5, 0)}, "std is .*, expected numbers above 0"),
        ({"rate_fps": 30.0}, "rate_fps is 30.0, but with sampling 'scenic' frames are counted"),
        ({"sampling": "slowfast", "pad": "clamp"}, "rate_fps is None, but .* measured in time"),
        ({"sampling": "videomae"}, "pad is 'loop', but with sampling 'videomae' it can only be 'clamp'"),
        ({"sampling": "videomae_segments", "pad": "clamp"}, "stride is 2, but .* spread over the whole video"),
        (
            {"sampling": "slowfast_segments", "pad": "clamp", "stride": None, "num_clips": 2},
            "num_clips is 2, but .* only one clip",
        ),
    ],
)
def test_senseless_values_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        ClipProtocol(**SCENIC | changes)


def test_description():
    assert ClipProtocol(32, 2, 256, 224, num_clips=4, num_crops=3, fast_jpeg=True).describe() == (
        "4 evenly spaced clips of 32 frames at stride 2; shorter videos go on from their start. Frames scaled to a "
        "short side of 256 pixels, pixel values truncated as in TensorFlow, 3 crops along the longer side of 224x224 "
        "pixels; RGB in 0..1, normalised with mean 0.5 and standard deviation 0.5. JPEG pictures are decoded with the "
        "fast integer transform. 12 views per video, of which the prediction is the mean of their logits."
    )
    assert ClipProtocol(8, 1, 32, 32, pad="clamp").describe() == (
        "1 clip from the middle of 8 consecutive frames; shorter videos go on with their last frame. Frames scaled to "
        "a short side of 32 pixels, pixel values truncated as in TensorFlow, the central crop of 32x32 pixels; RGB in "
        "0..1, normalised with mean 0.5 and standard deviation 0.5. 1 view per video."
    )
    timed = ClipProtocol(**{**TIMED, "stride": 4}, **IMAGENET, num_clips=10, channels="bgr", view_average="softmax")
    assert timed.describe() == (
        "10 clips that start at k/10 of what a clip leaves free: 4 frames over 0.53 s, 4/30 s apart; shorter videos "
        "repeat their last frame. Frames scaled to a short side of 32 pixels, pixel values not rounded, the central "
        "crop of 32x32 pixels; BGR in 0..1, normalised with mean 0.485, 0.456, 0.406 and standard deviation 0.229, "
        "0.224, 0.225. 10 views per video, of which the prediction is the mean of their probabilities."
    )


def test_every_choice_shows_in_the_description():
    others = {
        **{"num_frames": 5, "stride": 3, "short_side": 40, "crop": 20, "num_clips": 7, "num_crops": 3, "pad": "clamp"},
        **{"view_average": "max", "sampling": "videomae", "rate_fps": 25.0, "resize": "slowfast"},
        **{"single_crop": "first", "mean": (0.4, 0.5, 0.5), "std": (0.4, 0.5, 0.5), "channels": "bgr"},
        "fast_jpeg": True,
    }
    assert list(others) == [field.name for field in dataclasses.fields(ClipProtocol)]
    for field, value in others.items():
        first = ClipProtocol(**SCENIC, num_clips=1 if field == "single_crop" else 2)
        if field == "sampling":
            first = dataclasses.replace(first, pad="clamp")
        elif field == "rate_fps":
            first = ClipProtocol(**TIMED)
        assert dataclasses.replace(first, **{field: value}).describe() != first.describe(), field


def test_every_sampling_has_words_of_its_own():
    words = {}
    for sampling in get_args(Sampling):
        timing = {"rate_fps": 30.0} if sampling in TIMED_SAMPLINGS else {}
        stride = {"stride": None} if sampling in SPREAD else {}
        words[sampling] = ClipProtocol(**{**SLOWFAST, "sampling": sampling, **timing, **stride}).describe()
    assert len(set(words.values())) == 7
    end = "shorter videos repeat their last frame, and the last frames of a clip come at most 3 steps after its first."
    assert end in words["slowfast_paper"]
    assert "repeat their last frame, which is the last but one of an action." in words["slowfast_epic"]
