"""Batches of clips from a source, decoded in parallel and delivered in the source's order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32, Shaped

from jax_vtm.data.protocol import ClipProtocol, load_grey_levels
from jax_vtm.data.source import VideoError, VideoSource
from jax_vtm.errors import UserError


@dataclass(frozen=True)
class Failure:
    """A video that could not be used.

    Attributes:
        id: The video's id.
        reason: What is wrong with it, in plain words.
    """

    id: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """`B` places, one for each of `B` consecutive videos of a source.

    A place is empty where its video failed, and at the end of the last batch. Empty places hold zeros, which
    mean
    nothing: `mask` says which places count.

    Attributes:
        views: Pixels as the model takes them.
        mask: True where there is a video.
        labels: Class indices by head; -1 at empty places.
        ids: The videos' ids, of failed ones too; empty strings after the last video.
        indices: The videos' numbers in the source; -1 after the last video.
        failures: The videos of this batch that could not be used.
    """

    views: Float32[np.ndarray, "B views T H W 3"]
    mask: Bool[np.ndarray, " B"]
    labels: Mapping[str, Int32[np.ndarray, " B"]]
    ids: tuple[str, ...]
    indices: Int32[np.ndarray, " B"]
    failures: tuple[Failure, ...]


def batches(
    source: VideoSource, protocol: ClipProtocol, batch_size: int, *, num_threads: int = 4, prefetch: int = 8
) -> Iterator[Batch]:
    """Goes once through a source, in its order.

    There are `ceil(len(source) / batch_size)` batches, all of the same shape, whatever fails. Every video is
    either in a batch's `mask` or in its `failures`, exactly once.

    Args:
        source: The videos.
        protocol: How a video becomes views.
        batch_size: Videos per batch, B.
        num_threads: Threads that decode; 0 decodes in the calling thread.
        prefetch: Videos that are decoded ahead at most. Each one held takes `views * T * H * W * 3` bytes, or
            four times as many if the protocol does not round grey levels. Fewer than `num_threads` leave threads
            idle.

    Yields:
        Batches.

    Raises:
        UserError: A number is too small.
    """
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("num_threads", num_threads, 0),
        ("prefetch", prefetch, 1),
    ):
        if value < least:
            raise UserError(f"{name} is {value}, expected at least {least}")
    loaded = _in_order(source, protocol, num_threads, prefetch)
    for start in range(0, len(source), batch_size):
        indices = range(start, min(start + batch_size, len(source)))
        yield _assemble([next(loaded) for _ in indices], indices, source.heads, protocol, batch_size)


@dataclass(frozen=True)
class _Loaded:
    """One video's way through a decoding thread: grey levels, or the reason why there are none."""

    id: str
    labels: Mapping[str, int]
    grey_levels: Shaped[np.ndarray, "views T H W 3"] | None
    reason: str = ""


def _load(source: VideoSource, index: int, protocol: ClipProtocol) -> _Loaded:
    item = None
    try:
        item = source[index]
        return _Loaded(item.id, item.labels, load_grey_levels(item, protocol))
    except VideoError as error:
        # An exception would end the whole run for one broken file; it travels on as a value instead.
        return _Loaded(item.id if item else error.name, {}, None, error.reason)


def _in_order(source: VideoSource, protocol: ClipProtocol, num_threads: int, prefetch: int) -> Iterator[_Loaded]:
    import grain  # imports jax, which takes seconds and which this package otherwise does without

    dataset = grain.MapDataset.range(len(source)).map(lambda index: _load(source, int(index), protocol))
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch)
    iterator = iter(dataset.to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()


def _assemble(
    loaded: Sequence[_Loaded],
    indices: Sequence[int],
    heads: Sequence[str],
    protocol: ClipProtocol,
    batch_size: int,
) -> Batch:
    views = np.zeros((batch_size, *protocol.views_shape), np.float32)
    mask = np.zeros(batch_size, bool)
    labels = {head: np.full(batch_size, -1, np.int32) for head in heads}
    padded_indices = np.full(batch_size, -1, np.int32)
    padded_indices[: len(indices)] = indices
    failures = []
    for place, video in enumerate(loaded):
        if video.grey_levels is None:
            failures.append(Failure(video.id, video.reason))
            continue
        views[place] = protocol.normalise(video.grey_levels)
        mask[place] = True
        for head in heads:
            labels[head][place] = video.labels[head]
    ids = tuple(video.id for video in loaded) + ("",) * (batch_size - len(loaded))
    return Batch(views, mask, labels, ids, padded_indices, tuple(failures))
