import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from jax_vtm.data import VideoFolder
from jax_vtm.data.loading import Failure, batches
from jax_vtm.data.protocol import ClipProtocol
from jax_vtm.data.source import VideoError, VideoItem
from jax_vtm.data.views import load_frames
from jax_vtm.errors import UserError

PROTOCOL = ClipProtocol(num_frames=4, stride=2, short_side=32, crop=24, num_clips=2, num_crops=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, frames, encode):
    """Seven videos, of which two are broken; labels are the videos' numbers."""
    path = tmp_path_factory.mktemp("videos")
    for number in range(7):
        encode(path / f"{number}.mp4", frames(5 + number))
    (path / "2.mp4").write_bytes(b"")
    (path / "5.mp4").write_text("no video")
    rows = "".join(f"{number}.mp4,{number}\n" for number in range(7))
    (path / "labels.csv").write_text("video,label\n" + rows)
    return path


@pytest.mark.parametrize(("num_threads", "prefetch"), [(0, 1), (1, 1), (3, 8), (4, 2)])
def test_order_masks_labels_and_failures(folder, num_threads, prefetch):
    source = VideoFolder(folder)
    loaded = list(batches(source, PROTOCOL, 3, num_threads=num_threads, prefetch=prefetch))
    assert [batch.mask.tolist() for batch in loaded] == [
        [True, True, False],
        [True, True, False],
        [True, False, False],
    ]
    assert [batch.indices.tolist() for batch in loaded] == [[0, 1, 2], [3, 4, 5], [6, -1, -1]]
    assert [batch.ids for batch in loaded] == [
        ("0.mp4", "1.mp4", "2.mp4"),
        ("3.mp4", "4.mp4", "5.mp4"),
        ("6.mp4", "", ""),
    ]
    assert [batch.labels["label"].tolist() for batch in loaded] == [[0, 1, -1], [3, 4, -1], [6, -1, -1]]
    assert [batch.failures for batch in loaded] == [
        (Failure("2.mp4", "the file is empty (0 bytes)"),),
        (Failure("5.mp4", "cannot be read: it is cut short, damaged or not a video"),),
        (),
    ]
    for batch in loaded:
        assert batch.frames.shape == (3, 6, 4, 24, 24, 3)
        assert batch.frames.dtype == np.uint8
        assert batch.labels["label"].dtype == batch.indices.dtype == np.int32
        for place in range(3):
            if batch.mask[place]:
                expected = load_frames(source[int(batch.indices[place])], PROTOCOL)
                np.testing.assert_array_equal(batch.frames[place], expected)
            else:
                assert not batch.frames[place].any()


def test_worker_processes_deliver_what_threads_do(folder):
    source = VideoFolder(folder)
    threads = list(batches(source, PROTOCOL, 3))
    workers = list(batches(source, PROTOCOL, 3, num_workers=2, prefetch=2))
    for ours, theirs in zip(workers, threads, strict=True):
        np.testing.assert_array_equal(ours.frames, theirs.frames)
        np.testing.assert_array_equal(ours.labels["label"], theirs.labels["label"])
        assert (ours.ids, ours.failures) == (theirs.ids, theirs.failures)
        assert ours.indices.tolist() == theirs.indices.tolist()


ABANDON_WORKERS = """
import multiprocessing, os, signal, sys
from jax_vtm.data import ClipProtocol, VideoFolder, batches

if __name__ == "__main__":
    protocol = ClipProtocol(num_frames=4, stride=2, short_side=32, crop=24)
    loaded = batches(VideoFolder(sys.argv[1]), protocol, 1, num_workers=2, prefetch=2)
    next(loaded)
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_worker_processes_end_with_the_one_that_started_them(folder, tmp_path):
    script = tmp_path / "abandon.py"
    script.write_text(ABANDON_WORKERS)
    run = [sys.executable, str(script), str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    output = tmp_path / "output"
    with output.open("w") as file:  # not a pipe, which the workers would keep open
        subprocess.run(run, env=environment, stdout=file, stderr=subprocess.DEVNULL, timeout=100)
    pids = [int(word) for word in output.read_text().split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.05)


def test_what_is_left_comes_in_the_batches_and_places_of_the_whole(folder):
    source = VideoFolder(folder)
    whole = list(batches(source, PROTOCOL, 3))
    left = list(batches(source, PROTOCOL, 3, indices=[6, 2, 1]))
    assert [batch.indices.tolist() for batch in left] == [[-1, 1, 2], [6, -1, -1]]
    assert [batch.ids for batch in left] == [("", "1.mp4", "2.mp4"), ("6.mp4", "", "")]
    assert [batch.mask.tolist() for batch in left] == [[False, True, False], [True, False, False]]
    assert left[0].failures == whole[0].failures
    np.testing.assert_array_equal(left[0].frames[1], whole[0].frames[1])
    assert not left[0].frames[0].any()
    np.testing.assert_array_equal(left[1].frames, whole[2].frames)
    whole, left = (
        list(batches(source, PROTOCOL, 2, indices=i, shard_index=1, shard_count=2)) for i in (None, range(2, 7))
    )
    assert [batch.indices.tolist() for batch in whole] == [[1, 3], [5, -1]]
    assert [batch.indices.tolist() for batch in left] == [[-1, 3], [5, -1]]
    assert list(batches(source, PROTOCOL, 3, indices=[])) == []
    with pytest.raises(IndexError, match=r"expected numbers of videos in 0\.\.6, got 2\.\.7"):
        next(batches(source, PROTOCOL, 3, indices=[7, 2]))


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_processes_share_a_source_evenly(folder, count):
    source = VideoFolder(folder)
    shares = []
    for index in range(count):
        loaded = list(batches(source, PROTOCOL, 2, shard_index=index, shard_count=count))
        shares.append([video for batch in loaded for video in batch.indices.tolist() if video >= 0])
        assert len(loaded) == -(-len(shares[-1]) // 2)
    assert [share[:2] for share in shares][:1] == [[0, count] if count < 7 else [0]]
    assert sorted(video for share in shares for video in share) == list(range(7))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


class Counting:
    """A source that counts how far ahead of the consumer it is read, and fails at one index."""

    heads = ()
    class_names: dict = {}  # noqa: RUF012

    def __init__(self, path, length):
        self.path, self.length, self.read, self.lock = path, length, 0, threading.Lock()

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        with self.lock:
            self.read += 1
        if index == 3:
            raise VideoError("record 3", "its checksum is wrong")
        return VideoItem(str(index), self.path)


def test_memory_is_bounded_and_an_early_stop_ends_the_work(tmp_path, frames, encode):
    source = Counting(encode(tmp_path / "a.mp4", frames(5)), 50)
    iterator = batches(source, PROTOCOL, 2, num_threads=2, prefetch=3)
    for taken in range(1, 6):
        next(iterator)
        assert source.read <= 2 * taken + 3
    iterator.close()
    assert source.read <= 2 * 5 + 3


def test_a_source_that_fails_to_read_a_record(tmp_path, frames, encode):
    source = Counting(encode(tmp_path / "a.mp4", frames(5)), 4)
    (batch,) = batches(source, PROTOCOL, 4)
    assert batch.mask.tolist() == [True, True, True, False]
    assert batch.failures == (Failure("record 3", "its checksum is wrong"),)


def test_numbers_that_are_too_small(folder):
    for name, value in {
        "batch_size": 0,
        "num_threads": -1,
        "num_workers": -1,
        "prefetch": 0,
        "shard_index": -1,
    }.items():
        with pytest.raises(UserError, match=f"{name} is {value}, expected at least"):
            next(batches(VideoFolder(folder), PROTOCOL, **{"batch_size": 2, name: value}))
    with pytest.raises(UserError, match="shard_index is 2, expected less than shard_count, 2"):
        next(batches(VideoFolder(folder), PROTOCOL, 2, shard_index=2, shard_count=2))
