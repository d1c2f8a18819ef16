"""One compiled model timed from three places on: clips on the device, in the host's memory, in encoded files.

What is timed ends when the logits are there: on the device in the first scope, in the host's memory in the others.
"""

import collections
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from jax_vtm.benchmarks.videos import EncodedVideo, copies
from jax_vtm.data import ClipProtocol, VideoFolder, batches
from jax_vtm.errors import UserError
from jax_vtm.models.patch_embedding import folded

SCOPES = ("forward", "host_to_device", "end_to_end")

# Frames of a clip are this far apart in its video.
STRIDE = 2

# Batches on their way to the device, as in an evaluation.
IN_FLIGHT = 2

Run = Callable[[Any], Any]
"""Frames [B, T, H, W * 3] of 0 to 255 on the device -> logits, not waited for."""


def forward(run: Run, frames: jax.Array) -> Callable[[], object]:
    """The model on frames that lie on the device."""
    return lambda: jax.block_until_ready(run(frames))


def host_to_device(run: Run, frames: UInt8[np.ndarray, "B T H W 3"], device: Any) -> Callable[[], object]:
    """From frames in the host's memory: sent, classified; logits come back."""
    return lambda: jax.device_get(run(_sent(frames, device)))


def end_to_end(
    run: Run, path: pathlib.Path, shape: tuple[int, int, int, int], batch: int, videos: int, device: Any, threads: int
) -> tuple[Callable[[], object], int]:
    """From an encoded video: the loader of an evaluation decodes ahead while the device works.

    The video is read again and again, as clips of a shape (T, H, W, 3) whose height and width are equal, at least
    `videos` times, and as often as fills batches.

    Returns:
        What goes through the videos once, and how many clips it sees.
    """
    protocol = ClipProtocol(shape[0], STRIDE, short_side=video_for(shape).height, crop=shape[1])
    count = -(-max(videos, IN_FLIGHT * batch) // batch) * batch
    source = VideoFolder(copies(path, count))

    def through() -> None:
        waiting: collections.deque = collections.deque()
        for loaded in batches(source, protocol, batch, num_threads=threads, prefetch=2 * batch):
            if loaded.failures:
                raise UserError(f"{path}: {loaded.failures[0].reason}. Remove it, and it is written anew.")
            waiting.append(run(_sent(loaded.frames[:, 0], device)))
            if len(waiting) == IN_FLIGHT:
                jax.device_get(waiting.popleft())
        while waiting:
            jax.device_get(waiting.popleft())

    return through, count


def _sent(frames: UInt8[np.ndarray, "B T H W 3"], device: Any) -> UInt8[jax.Array, "B T H X"]:
    return jax.device_put(frames.reshape(folded(frames.shape)), device)


def video_for(shape: tuple[int, int, int, int]) -> EncodedVideo:
    """A video like those of Kinetics, in proportion to what a model takes: 10 s of 256 x 340 pixels for 224.

    Raises:
        UserError: The clips are not square.
    """
    frames, size, width, _ = shape
    if size != width:
        raise UserError(f"videos are cut to squares; the model takes {size} x {width} pixels. Leave out 'end_to_end'.")
    height = 2 * round(size * 8 / 7 / 2)
    width = 2 * round(height * 340 / 256 / 2)
    seconds = max(10, -(-frames * STRIDE // 30))
    name = f"{height}x{width}x{seconds}s.mp4"
    return EncodedVideo(name, "libx264", {"preset": "veryfast"}, fps=30, seconds=seconds, height=height, width=width)
