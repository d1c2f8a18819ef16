import errno
import os

import numpy as np
import pytest

from jax_vtm.data import ClipProtocol, VideoSource, load_views, moving_digits, source_digest
from jax_vtm.errors import UserError

WAY = {"east": (0, 1), "south": (1, 0), "west": (0, -1), "north": (-1, 0)}


@pytest.fixture
def ink():
    return moving_digits.enlarged(moving_digits.digits(test=True)[0][0])


def test_training_and_test_images_are_disjoint():
    (train, _), (test, nouns) = moving_digits.digits(test=False), moving_digits.digits(test=True)
    assert (len(train), len(test)) == (1437, 360)
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}
    assert set(nouns) == set(range(10))


@pytest.mark.parametrize("name", WAY)
def test_the_digit_moves_in_the_direction_that_the_verb_says(ink, name):
    frames = moving_digits.render(ink, moving_digits.VERBS.index(name), np.random.default_rng(0)).astype(float)
    bright = frames.mean(axis=-1)
    # The shift of the first to the fourth frame is found where their circular correlation is largest.
    spectrum = [np.fft.fft2(bright[t] - bright[t].mean()) for t in (0, 3)]
    correlation = np.fft.ifft2(spectrum[1] * spectrum[0].conj()).real
    shift = np.array(np.unravel_index(correlation.argmax(), correlation.shape))
    shift = (shift + moving_digits.SIZE // 2) % moving_digits.SIZE - moving_digits.SIZE // 2
    along = shift @ WAY[name]
    low, high = moving_digits.SPEED
    assert 3 * low - 1 <= along <= 3 * high + 1
    assert np.abs(shift).sum() == along


def test_no_single_frame_gives_the_direction_away():
    """Frames of opposite directions are the same set: played backwards, a clip is one of the opposite direction."""
    canvas = np.zeros((moving_digits.SIZE, moving_digits.SIZE), np.float32)
    canvas[20:40, 20:40] = np.random.default_rng(0).uniform(size=(20, 20))
    velocity, start = np.array([1.25, -2.0]), np.array([3.5, 60.25])
    there = [moving_digits.shifted(canvas, start + velocity * t) for t in range(8)]
    end = start + velocity * 7
    back = [moving_digits.shifted(canvas, end - velocity * t) for t in range(8)]
    np.testing.assert_allclose(there, back[::-1], atol=1e-6)


def test_where_the_digit_is_does_not_depend_on_the_direction(ink):
    """At any time the digit's place is uniform on the torus: its mean phase vanishes, for every direction and time."""
    phases = np.exp(2j * np.pi * np.arange(moving_digits.SIZE) / moving_digits.SIZE)
    for verb in (0, 3, 6):
        clips = np.stack([moving_digits.render(ink, verb, np.random.default_rng(i)) for i in range(60)])
        for time in (0, moving_digits.NUM_FRAMES - 1):
            weight = clips[:, time].mean(axis=-1)
            weight = weight - weight.min(axis=(1, 2), keepdims=True)
            for axis in (1, 2):
                phase = (weight.sum(axis=axis) * phases).sum(axis=-1)
                assert np.abs(np.mean(phase / np.abs(phase))) < 0.35


def test_training_batches_are_a_function_of_seed_and_step():
    video, labels, mask = moving_digits.training_batch(0, 5, 4)
    assert video.shape == (4, 16, 64, 64, 3)
    assert video.dtype == np.float32
    assert -1 <= video.min() < video.max() <= 1
    again, *_ = moving_digits.training_batch(0, 5, 4)
    np.testing.assert_array_equal(video, again)
    other, *_ = moving_digits.training_batch(0, 6, 4)
    assert np.abs(video - other).max() > 0.1
    assert set(labels) == {"noun", "verb"}
    np.testing.assert_array_equal(mask, np.ones(4, np.float32))


def test_test_videos_are_real_files_with_labels_that_are_written_as_they_are_asked_for(tmp_path):
    source = moving_digits.open_test_videos(tmp_path / "cache")
    assert isinstance(source, VideoSource)
    assert (len(source), list((tmp_path / "cache").iterdir())) == (1440, [])
    digest = source_digest(source)
    protocol = ClipProtocol(num_frames=16, stride=1, short_side=64, crop=64)
    for index in (0, 1439):
        item = source[index]
        verb, noun = moving_digits.VERBS[item.labels["verb"]], moving_digits.NOUNS[item.labels["noun"]]
        image = int(item.id[:3])
        assert item.id == f"{image:03d}_{noun}_{verb}.mp4"
        decoded = load_views(item, protocol)[0]
        ink = moving_digits.enlarged(moving_digits.digits(test=True)[0][image])
        number = (item.labels["verb"] - image) % 8 // 2
        rendered = moving_digits.render(ink, item.labels["verb"], np.random.default_rng((image, number)))
        # H.264 at this quality stays within a few levels on average.
        assert np.abs((decoded + 1) * 127.5 - rendered).mean() < 6
    assert len(list((tmp_path / "cache").iterdir())) == 2
    before = (tmp_path / "cache" / item.id).stat().st_mtime_ns
    assert moving_digits.open_test_videos(tmp_path / "cache")[1439] == item
    assert (tmp_path / "cache" / item.id).stat().st_mtime_ns == before
    # As a folder of these files with a list of their labels has it.
    assert digest == "f60c6b9b5945e7c4994a2e3c68f80237c68e1127f164750b498eb26f3b96dd95" == source_digest(source)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.*cannot be written"):
        moving_digits.open_test_videos(tmp_path / "file" / "cache")

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(moving_digits, "write_h264", full)
    with pytest.raises(UserError, match=r"_zero_east.mp4: cannot be written: No space left on device.*JAX_VTM_CACHE"):
        moving_digits.open_test_videos(tmp_path / "cache")[0]
