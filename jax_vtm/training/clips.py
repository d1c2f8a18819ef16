"""Training clips of a source of videos, batch by batch: which video comes when, and its share of every host.

Epochs follow each other without a gap: in each of them every video comes once, in an order of its own, and then
`repeats` times in a row. What a clip is follows from the seed, the epoch, the video's number and the repeat alone. So a
run that goes on after a stop, or on more hosts, or with more threads, sees the clips that it would have seen.
"""

import functools
import sys
from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64, Shaped

from jax_vtm.data import ClipProtocol, VideoSource
from jax_vtm.data.augmentation.clip import training_clips
from jax_vtm.data.augmentation.settings import Augmentation
from jax_vtm.data.loading import Failure, Loaded, attempt, in_order
from jax_vtm.errors import UserError

_ENDLESS = 2**62


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
        failures: The videos that could not be read so far, by id; each is said on standard error once.

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
        self._ahead: tuple[tuple[int, int], Generator[ClipBatch]] | None = None
        self.failures: dict[str, Failure] = {}

    def __call__(self, step: int, batch_size: int) -> ClipBatch:
        """Returns this host's part of one step's batch; `batch_size` is that of all hosts.

        The step decides what is in it. The batches of the following steps are prepared from then on, so that these are
        the ones to ask for next. To be called by one thread at a time.

        Raises:
            UserError: The batch does not divide over the hosts, or a host's part into videos with all repeats.
        """
        if self._ahead is None or self._ahead[0] != (step, batch_size):
            self.close()
            self._ahead = (step, batch_size), self._batches(step, batch_size)
        batches = self._ahead[1]
        self._ahead = (step + 1, batch_size), batches
        return next(batches)

    @property
    def per_epoch(self) -> int:
        """Clips in an epoch, repeats included."""
        return len(self._source) * self._augmentation.repeats

    def close(self) -> None:
        """Ends the threads or processes that prepare what comes next."""
        if self._ahead is not None:
            self._ahead[1].close()
        self._ahead = None

    def _batches(self, first: int, batch_size: int) -> Generator[ClipBatch]:
        repeats = self._augmentation.repeats
        if batch_size < 1 or batch_size % (self._num_hosts * repeats):
            raise UserError(
                f"the batch has {batch_size} clips; expected a multiple of {self._num_hosts * repeats}: on each of "
                f"{self._num_hosts} hosts, {repeats} of every video (repeats)."
            )
        per_host = batch_size // self._num_hosts // repeats
        # Not to hold `self`, which is not sent to worker processes.
        source, seed, host, num_hosts = self._source, self._seed, self._host, self._num_hosts
        make = functools.partial(training_clips, protocol=self._protocol, augmentation=self._augmentation)

        def load(number: int) -> Loaded | Failure:
            step, place = divmod(int(number), per_host)
            epoch, index = video_at(seed, len(source), ((first + step) * num_hosts + host) * per_host + place)
            return attempt(
                source, index, lambda item: Loaded(item.id, item.labels, make(item, key=(seed, epoch, index)))
            )

        loaded = in_order(load, _ENDLESS, *self._loading)
        while True:
            yield self._assemble([next(loaded) for _ in range(per_host)])

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
            self.failures[failure.id] = failure
            print(f"warning: video {failure.id} is not trained on: {failure.reason}", file=sys.stderr)


def video_at(seed: int, count: int, place: int) -> tuple[int, int]:
    """Returns the epoch and the number of the video at a place in the sequence of all epochs of `count` videos."""
    epoch, position = divmod(place, count)
    return epoch, int(_order(seed, epoch, count)[position])


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> Int64[np.ndarray, " n"]:
    return np.random.default_rng((seed, epoch)).permutation(count)
