"""Training clips: settings that make sense, drawn frames, and pixels that follow from the key alone."""

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jax_vtm.data import ClipProtocol, Pictures, VideoError, VideoInfo, VideoItem, published_protocol
from jax_vtm.data.augmentation.clip import training_clips
from jax_vtm.data.augmentation.crops import random_box, scale_jitter
from jax_vtm.data.augmentation.recipes import recipes
from jax_vtm.data.augmentation.settings import Augmentation, published_augmentation
from jax_vtm.data.augmentation.temporal import random_frames
from jax_vtm.errors import UserError

VIDEOMAE = published_augmentation("standard", "videomae", "kinetics400", crop=16)
SCENIC = ClipProtocol(4, 2, 20, 16)
SLOWFAST = ClipProtocol(4, 2, 20, 16, sampling="slowfast", resize="slowfast", pad="clamp", rate_fps=30.0)


def png(frame):
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


def item(frames):
    return VideoItem("clip", Pictures([png(frame) for frame in frames], 30.0), {"label": 1})


@pytest.fixture(scope="module")
def noise():
    return item(np.random.default_rng(0).integers(0, 256, (9, 24, 30, 3), dtype=np.uint8))


RECIPES_BY_NAME = [(*names, data.replace("kinetics", "kinetics400")) for *names, data in recipes()]


@pytest.mark.parametrize(("recipe", "family", "dataset"), RECIPES_BY_NAME)
def test_every_published_recipe_makes_clips(noise, recipe, family, dataset):
    augmentation = published_augmentation(recipe, family, dataset, crop=16)
    override = {"stride": 2} if published_protocol_has_stride(recipe, family, dataset) else {}
    protocol = published_protocol(recipe, family, dataset, num_frames=4, crop=16, short_side=20, **override)
    augmentation.check_fits(protocol)
    clips = training_clips(noise, protocol, augmentation, (0, 0, 0))
    assert clips.shape == (augmentation.repeats, 4, 16, 16, 3)
    assert clips.dtype == (np.uint8 if augmentation.is_whole else np.float32)
    assert np.array_equal(clips, training_clips(noise, protocol, augmentation, (0, 0, 0)))
    others = [training_clips(noise, protocol, augmentation, key) for key in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert not any(np.array_equal(clips, other) for other in others)
    again = Augmentation(**dataclasses.asdict(augmentation))
    assert again == augmentation


def published_protocol_has_stride(recipe, family, dataset):
    from jax_vtm.data.protocols import PROTOCOLS

    return bool(PROTOCOLS[recipe][family][dataset].strides)


def test_nothing_is_flipped_where_classes_say_a_direction():
    for recipe, family, data in recipes():
        if data == "ssv2":
            assert not published_augmentation(recipe, family, data, crop=224).flip


def test_flips_mirror_half_of_the_clips_and_nothing_else():
    ramp = np.broadcast_to(np.arange(30, dtype=np.uint8)[None, :, None] * 8, (24, 30, 3))
    flat = Augmentation(scale=(1, 1))
    rising = {
        flip: [
            training_clips(item([ramp]), SCENIC, dataclasses.replace(flat, flip=flip), (0, 0, n))[0, 0, 0, :, 0]
            for n in range(40)
        ]
        for flip in (False, True)
    }
    assert all(row[0] < row[-1] for row in rising[False])
    assert 10 <= sum(row[0] > row[-1] for row in rising[True]) <= 30


def test_one_draw_of_randaugment_holds_for_all_frames():
    """A video of one picture stays one picture, whatever is drawn, but for the noise of erasing."""
    picture = np.random.default_rng(1).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    still = dataclasses.replace(VIDEOMAE, erasing=0.0)
    for key in range(8):
        clips = training_clips(item([picture] * 5), SCENIC, still, (0, 0, key))
        assert np.array_equal(clips, np.broadcast_to(clips[:, :1], clips.shape))


def test_repeats_have_the_same_frames_changed_differently():
    frames = np.full((12, 24, 30, 3), 10, np.uint8) * np.arange(1, 13, dtype=np.uint8)[:, None, None, None]
    plain = Augmentation("resized_crop", (0.5, 1.0), (0.75, 1.3333), repeats=3)
    clips = training_clips(item(frames), SCENIC, plain, (0, 0, 0))
    assert np.array_equal(clips[0], clips[1])
    assert np.array_equal(clips[0], clips[2])
    textured = frames + np.random.default_rng(0).integers(0, 100, frames.shape, dtype=np.uint8)
    clips = training_clips(item(textured), SCENIC, plain, (0, 0, 0))
    assert not np.array_equal(clips[0], clips[1])


@given(
    count=st.integers(1, 90),
    fps=st.sampled_from([12.5, 30.0, 60.0]),
    sampling=st.sampled_from(
        ["scenic", "videomae", "videomae_segments", "slowfast", "slowfast_epic", "slowfast_segments"]
    ),
    seed=st.integers(0, 99),
)
def test_drawn_frames_are_in_the_video_and_in_order(count, fps, sampling, seed):
    spread, timed = sampling.endswith("segments"), sampling in ("slowfast", "slowfast_epic")
    protocol = ClipProtocol(
        8, None if spread else 4, 20, 16, sampling=sampling, pad="clamp", rate_fps=30.0 if timed else None
    )
    frames = random_frames(protocol, VideoInfo(count, fps), np.random.default_rng(seed))
    assert frames.shape == (8,)
    assert frames.min() >= 0
    assert frames.max() < count
    assert np.all(np.diff(frames) >= 0)


def test_all_starts_of_a_clip_are_drawn():
    draws = [random_frames(SCENIC, VideoInfo(10), np.random.default_rng(n))[0] for n in range(100)]
    assert sorted(set(draws)) == [0, 1, 2, 3]
    timed = [random_frames(SLOWFAST, VideoInfo(300, 30.0), np.random.default_rng(n))[0] for n in range(300)]
    assert min(timed) < 15
    assert max(timed) > 275


def test_a_clip_in_time_needs_the_frame_rate(noise):
    silent = dataclasses.replace(noise, video=Pictures(noise.video.frames))
    with pytest.raises(VideoError, match="frames per second are not known"):
        training_clips(silent, SLOWFAST, VIDEOMAE, (0, 0, 0))


def test_blue_comes_first_where_the_model_takes_it_so(noise):
    plain = Augmentation(scale=(1, 1))
    blue_first = dataclasses.replace(SCENIC, channels="bgr")
    rgb, bgr = (training_clips(noise, protocol, plain, (0, 0, 0)) for protocol in (SCENIC, blue_first))
    assert np.array_equal(rgb, bgr[..., ::-1])


def test_brightness_of_slowfast_scales_normalised_values(noise):
    jitter = Augmentation("short_side_jitter", (16, 20), colour="slowfast", colour_probability=1.0)
    plain = dataclasses.replace(jitter, colour_probability=0.0)
    changed, same = (training_clips(noise, SLOWFAST, settings, (0, 0, 3)) for settings in (jitter, plain))
    assert changed.shape == same.shape
    assert not np.allclose(changed, same)
    assert np.corrcoef(changed.ravel(), same.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"crop": "middle"}, "crop is 'middle', expected one of scale_jitter"),
        ({"scale": (1.3, 0.9)}, "expected two numbers above 0, the lower one first"),
        ({"scale": 0.9}, "expected two numbers above 0"),
        ({"erasing": 2}, "erasing is 2, expected a share"),
        ({"repeats": 0}, "repeats is 0, expected an integer of at least 1"),
        ({"randaugment": "rand-m7"}, "randaugment is 'rand-m7', expected scenic-mM-nN or rand-mM"),
        ({"randaugment": "scenic-m30-n2"}, "whose magnitude is at most 20"),
        ({"randaugment": "scenic-m15-n2", "crop": "resized_crop"}, "use the crop 'scale_jitter'"),
    ],
)
def test_settings_that_make_no_sense(wrong, message):
    with pytest.raises(UserError, match=message):
        Augmentation(**wrong)


def test_frames_smaller_than_the_models_are_refused():
    with pytest.raises(UserError, match="can leave a short side of 16 pixels, but the model takes 18"):
        Augmentation(scale=(0.8, 1.2)).check_fits(ClipProtocol(4, 2, 20, 18))
    with pytest.raises(UserError, match="there is no recipe 'paper' for motionformer on 'ssv2'"):
        published_augmentation("paper", "motionformer", "ssv2", crop=224)


@given(short_side=st.integers(8, 40), size=st.integers(4, 40), low=st.floats(0.3, 1.0), wide=st.integers(0, 30))
def test_settings_that_fit_always_leave_enough_to_crop(short_side, size, low, wide):
    size = min(size, short_side)
    augmentation = Augmentation(scale=(low, 1.0))
    try:
        augmentation.check_fits(ClipProtocol(1, 1, short_side, size))
    except UserError:
        return
    shape = (20, 20 + wide)
    frame = np.zeros((*shape, 3), np.uint8)
    for resize in scale_jitter(shape, short_side, size, (low, low), (12345, 67890)):
        frame = resize(frame)
    assert frame.shape == (size, size, 3)


@pytest.mark.parametrize("shape", [(240, 320), (256, 456), (240, 427)])
def test_the_papers_vivit_recipe_takes_the_centre_of_common_videos(shape):
    recipe = published_augmentation("paper", "vivit", "ssv2", crop=224)
    boxes = {random_box(shape, recipe.scale, recipe.aspect, np.random.default_rng(n)) for n in range(100)}
    assert boxes == {(0, (shape[1] - shape[0]) // 2, shape[0], shape[0])}


def test_a_model_of_other_size_jitters_in_proportion():
    assert published_augmentation("standard", "motionformer", "ssv2", crop=336).scale == (384, 480)
    assert published_augmentation("standard", "timesformer", "kinetics600", crop=224).scale == (256, 320)
    assert published_augmentation("standard", "timesformer", "kinetics400", crop=112).scale == (128, 160)
