"""Training clips of a source of videos, batch by batch: which video comes when, and its share of every host.

Epochs follow each other without a gap: in each of them every video comes once, in an order of its own, and then
`repeats` times in a row. What a clip is follows from the seed, the epoch, the video's number and the repeat alone. So a
run that goes on after a stop, or on more hosts, or with more threads, sees the clips that it would have seen.
"""

import functools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64, Shaped

from jax_vtm.data import ClipProtocol, VideoSource
from jax_vtm.data.augmentation.clip import training_clips
from jax_vtm.data.augmentation.settings import Augmentation
from jax_vtm.data.loading import Failure, Loaded, attempt, in_order
from jax_vtm.errors import UserError


class ClipBatch(NamedTuple):
    """Clips of one step.

    Attributes:
        video: uint8 0..255, or float32 normalised.
        labels: Class indices by head; -1 where the video failed.
        mask: 1 where there is a clip, 0 where its video could not be read: it counts for nothing.
    """

    video: Shaped[np.ndarray, "B T H W 3"]
    labels: Mapping[str, Int32[np.ndarray, " B"]]
    mask: Float32[np.ndarray, " B"]


class TrainingClips:
    """Batches of augmented clips.

    Attributes:
        failures: Reasons by id of the videos that could not be read so far; each is said on standard error once.

    Args:
        source: The videos, labelled.
        protocol: How frames are sampled, to what size they are brought and how they are normalised.
        augmentation: What is changed at random.
        seed: Of the order and of the augmentation.
        host: Which of `num_hosts` this is, from 0; each gets an equal part of every batch, one after the other.
        num_threads, num_workers, prefetch: As of `data.batches`; at most `prefetch` videos' clips wait in memory, and
            one batch.

    Raises:
        UserError: No videos or no labels, a negative seed, or frames can come out smaller than the model's.
    """

    def __init__(
        self,
        source: VideoSource,
        protocol: ClipProtocol,
        augmentation: Augmentation,
        *,
        seed: int = 0,
        host: int = 0,
        num_hosts: int = 1,
        num_threads: int = 4,
        num_workers: int = 0,
        prefetch: int = 8,
    ):
        if not source.heads or not len(source):
            raise UserError(f"the training data have {len(source)} videos with {len(source.heads)} labels each")
        if seed < 0:
            raise UserError(f"the seed of training is {seed}, expected a number of at least 0")
        augmentation.check_fits(protocol)
        self._source, self._protocol, self._augmentation, self._seed = source, protocol, augmentation, seed
        self._host, self._num_hosts = host, num_hosts
        self._loading = num_threads, num_workers, prefetch
        self.failures: dict[str, str] = {}

    def __call__(self, step: int, batch_size: int) -> ClipBatch:
        """Returns this host's part of one step's batch; `batch_size` is that of all hosts."""
        return next(self.batches(step, step + 1, batch_size))

    def batches(self, first: int, stop: int, batch_size: int) -> Iterator[ClipBatch]:
        """Gives this host's parts of the batches of the steps from `first` to before `stop`, prepared ahead.

        Raises:
            UserError: The batch does not divide over the hosts, or a host's part into videos with all repeats.
        """
        repeats = self._augmentation.repeats
        if batch_size < 1 or batch_size % (self._num_hosts * repeats):
            raise UserError(
                f"the batch has {batch_size} clips; expected a multiple of {self._num_hosts * repeats}: on each of "
                f"{self._num_hosts} hosts, {repeats} of every video (repeats)."
            )
        per_host = batch_size // self._num_hosts // repeats

        def load(number: int) -> Loaded | Failure:
            step, place = divmod(int(number), per_host)
            epoch, index = self.video_at(((first + step) * self._num_hosts + self._host) * per_host + place)
            key = self._seed, epoch, index
            make = functools.partial(training_clips, protocol=self._protocol, augmentation=self._augmentation, key=key)
            return attempt(self._source, index, lambda item: Loaded(item.id, item.labels, make(item)))

        loaded = in_order(load, (stop - first) * per_host, *self._loading)
        for _ in range(first, stop):
            yield self._assemble([next(loaded) for _ in range(per_host)])

    def video_at(self, place: int) -> tuple[int, int]:
        """Returns the epoch and the video's number of a place in the sequence of all videos, repeats aside."""
        epoch, position = divmod(place, len(self._source))
        return epoch, int(_order(self._seed, epoch, len(self._source))[position])

    def _assemble(self, videos: Sequence[Loaded | Failure]) -> ClipBatch:
        repeats, protocol = self._augmentation.repeats, self._protocol
        count = len(videos) * repeats
        dtype = np.uint8 if self._augmentation.is_whole else np.float32
        video = np.zeros((count, *protocol.views_shape[1:]), dtype)
        labels = {head: np.full(count, -1, np.int32) for head in self._source.heads}
        mask = np.zeros(count, np.float32)
        for number, found in enumerate(videos):
            rows = slice(number * repeats, (number + 1) * repeats)
            if isinstance(found, Failure):
                self._note(found)
                continue
            for head, values in labels.items():
                values[rows] = found.labels[head]
            video[rows], mask[rows] = found.frames, 1
        return ClipBatch(video, labels, mask)

    def _note(self, failure: Failure) -> None:
        if failure.id not in self.failures:
            self.failures[failure.id] = failure.reason
            print(f"warning: video {failure.id} is not trained on: {failure.reason}", file=sys.stderr)


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> Int64[np.ndarray, " n"]:
    return np.random.default_rng((seed, epoch)).permutation(count)


class Waiting:
    """Goes through an iterator and adds up how long each next one had to be waited for.

    While the devices still work on the step before, waiting costs them nothing: the share is the most that they waited.
    """

    def __init__(self, iterator: Iterator):
        self._iterator, self._started, self.waited_s = iterator, time.monotonic(), 0.0

    def __iter__(self) -> Iterator:
        return self

    def __next__(self):
        asked = time.monotonic()
        try:
            return next(self._iterator)
        finally:
            self.waited_s += time.monotonic() - asked

    @property
    def share(self) -> float:
        """Of the time since the beginning, 0 to 1."""
        return self.waited_s / max(time.monotonic() - self._started, 1e-9)
