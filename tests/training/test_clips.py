"""Which training clips come when: every video once an epoch, the same on any hosts, threads and after a stop."""

import functools
import io
import itertools
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
from jax_vtm.training.clips import TrainingClips, Waiting

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


def clips(augmentation=CHANGED, source=None, **settings):
    return TrainingClips(source or videos(), PROTOCOL, augmentation, seed=3, **settings)


def assert_equal(ours, theirs):
    np.testing.assert_array_equal(ours.video, theirs.video)
    np.testing.assert_array_equal(ours.mask, theirs.mask)
    for head in ("verb", "noun"):
        np.testing.assert_array_equal(ours.labels[head], theirs.labels[head])


def test_every_video_comes_once_an_epoch_in_another_order():
    verbs = np.concatenate([batch.labels["verb"] for batch in clips().batches(0, 7, 4)])
    epochs = verbs.reshape(4, COUNT)
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_labels_follow_their_videos():
    plain = Augmentation(scale=(1, 1))
    for batch in clips(plain).batches(0, 4, 4):
        np.testing.assert_array_equal(batch.video.reshape(4, -1).min(1) // 30, batch.labels["verb"])
        np.testing.assert_array_equal(batch.labels["noun"], 2 * batch.labels["verb"])
        assert batch.video.dtype == np.uint8
        assert batch.video.shape == (4, *PROTOCOL.views_shape[1:])


@given(seed=st.integers(0, 5), hosts=st.sampled_from([1, 2, 4]), start=st.integers(0, 40), count=st.integers(1, 30))
def test_hosts_share_every_batch_without_overlap(seed, hosts, start, count):
    """The places of all hosts together are the sequence of one host."""
    source = videos(count)
    alone = TrainingClips(source, PROTOCOL, CHANGED, seed=seed)
    expected = [alone.video_at(8 * start + place) for place in range(8)]
    assert len(set(expected)) == 8
    assert sorted(alone.video_at(place)[1] for place in range(count)) == list(range(count))
    found = []
    for host in range(hosts):
        part = TrainingClips(source, PROTOCOL, CHANGED, seed=seed, host=host, num_hosts=hosts)
        found += [part.video_at((start * hosts + host) * (8 // hosts) + place) for place in range(8 // hosts)]
    assert found == expected


def test_hosts_threads_and_a_stop_change_nothing():
    whole = list(clips().batches(0, 5, 4))
    for host in range(2):
        part = list(clips(host=host, num_hosts=2, num_threads=0).batches(0, 5, 4))
        for ours, theirs in zip(part, whole, strict=True):
            rows = slice(2 * host, 2 * host + 2)
            np.testing.assert_array_equal(ours.video, theirs.video[rows])
            np.testing.assert_array_equal(ours.labels["verb"], theirs.labels["verb"][rows])
    for ours, theirs in zip(clips(prefetch=1).batches(3, 5, 4), whole[3:], strict=True):
        assert_equal(ours, theirs)
    assert_equal(clips()(2, 4), whole[2])


def test_another_batch_size_goes_through_the_same_clips():
    small = np.concatenate([batch.video for batch in clips().batches(0, 8, 2)])
    large = np.concatenate([batch.video for batch in clips().batches(0, 2, 8)])
    np.testing.assert_array_equal(small, large)


def test_processes_make_the_same_clips():
    assert_equal(next(clips(num_workers=1).batches(1, 2, 2)), clips()(1, 2))


def test_repeats_come_one_after_the_other():
    repeated = Augmentation("resized_crop", (0.5, 1.0), (0.75, 1.3333), erasing=1.0, repeats=2)
    verbs = np.concatenate([batch.labels["verb"] for batch in clips(repeated).batches(0, 7, 2)])
    np.testing.assert_array_equal(verbs[::2], verbs[1::2])
    assert sorted(verbs[::2]) == list(range(COUNT))
    batch = clips(repeated)(0, 2)
    assert batch.video.dtype == np.float32
    assert not np.array_equal(batch.video[0], batch.video[1])


def test_a_video_that_cannot_be_read_counts_for_nothing_and_is_named(capsys):
    source = clips(source=videos(broken=(2, 5)))
    batches = list(source.batches(0, COUNT, 2))
    mask = np.concatenate([batch.mask for batch in batches])
    verbs = np.concatenate([batch.labels["verb"] for batch in batches])
    video = np.concatenate([batch.video for batch in batches])
    assert sorted(verbs[mask == 1]) == sorted(2 * [0, 1, 3, 4, 6])
    assert list(verbs[mask == 0]) == [-1] * 4
    assert not video[mask == 0].any()
    assert sorted(source.failures) == ["video2", "video5"]
    assert "picture" in source.failures["video2"]
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
    batches = clips(source=source, num_threads=2, prefetch=3).batches(0, 1000, 2)
    next(batches)
    deadline = time.monotonic() + 0.2
    while time.monotonic() < deadline:
        assert source.opened <= 2 + 3 + 2
    batches.close()


def test_the_share_of_waiting():
    def slow():
        for number in range(3):
            time.sleep(0.02)
            yield number

    waiting = Waiting(slow())
    assert list(waiting) == [0, 1, 2]
    assert waiting.waited_s >= 0.06
    assert 0.5 < waiting.share <= 1
    busy = Waiting(itertools.repeat(1))
    next(busy)
    time.sleep(0.02)
    assert busy.share < 0.1


def test_what_cannot_be_trained_on():
    with pytest.raises(UserError, match="7 videos with 0 labels each"):
        clips(source=VideoItems([videos()[n] for n in range(7)], (), {}))
    with pytest.raises(UserError, match="the batch has 6 clips; expected a multiple of 4"):
        next(clips(Augmentation(repeats=2), num_hosts=2).batches(0, 1, 6))
    with pytest.raises(UserError, match="seed of training is -1"):
        TrainingClips(videos(), PROTOCOL, CHANGED, seed=-1)
    with pytest.raises(UserError, match="scale is"):
        clips(Augmentation(scale=(0.5, 1)))
