"""VideoMAE's augmentation against values recorded from its repository."""

import json
import random

import numpy as np
import pytest

from jax_vtm.data.augmentation.crops import random_box, resized_crop
from jax_vtm.data.augmentation.erasing import random_erasing
from jax_vtm.data.augmentation.pil_randaugment import OPERATIONS, apply_operations, operation
from jax_vtm.data.augmentation.temporal import dense_clip, dense_starts, whole_segments
from jax_vtm.data.spatial import normalise

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PythonDraws:
    """Draws from Python's generator, as the recorded code did, through the names of numpy's."""

    def __init__(self, seed):
        self._random = random.Random(seed)
        self.standard_normal = np.random.default_rng(seed).standard_normal

    def uniform(self, low, high):
        return self._random.uniform(low, high)

    def integers(self, stop):
        return self._random.randint(0, stop - 1)


@pytest.fixture(scope="module")
def arrays(golden):
    return np.load(golden / "training" / "videomae" / "augment.npz")


@pytest.fixture(scope="module")
def settings(golden):
    return json.loads((golden / "training" / "videomae" / "augment.json").read_text())


def test_dense_clips(settings):
    for case in settings["temporal_k400"]:
        arguments = case["length"], case["clip_len"], case["sampling_rate"]
        start = 0
        if case["drawn"]:
            (low, high), start = case["draw_range_half_open"][0], case["drawn"][0] - case["draw_range_half_open"][0][0]
            assert dense_starts(*arguments) == high - low
        assert dense_clip(*arguments, start).tolist() == case["indices"]


def test_segments(settings):
    for case in settings["temporal_ssv2"]:
        offsets = np.array(case["draws"][0]["values"] if case["draws"] else [0] * case["num_segments"])
        assert whole_segments(case["length"], case["num_segments"], offsets).tolist() == case["indices"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_randaugment_operations(arrays, settings, name):
    for magnitude in (7.0, 9.3):
        for sign, word in ((1, "pos"), (-1, "neg")):
            key = f"m{magnitude}/{name}/{word}"
            if f"randaug/{key}" not in arrays:
                continue
            ours = operation(name, magnitude, sign)
            np.testing.assert_allclose(ours[1], settings["randaug"]["level_args"][key], rtol=1e-12)
            frames = np.stack([apply_operations(frame, [ours]) for frame in arrays["randaug/in"]])
            apart = np.abs(frames.astype(int) - arrays[f"randaug/{key}"].astype(int))
            # Exact with the Pillow of the record; its interpolation may round otherwise in another version.
            assert apart.max() <= 1


def test_the_names_are_those_of_the_source(settings):
    assert list(OPERATIONS) == settings["randaug"]["ops"]


def test_boxes_of_resized_crops(settings):
    recorded = settings["rrc"]
    for case in recorded["cases"][:-1]:
        box = random_box((20, 26), recorded["scale"], recorded["ratio"], PythonDraws(case["seed"]))
        y, x, height, width = box
        assert [y, x, height, width] == case["i_j_h_w"]
    fallback = recorded["cases"][-1]["fallback_20x90_i_j_h_w"]
    assert list(random_box((20, 90), (2.0, 3.0), recorded["ratio"], PythonDraws(0))) == fallback


def test_resized_crops(arrays, settings):
    # Resizing takes uint8 and is linear: the recorded float32 input is taken apart into its digits of base 256.
    rest = (arrays["rrc/in"].transpose(1, 2, 3, 0).astype(np.float64) + 4) * 32
    digits = []
    for _ in range(3):
        digits.append(rest.astype(np.uint8))
        rest = (rest - digits[-1]) * 256
    for case in settings["rrc"]["cases"][:-1]:
        crop, resize = resized_crop((20, 26), tuple(case["i_j_h_w"]), 12)
        planes = [
            np.stack([resize(crop(frame)) for frame in plane]) / 256.0**power for power, plane in enumerate(digits)
        ]
        ours = (sum(planes) / 32 - 4).transpose(3, 0, 1, 2)
        np.testing.assert_allclose(ours, arrays[f"rrc/case{case['case']}"], rtol=0, atol=1e-5)


def test_erased_boxes(arrays, settings):
    clip = arrays["erase/in"].transpose(0, 2, 3, 1)
    for case in settings["erase"]["cases"]:
        ours = clip.copy()
        random_erasing(ours, case["probability"], PythonDraws(case["python_seed"]))
        box = case["erased_top_bottom_left_right"]
        expected = np.zeros(clip.shape[1:3], bool)
        if box:
            top, bottom, left, right = box
            expected[top:bottom, left:right] = True
            assert not np.array_equal(ours[0, top:bottom, left:right], ours[1, top:bottom, left:right])
        np.testing.assert_array_equal((ours != clip).all((0, 3)), expected)


def test_whole_frames(arrays, settings):
    raw = arrays["aug_frame/raw"]
    for case in settings["aug_frame"]:
        frames = [
            apply_operations(frame, [(name, tuple(args)) for name, args in case["applied_ops_in_order"]])
            for frame in raw
        ]
        crop, resize = resized_crop(raw.shape[1:3], tuple(case["crop_i_j_h_w"]), case["crop_size"])
        ours = normalise(np.stack([resize(crop(frame)) for frame in frames]), *IMAGENET)
        ours = ours[:, :, ::-1] if case["flipped"] else ours
        folder = f"aug_frame/case{case['case']}"
        recorded = arrays[f"{folder}/before_erasing" if f"{folder}/before_erasing" in arrays else f"{folder}/out"]
        np.testing.assert_allclose(ours.transpose(3, 0, 1, 2), recorded, rtol=0, atol=1e-5)
