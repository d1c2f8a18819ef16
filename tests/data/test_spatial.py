from pathlib import Path

import numpy as np
import pytest

from jax_vtm.data import ClipProtocol, VideoError
from jax_vtm.data.spatial import GEOMETRIES, crop_corners, normalise, short_side_shape, slowfast_short_side_shape
from jax_vtm.data.views import Framing

GOLDEN = Path(__file__).parents[1] / "golden"


def test_short_side_rule():
    assert short_side_shape(240, 427, 256) == (256, 455)
    assert short_side_shape(427, 240, 256) == (455, 256)
    assert short_side_shape(256, 340, 256) == (256, 340)
    assert short_side_shape(7, 7, 3) == (3, 3)


def test_slowfasts_short_side_rule_divides_before_it_multiplies():
    assert slowfast_short_side_shape(240, 427, 256) == (256, 455)
    assert slowfast_short_side_shape(427, 240, 256) == (455, 256)
    assert slowfast_short_side_shape(256, 340, 256) == (256, 340)
    # 115 * 224 / 112 is 230, but 115 / 112 is a little more or less than itself.
    assert short_side_shape(115, 112, 224) == (230, 224)
    assert slowfast_short_side_shape(115, 112, 224) == (229, 224)


def crops_of(frames, name="a", **fields):
    """Frames scaled and cropped: [crops, T, H, W, 3]."""
    protocol = ClipProtocol(num_frames=len(frames), stride=1, **fields)
    framing = Framing(name, protocol)
    scaled = [framing(frame) for frame in frames]
    out = np.empty((protocol.num_crops, len(frames), protocol.crop, protocol.crop, 3), protocol.frame_dtype)
    return framing.crops(scaled, out)


def corners(resize, shape, size, num_crops, single_crop="centre"):
    return crop_corners(shape, size, num_crops, GEOMETRIES[resize], single_crop)


def test_odd_margins():
    """Scenic's single centre crop leaves the extra pixel on the other side than the middle one of its three crops."""
    assert corners("scenic", (6, 10), 5, 1) == [(0, 2)]
    assert corners("scenic", (6, 10), 5, 3) == [(1, 0), (1, 3), (1, 5)]
    assert corners("scenic", (10, 6), 5, 3) == [(0, 1), (3, 1), (5, 1)]
    assert corners("slowfast", (6, 10), 5, 1) == [(1, 3)]
    assert corners("slowfast", (10, 6), 5, 3) == [(0, 1), (3, 1), (5, 1)]
    assert corners("videomae", (5, 10), 5, 1) == [(0, 2)]
    assert corners("videomae", (5, 10), 5, 3) == [(0, 0), (0, 2), (0, 5)]
    assert corners("videomae", (10, 5), 5, 3) == [(0, 0), (2, 0), (5, 0)]


def test_the_first_crop_alone():
    assert corners("slowfast", (5, 10), 5, 1, "first") == [(0, 0)]
    assert corners("slowfast", (7, 10), 5, 1, "first") == [(1, 0)]
    assert corners("slowfast", (10, 7), 5, 1, "first") == [(0, 1)]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("scale", "size"), [(24, 20), (40, 32), (22, 22)])
def test_scaling_and_cropping_before_normalising_is_slowfasts_after(scale, size, turned):
    """PySlowFast normalises first; interpolation is linear, so the order does not matter but for rounding."""
    with np.load(GOLDEN / "torch" / "preprocess.npz") as golden:
        frames = golden["frames_thwc_uint8"]
        names = [f"spatial_s{scale}_c{size}_i{index}{'_t' if turned else ''}" for index in range(3)]
        expected = np.stack([golden[name] for name in names])  # [crops C T H W]
    if turned:
        frames = np.ascontiguousarray(frames.swapaxes(1, 2))
    crops = crops_of(frames, short_side=scale, crop=size, num_crops=3, resize="slowfast")
    pixels = normalise(crops, (0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
    # Pixels are within 2.5 of 0; the bound is four roundings of such a number.
    np.testing.assert_allclose(pixels.transpose(0, 4, 1, 2, 3), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("single_crop", "index"), [("centre", 1), ("first", 0)])
def test_single_crops_are_slowfasts(single_crop, index):
    with np.load(GOLDEN / "torch" / "preprocess.npz") as golden:
        frame, expected = golden["frames_thwc_uint8"][0], golden[f"spatial_s24_c20_i{index}"][:, 0]
    ((crop,),) = crops_of(frame[None], short_side=24, crop=20, single_crop=single_crop, resize="slowfast")
    pixels = normalise(crop, (0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
    np.testing.assert_allclose(pixels.transpose(2, 0, 1), expected, rtol=0, atol=1e-6)


def test_scenics_centre_crop_is_scenics_bit_for_bit():
    with np.load(GOLDEN / "scenic" / "tfrecord" / "expected.npz") as golden:
        expected = golden["single_view/image"]
        clips = [golden[f"{video}/resized_middle_clip"] for video in range(4)]
    for clip, views in zip(clips, expected, strict=True):
        (crops,) = crops_of(clip, short_side=32, crop=27)
        pixels = normalise(crops)
        assert pixels.dtype == np.float32
        np.testing.assert_array_equal(pixels, views)


@pytest.mark.parametrize("resize", GEOMETRIES)
def test_crops_of_a_frame_that_has_its_size(resize):
    frame = np.random.default_rng(0).integers(256, size=(8, 14, 3), dtype=np.uint8)
    crops = crops_of(frame[None], short_side=8, crop=8, num_crops=3, resize=resize)
    np.testing.assert_array_equal(crops[:, 0], np.stack([frame[:, :8], frame[:, 3:11], frame[:, 6:]]))
    square = np.stack([frame[:, :8], frame[:, 6:]])
    crops = crops_of(square, short_side=8, crop=8, num_crops=3, resize=resize)
    np.testing.assert_array_equal(crops, np.stack([square] * 3))


def test_frames_of_different_size_are_refused():
    frames = [np.zeros(shape, np.uint8) for shape in ((8, 14, 3), (14, 8, 3))]
    with pytest.raises(VideoError, match=r"cats/1\.mp4: the size of its frames changes"):
        crops_of(frames, "cats/1.mp4", short_side=4, crop=4)
