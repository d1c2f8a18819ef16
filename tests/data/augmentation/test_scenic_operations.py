"""Scenic's augmentation against values recorded from Scenic, DMVR and the TensorFlow models."""

import json

import numpy as np
import pytest

from jax_vtm.data.augmentation import colour, scenic_randaugment
from jax_vtm.data.augmentation.crops import scale_jitter
from jax_vtm.data.augmentation.temporal import strided_clip, strided_starts
from jax_vtm.data.spatial import normalise

CONTRAST = [f"contrast_many_pixels/m{magnitude}" for magnitude in (10, 15, 20)]
OPERATIONS = [f"m{m}/{name}" for m in (5, 10, 15, 20) for name in list(scenic_randaugment.OPERATIONS)[:-1]]


@pytest.fixture(scope="module")
def arrays(golden):
    return np.load(golden / "training" / "scenic" / "preprocess.npz")


@pytest.fixture(scope="module")
def settings(golden):
    return json.loads((golden / "training" / "scenic" / "preprocess.json").read_text())


def applied(resizers, frames):
    for resize in resizers:
        frames = np.stack([resize(frame) for frame in frames])
    return frames


def assert_within_a_level(ours, recorded, most=0.01):
    """A blend in float32 may fall on either side of a whole number before it is truncated."""
    apart = np.abs(ours.astype(int) - recorded.astype(int))
    assert apart.max() <= 1
    assert np.mean(apart > 0) < most


def coloured(pixels, case):
    """The colours of a clip in [-1, 1] with what was drawn: the probabilities are Scenic's 0.8 and 0.1."""
    if case["coin_augment"] < 0.8:
        pixels = colour.recolour(pixels / 2 + 0.5, case["factors"]) * 2 - 1
    return colour.grey(pixels) if case["coin_drop"] < 0.1 else pixels


def test_random_clips(settings):
    for case in settings["temporal"]:
        arguments = case["video_length"], case["num_frames"], case["stride"]
        assert strided_starts(*arguments) == case["offset_exclusive_upper_bound"]
        assert strided_clip(*arguments, case["offset"]).tolist() == case["indices"]


def test_resizing_jitter_and_crop(arrays, settings):
    frames = arrays["jitter/in"]
    for case in settings["jitter"]["cases"]:
        kept = case["coin"] >= case["prob"]
        scales = (1, 1) if kept else (case["h_scale"], case["w_scale"])
        recorded = arrays[f"jitter/{case['case']}"]
        size = min(recorded.shape[1:3])
        ours = applied(scale_jitter(frames.shape[1:3], min(frames.shape[1:3]), size, scales, (0, 0)), frames)
        np.testing.assert_array_equal(ours, recorded[:, :size, :size])


@pytest.mark.parametrize("side", [12, 18, 24])
def test_the_short_side_before_the_jitter(arrays, side):
    frames, recorded = arrays["resize/in"], arrays[f"resize/min{side}"]
    first, _ = scale_jitter(frames.shape[1:3], side, 8, (1, 1), (0, 0))
    np.testing.assert_array_equal(applied([first], frames), recorded)


def test_flip_and_normalisation(arrays):
    frames = arrays["flip/0"]
    np.testing.assert_array_equal(frames[:, :, ::-1], arrays["flip/1"])
    np.testing.assert_array_equal(normalise(frames), arrays["normalise/zero_centering"])


def test_whole_chains(arrays, settings):
    for case in settings["chain"]:
        raw, size = arrays[f"chain{case['case']}/raw"], case["crop_size"]
        chosen = raw[strided_clip(len(raw), case["num_frames"], case["stride"], case["offset"])]
        scales = (case["h_scale"], case["w_scale"])
        resizers = scale_jitter(raw.shape[1:3], case["min_resize"], size, scales, case["crop_draw"][1:3])
        clip = applied(resizers, chosen)
        clip = clip[:, :, ::-1] if case["flipped"] else clip
        for name in case.get("randaug", {}).get("ops", ()):
            clip = scenic_randaugment.OPERATIONS[name](clip, case["randaug"]["magnitude"], (0, 0))
        pixels = normalise(clip)
        if colours := case.get("colour"):
            pixels = coloured(pixels, colours)
        np.testing.assert_allclose(pixels, arrays[f"chain{case['case']}/out"], rtol=0, atol=1e-4)


def test_crop_offsets_are_remainders(arrays, settings):
    frames = arrays["jitter/in"]
    for case in settings["crop"]["cases"]:
        shape, size = frames.shape[1:3], case["size"][0]
        recorded = arrays[f"crop/case{case['case']}"]
        # The recorded crop is wider than high; ours is square, so the width's remainder differs.
        draws = (case["draw"][1], case["offset"][1])
        ours = applied(scale_jitter(shape, shape[0], size, (1, 1), draws), frames)
        np.testing.assert_array_equal(ours, recorded[:, :, :size])


@pytest.mark.parametrize("kind", ["brightness", "saturation", "contrast", "hue"])
def test_colour_operations(arrays, kind):
    clip, found = arrays["colour/in01"], [key for key in arrays if key.startswith(f"colour/{kind}_")]
    assert len(found) == 2
    for key in found:
        factor = float(key.split("_")[1])
        adjust = np.add if kind == "brightness" else getattr(colour, f"adjust_{kind}")
        ours = adjust(clip, np.float32(factor))
        np.testing.assert_allclose(ours, arrays[key], rtol=0, atol=1e-4 if kind in ("hue", "saturation") else 2e-5)


def test_whole_colour_augmentation(arrays, settings):
    np.testing.assert_allclose(colour.grey(arrays["colour/in01"]), arrays["colour/grayscale"], rtol=0, atol=2e-5)
    for case in settings["colour"]["chain"]:
        clip = coloured(arrays["colour/in01"] * 2 - 1, case)
        np.testing.assert_allclose(clip, arrays[f"colour/chain{case['case']}"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("key", OPERATIONS)
def test_randaugment_operations(arrays, settings, key):
    magnitude, name = key.split("/")
    recorded = settings["randaug"]["table"][key]
    centre = tuple(recorded.get("centre_h_w", (0, 0)))
    clip = arrays["randaug/in"]
    ours = scenic_randaugment.OPERATIONS[name](clip, int(magnitude[1:]), centre)
    assert_within_a_level(ours, arrays[f"randaug/{key}"])
    assert np.array_equal(ours, clip) == recorded["unchanged"]


@pytest.mark.parametrize("key", CONTRAST)
def test_contrast_of_a_real_clip_blends_with_white(arrays, key):
    clip = arrays["randaug/contrast_many_pixels/in"]
    ours = scenic_randaugment.OPERATIONS["Contrast"](clip, int(key.split("m")[-1]), (0, 0))
    assert_within_a_level(ours, arrays[f"randaug/{key}"])


def test_two_layers_of_randaugment(arrays, settings):
    for case in settings["randaug"]["full"]:
        clip = arrays["randaug/in"]
        for name in case["ops"]:
            clip = scenic_randaugment.OPERATIONS[name](clip, case["magnitude"], tuple(case["cutout_centre"] or (0, 0)))
        assert_within_a_level(clip, arrays[f"randaug/full{case['case']}"])


def test_operations_are_in_the_recorded_order(settings):
    names = [name.split()[0] for name in settings["randaug"]["ops_in_index_order"]]
    assert list(scenic_randaugment.OPERATIONS) == names
