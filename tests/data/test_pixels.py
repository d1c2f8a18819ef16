"""Scaling, cropping and normalising: bit for bit what TensorFlow, PyTorch and OpenCV recorded."""

import numpy as np
import pytest

from jax_vtm.data import ClipProtocol, VideoError
from jax_vtm.data.resizing import float_resizer, opencv_resizer, truncating_resizer
from jax_vtm.data.spatial import (
    GEOMETRIES,
    crop_corners,
    normalise,
    short_side_shape,
    slowfast_short_side_shape,
    to_frames,
)
from jax_vtm.data.views import Framing

RESIZERS = [truncating_resizer, float_resizer, opencv_resizer]
COLOURS = {
    "default": ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@pytest.fixture(scope="module")
def scenic(golden):
    with np.load(golden / "scenic" / "tfrecord" / "expected.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def slowfast(golden):
    with np.load(golden / "torch" / "preprocess.npz") as file:
        return dict(file)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("video", range(4))
def test_truncating_is_tensorflows_in_every_value(scenic, video):
    clip = scenic[f"{video}/decoded"][scenic[f"{video}/middle_indices"]]
    expected = scenic[f"{video}/resized_middle_clip"]
    resize = truncating_resizer(clip.shape[1:3], expected.shape[1:3])
    np.testing.assert_array_equal(np.stack([resize(frame) for frame in clip]), expected)


def test_opencv_is_opencvs_in_every_value(golden):
    """Recorded with cv2.resize(..., interpolation=cv2.INTER_LINEAR), opencv-python-headless 5.0.0."""
    with np.load(golden / "opencv" / "resize.npz") as recorded:
        assert len(recorded) == 8
        for name in recorded:
            old, new = (tuple(int(number) for number in size.split("x")) for size in name.split("_to_"))
            np.testing.assert_array_equal(opencv_resizer(old, new)(noise(*old)), recorded[name], err_msg=name)


@pytest.mark.parametrize("resizer", RESIZERS)
def test_every_resizer(resizer):
    row = np.array([[[0], [100]]], np.uint8).repeat(3, -1)
    np.testing.assert_array_equal(resizer((1, 2), (1, 4))(row)[0, :, 0], [0, 25, 75, 100])
    assert np.all(resizer((5, 9), (7, 4))(np.full((5, 9, 3), 255, np.uint8)) == 255)
    assert resizer((5, 9), (7, 4))(noise(5, 9)).dtype == (np.float32 if resizer is float_resizer else np.uint8)
    window = (slice(2, 10), slice(5, 14))
    for size in ((37, 50), (12, 17), (23, 31)):
        whole = resizer((23, 31), size)
        first = whole(noise(23, 31))
        kept = first.copy()
        np.testing.assert_array_equal(resizer((23, 31), size, window)(noise(23, 31)), first[window])
        whole(noise(23, 31, seed=1))
        np.testing.assert_array_equal(first, kept, err_msg="overwritten by the next frame")


def test_short_side_rules():
    for rule in (short_side_shape, slowfast_short_side_shape):
        assert rule(240, 427, 256) == (256, 455)
        assert rule(427, 240, 256) == (455, 256)
        assert rule(256, 340, 256) == (256, 340)
    # 115 * 224 / 112 is 230, but 115 / 112 is a little more or less than itself.
    assert short_side_shape(115, 112, 224) == (230, 224)
    assert slowfast_short_side_shape(115, 112, 224) == (229, 224)


@pytest.mark.parametrize(
    ("resize", "shape", "num_crops", "single_crop", "expected"),
    [
        # Scenic's single centre crop leaves the extra pixel on the other side than the middle one of its three crops.
        ("scenic", (6, 10), 1, "centre", [(0, 2)]),
        ("scenic", (6, 10), 3, "centre", [(1, 0), (1, 3), (1, 5)]),
        ("scenic", (10, 6), 3, "centre", [(0, 1), (3, 1), (5, 1)]),
        ("slowfast", (6, 10), 1, "centre", [(1, 3)]),
        ("slowfast", (10, 6), 3, "centre", [(0, 1), (3, 1), (5, 1)]),
        ("videomae", (5, 10), 1, "centre", [(0, 2)]),
        ("videomae", (5, 10), 3, "centre", [(0, 0), (0, 2), (0, 5)]),
        ("videomae", (10, 5), 3, "centre", [(0, 0), (2, 0), (5, 0)]),
        ("slowfast", (5, 10), 1, "first", [(0, 0)]),
        ("slowfast", (7, 10), 1, "first", [(1, 0)]),
        ("slowfast", (10, 7), 1, "first", [(0, 1)]),
    ],
)
def test_where_crops_lie(resize, shape, num_crops, single_crop, expected):
    assert crop_corners(shape, 5, num_crops, GEOMETRIES[resize], single_crop) == expected


def crops_of(frames, name="a", **fields):
    """Frames scaled and cropped: [crops, T, H, W, 3]."""
    protocol = ClipProtocol(num_frames=len(frames), stride=1, **fields)
    framing = Framing(name, protocol)
    scaled = [framing(frame) for frame in frames]
    out = np.empty((protocol.num_crops, len(frames), protocol.crop, protocol.crop, 3), protocol.frame_dtype)
    return framing.crops(scaled, out)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("scale", "size"), [(24, 20), (40, 32), (22, 22)])
def test_scaling_and_cropping_before_normalising_is_slowfasts_after(slowfast, scale, size, turned):
    """PySlowFast normalises first; interpolation is linear, so the order does not matter but for rounding."""
    frames = slowfast["frames_thwc_uint8"]
    names = [f"spatial_s{scale}_c{size}_i{index}{'_t' if turned else ''}" for index in range(3)]
    expected = np.stack([slowfast[name] for name in names]).transpose(0, 2, 3, 4, 1)  # from [crops C T H W]
    frames = np.ascontiguousarray(frames.swapaxes(1, 2)) if turned else frames
    fields = {"short_side": scale, "crop": size, "resize": "slowfast"}
    # Pixels are within 2.5 of 0; the bound is four roundings of such a number.
    pixels = normalise(crops_of(frames, num_crops=3, **fields), *COLOURS["default"])
    np.testing.assert_allclose(pixels, expected, rtol=0, atol=1e-6)
    for single_crop, index in (("centre", 1), ("first", 0)):
        (crop,) = normalise(crops_of(frames, single_crop=single_crop, **fields), *COLOURS["default"])
        np.testing.assert_allclose(crop, expected[index], rtol=0, atol=1e-6)


def test_scenics_centre_crop_is_scenics_bit_for_bit(scenic):
    for video, views in enumerate(scenic["single_view/image"]):
        (crops,) = crops_of(scenic[f"{video}/resized_middle_clip"], short_side=32, crop=27)
        assert normalise(crops).dtype == np.float32
        np.testing.assert_array_equal(normalise(crops), views)


@pytest.mark.parametrize("resize", GEOMETRIES)
def test_crops_of_a_frame_that_has_its_size(resize):
    frame = noise(8, 14)
    crops = crops_of(frame[None], short_side=8, crop=8, num_crops=3, resize=resize)
    np.testing.assert_array_equal(crops[:, 0], np.stack([frame[:, :8], frame[:, 3:11], frame[:, 6:]]))
    square = np.stack([frame[:, :8], frame[:, 6:]])
    crops = crops_of(square, short_side=8, crop=8, num_crops=3, resize=resize)
    np.testing.assert_array_equal(crops, np.stack([square] * 3))


def test_frames_of_different_size_are_refused():
    with pytest.raises(VideoError, match=r"cats/1\.mp4: the size of its frames changes"):
        crops_of([noise(8, 14), noise(14, 8)], "cats/1.mp4", short_side=4, crop=4)


@pytest.mark.parametrize("name", COLOURS)
def test_recorded_normalisations(slowfast, name):
    pixels = normalise(slowfast["frames_thwc_uint8"], *COLOURS[name])
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, slowfast[f"normalised_{name}"], rtol=0, atol=5e-7)
    levels = np.arange(256, dtype=np.uint8)[:, None].repeat(3, -1)
    np.testing.assert_array_equal(to_frames(normalise(levels, *COLOURS[name]), *COLOURS[name]), levels)
    np.testing.assert_array_equal(to_frames(np.full((1, 3), -9, np.float32)), 0)
    fractions, (mean, std) = np.array([[0.25, 100.5, 254.75]], np.float32), COLOURS[name]
    np.testing.assert_allclose(normalise(fractions, mean, std), (fractions / 255 - mean) / std, rtol=1e-6)
