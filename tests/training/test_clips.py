"""Which training clips come when: every video once an epoch, the same on any hosts, threads and after a stop."""

import contextlib
import functools
import io
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jax_vtm.data import ClipProtocol, Pictures, VideoItem
from jax_vtm.data.augmentation.settings import Augmentation
from jax_vtm.data.source import VideoItems
from jax_vtm.errors import UserError
from jax_vtm.training.clips import TrainingClips, video_at

PROTOCOL = ClipProtocol(2, 2, 18, 16)
CHANGED = Augmentation(flip=True, colour_probability=0.8, scale=(0.9, 1.3))
COUNT = 7


@functools.cache
def picture(value, number):
    file = io.BytesIO()
    Image.fromarray(np.full((20, 24, 3), (30 * value + number) % 256, np.uint8)).save(file, "PNG")
    return file.getvalue()


def videos(count=COUNT, broken=()):
    items = [
        VideoItem(
            f"video{n}",
            Pictures([b"broken" if n in broken else picture(n, number) for number in range(6)]),
            {"verb": n, "noun": 2 * n},
        )
        for n in range(count)
    ]
    return VideoItems(items, ("verb", "noun"), {})


def batches(clips, first, stop, batch_size):
    with contextlib.closing(clips):
        return [clips(step, batch_size) for step in range(first, stop)]


def clips(augmentation=CHANGED, source=None, **settings):
    return TrainingClips(source or videos(), PROTOCOL, augmentation, seed=3, **settings)


def assert_equal(ours, theirs):
    np.testing.assert_array_equal(ours.video, theirs.video)
    np.testing.assert_array_equal(ours.mask, theirs.mask)
    for head in ("verb", "noun"):
        np.testing.assert_array_equal(ours.labels[head], theirs.labels[head])


def test_every_video_comes_once_an_epoch_in_another_order():
    verbs = np.concatenate([batch.labels["verb"] for batch in batches(clips(), 0, 7, 4)])
    epochs = verbs.reshape(4, COUNT)
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_labels_follow_their_videos():
    plain = Augmentation(scale=(1, 1))
    for batch in batches(clips(plain), 0, 4, 4):
        np.testing.assert_array_equal(batch.video.reshape(4, -1).min(1) // 30, batch.labels["verb"])
        np.testing.assert_array_equal(batch.labels["noun"], 2 * batch.labels["verb"])
        assert batch.video.dtype == np.uint8
        assert batch.video.shape == (4, *PROTOCOL.views_shape[1:])


@given(seed=st.integers(0, 5), start=st.integers(0, 10**6), count=st.integers(1, 30))
def test_an_epoch_is_a_permutation(seed, start, count):
    epoch = start // count
    found = [video_at(seed, count, epoch * count + place) for place in range(count)]
    assert found[start % count] == video_at(seed, count, start)
    assert {number for number, _ in found} == {epoch}
    assert sorted(index for _, index in found) == list(range(count))


def test_hosts_threads_and_a_stop_change_nothing():
    whole = batches(clips(), 0, 5, 4)
    for host in range(2):
        part = batches(clips(host=host, num_hosts=2, num_threads=0), 0, 5, 4)
        for ours, theirs in zip(part, whole, strict=True):
            rows = slice(2 * host, 2 * host + 2)
            np.testing.assert_array_equal(ours.video, theirs.video[rows])
            np.testing.assert_array_equal(ours.labels["verb"], theirs.labels["verb"][rows])
    for ours, theirs in zip(batches(clips(prefetch=1), 3, 5, 4), whole[3:], strict=True):
        assert_equal(ours, theirs)
    ours = clips()
    # In any order, too.
    for step in (2, 3, 0, 0, 4):
        assert_equal(ours(step, 4), whole[step])


def test_another_batch_size_goes_through_the_same_clips():
    small = np.concatenate([batch.video for batch in batches(clips(), 0, 8, 2)])
    large = np.concatenate([batch.video for batch in batches(clips(), 0, 2, 8)])
    np.testing.assert_array_equal(small, large)


def test_processes_make_the_same_clips():
    assert_equal(batches(clips(num_workers=1), 1, 2, 2)[0], clips()(1, 2))


def test_repeats_come_one_after_the_other():
    repeated = Augmentation("resized_crop", (0.5, 1.0), (0.75, 1.3333), erasing=1.0, repeats=2)
    verbs = np.concatenate([batch.labels["verb"] for batch in batches(clips(repeated), 0, 7, 2)])
    np.testing.assert_array_equal(verbs[::2], verbs[1::2])
    assert sorted(verbs[::2]) == list(range(COUNT))
    batch = clips(repeated)(0, 2)
    assert batch.video.dtype == np.float32
    assert not np.array_equal(batch.video[0], batch.video[1])


def test_a_video_that_cannot_be_read_counts_for_nothing_and_is_named(capsys):
    source = clips(source=videos(broken=(2, 5)))
    found = batches(source, 0, COUNT, 2)
    mask = np.concatenate([batch.mask for batch in found])
    verbs = np.concatenate([batch.labels["verb"] for batch in found])
    video = np.concatenate([batch.video for batch in found])
    assert sorted(verbs[mask == 1]) == sorted(2 * [0, 1, 3, 4, 6])
    assert list(verbs[mask == 0]) == [-1] * 4
    assert not video[mask == 0].any()
    assert sorted(source.failures) == ["video2", "video5"]
    assert "picture" in source.failures["video2"].reason
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all(line.startswith("warning: video video") for line in said)


def test_only_so_many_videos_are_prepared_ahead():
    class Counting:
        def __init__(self, source):
            self.source, self.heads, self.class_names = source, source.heads, source.class_names
            self.opened, self.lock = 0, threading.Lock()

        def __len__(self):
            return len(self.source)

        def __getitem__(self, index):
            with self.lock:
                self.opened += 1
            return self.source[index]

    source = Counting(videos())
    ours = clips(source=source, num_threads=2, prefetch=3)
    ours(0, 2)
    deadline = time.monotonic() + 0.2
    while time.monotonic() < deadline:
        assert source.opened <= 2 + 3 + 2
    threads = threading.active_count()
    ours.close()
    deadline = time.monotonic() + 10
    while threading.active_count() >= threads:
        assert time.monotonic() < deadline


def test_what_cannot_be_trained_on():
    with pytest.raises(UserError, match="7 videos with 0 labels each"):
        clips(source=VideoItems([videos()[n] for n in range(7)], (), {}))
    with pytest.raises(UserError, match="the batch has 6 clips; expected a multiple of 4"):
        clips(Augmentation(repeats=2), num_hosts=2)(0, 6)
    with pytest.raises(UserError, match="seed of training is -1"):
        TrainingClips(videos(), PROTOCOL, CHANGED, seed=-1)
    with pytest.raises(UserError, match="scale is"):
        clips(Augmentation(scale=(0.5, 1)))
