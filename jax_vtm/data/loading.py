"""Batches of clips from a source, decoded in parallel and delivered in the source's order."""

import itertools
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from absl import flags
from jaxtyping import Bool, Int32, Shaped

from jax_vtm.data.protocol import ClipProtocol
from jax_vtm.data.source import VideoError, VideoItem, VideoSource
from jax_vtm.data.views import load_frames
from jax_vtm.errors import UserError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """A video that could not be used: its id, and what is wrong with it in plain words."""

    id: str
    reason: str


def attempt(source: VideoSource, index: int, use: Callable[[VideoItem], Result]) -> Result | Failure:
    """Uses a video of a source. One that is broken or too large must not end the run of all the others."""
    item = None
    try:
        item = source[index]
        return use(item)
    except (VideoError, MemoryError) as error:
        reason = error.reason if isinstance(error, VideoError) else "takes more memory than there is"
        return Failure(item.id if item else getattr(error, "name", str(index)), reason)


@dataclass(frozen=True)
class Batch:
    """`B` places, one for each of `B` consecutive videos of a source or of a process's share of it.

    A place is empty where its video failed or is not asked for, and at the end of the last batch. Empty places hold
    zeros, which mean nothing: `mask` says which places count.

    Attributes:
        frames: The views, not yet normalised: 0..255, uint8, or float32 if the protocol does not round.
        mask: True where there is a video.
        labels: Class indices by head; -1 at empty places.
        ids: The videos' ids, of failed ones too; empty strings where no video is asked for.
        indices: The videos' numbers in the source, of failed ones too; -1 where no video is asked for.
        failures: The videos of this batch that could not be used, in the order of their places.
    """

    frames: Shaped[np.ndarray, "B views T H W 3"]
    mask: Bool[np.ndarray, " B"]
    labels: Mapping[str, Int32[np.ndarray, " B"]]
    ids: tuple[str, ...]
    indices: Int32[np.ndarray, " B"]
    failures: tuple[Failure, ...]


def batches(
    source: VideoSource,
    protocol: ClipProtocol,
    batch_size: int,
    *,
    indices: Iterable[int] | None = None,
    shard_index: int = 0,
    shard_count: int = 1,
    num_threads: int = 4,
    num_workers: int = 0,
    prefetch: int = 8,
) -> Iterator[Batch]:
    """Goes once through a source, or the part of it that is asked for, in its order.

    Every video is either in a batch's `mask` or in its `failures`, exactly once, and all batches are of the same shape,
    whatever fails. A video's batch and place follow from its number in the source alone, not from `indices`: when some
    of the videos are done already, the others come just as they would have come with them. A batch that would be empty
    is left out.

    Args:
        source: The videos.
        protocol: How a video becomes views.
        batch_size: Videos per batch, B.
        indices: Numbers of the videos to load, in any order; None loads all.
        shard_index: Which of `shard_count` processes this is, from 0.
        shard_count: Processes that share the source: process p takes the videos p, p + shard_count, p + 2 *
            shard_count and so on. So the shares differ by one video at most, and none of them gets all the long ones.
        num_threads: Threads that decode; 0 decodes in the calling thread.
        num_workers: Processes that decode instead of threads; the source has to be picklable. libav decodes outside of
            Python's lock, so that threads do until they keep dozens of cores busy; a process takes seconds to start.
        prefetch: Videos that are decoded ahead at most, but two per worker process at least. In memory are the whole
            batches that they belong to, and those that workers have sent.

    Raises:
        UserError: A number is too small.
        IndexError: `indices` names a video that the source does not have.
    """
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("num_threads", num_threads, 0),
        ("num_workers", num_workers, 0),
        ("prefetch", prefetch, 1),
        ("shard_count", shard_count, 1),
        ("shard_index", shard_index, 0),
    ):
        if value < least:
            raise UserError(f"{name} is {value}, expected at least {least}")
    if shard_index >= shard_count:
        raise UserError(f"shard_index is {shard_index}, expected less than shard_count, {shard_count}")

    wanted = sorted(set(range(len(source)) if indices is None else indices))
    if wanted and not 0 <= wanted[0] <= wanted[-1] < len(source):
        raise IndexError(f"expected numbers of videos in 0..{len(source) - 1}, got {wanted[0]}..{wanted[-1]}")
    wanted = [index for index in wanted if index % shard_count == shard_index]
    rows = [list(row) for _, row in itertools.groupby(wanted, lambda index: index // (batch_size * shard_count))]
    places = {index: (number, index // shard_count % batch_size) for number, row in enumerate(rows) for index in row}
    arrays = _BatchArrays((batch_size, *protocol.views_shape), protocol.frame_dtype)
    # Threads write into the batch itself: a video may have tens of megabytes. Processes have no access to it.
    place = None if num_workers else arrays.place

    def load(number: int) -> Loaded | Failure:
        index = wanted[int(number)]
        out = None if place is None else place(*places[index])
        return attempt(source, index, lambda item: Loaded(item.id, item.labels, load_frames(item, protocol, out)))

    loaded = in_order(load, len(wanted), num_threads, num_workers, prefetch)
    for number, row in enumerate(rows):
        videos = {places[index][1]: (index, next(loaded)) for index in row}
        yield _assemble(videos, arrays.take(number), source.heads)


@dataclass(frozen=True)
class Loaded:
    """A video on its way out of a decoding thread or process. Grain would put a bare array into shared memory."""

    id: str
    labels: Mapping[str, int]
    frames: Shaped[np.ndarray, "views T H W 3"]


class _BatchArrays:
    """The arrays of those batches that are being filled, made when the first thread asks for a place in one."""

    def __init__(self, shape: tuple[int, ...], dtype: type[np.generic]):
        self._shape, self._dtype = shape, dtype
        self._arrays: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def place(self, number: int, place: int) -> Shaped[np.ndarray, "views T H W 3"]:
        """Returns a place of a batch, to be written to."""
        with self._lock:
            if number not in self._arrays:
                self._arrays[number] = np.zeros(self._shape, self._dtype)
            return self._arrays[number][place]

    def take(self, number: int) -> Shaped[np.ndarray, "B views T H W 3"]:
        """Returns a batch's array, which is not kept any longer."""
        self.place(number, 0)
        return self._arrays.pop(number)


def in_order(
    load: Callable[[int], Loaded | Failure], count: int, num_threads: int, num_workers: int, prefetch: int
) -> Iterator[Loaded | Failure]:
    """Gives what `load` makes of the numbers from 0, ahead, in threads or processes; ends these when nobody asks."""
    import grain  # imports jax, which takes seconds and which this package otherwise does without

    dataset = grain.MapDataset.range(count).map(load)
    if num_workers:
        # Grain asks for a flag of its own when it starts a process, which fails as long as nobody has parsed any.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS(["jax_vtm"])
        # A worker holds one video in its hands and the others in its queue. They are sent through a pipe: of shared
        # memory a container has 64 MB by default, less than a few videos.
        held = max(2, prefetch // num_workers)
        options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=held - 1)
        ahead = dataset.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)).mp_prefetch(
            options, worker_init_fn=_end_with_parent
        )
    else:
        ahead = dataset.to_iter_dataset(grain.ReadOptions(num_threads, prefetch))
    iterator: Any = iter(ahead)
    try:
        yield from iterator
    finally:
        iterator.close()


def _end_with_parent(worker_index: int, num_workers: int) -> None:
    """Ends a worker process when the one that started it is killed: it would wait for ever to be asked for a video."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _assemble(
    videos: Mapping[int, tuple[int, Loaded | Failure]],
    frames: Shaped[np.ndarray, "B views T H W 3"],
    heads: Sequence[str],
) -> Batch:
    """Makes a batch of the videos by their places, each with its number in the source."""
    batch_size = len(frames)
    mask = np.zeros(batch_size, bool)
    labels = {head: np.full(batch_size, -1, np.int32) for head in heads}
    indices = np.full(batch_size, -1, np.int32)
    ids = [""] * batch_size
    failures = []
    for place, (index, video) in videos.items():
        ids[place], indices[place] = video.id, index
        if isinstance(video, Failure):
            # Half a video may be there.
            frames[place] = 0
            failures.append(video)
            continue
        if not np.may_share_memory(video.frames, frames):
            frames[place] = video.frames
        mask[place] = True
        for head in heads:
            labels[head][place] = video.labels[head]
    return Batch(frames, mask, labels, tuple(ids), indices, tuple(failures))
