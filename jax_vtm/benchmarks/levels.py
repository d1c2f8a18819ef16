"""One compiled model at three distances from a film: on the device, from the host's memory, from encoded files.

What is timed ends when the logits are there: on the device at the first level, in the host's memory at the others.
"""

import collections
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from jax_vtm.benchmarks.program import compiled
from jax_vtm.data import ClipProtocol, VideoFolder, batches
from jax_vtm.data.films import FilmFile, copies, write_film
from jax_vtm.data.spatial import HALF
from jax_vtm.errors import UserError
from jax_vtm.evaluation.normalising import normaliser
from jax_vtm.files import make_folder, writing

LEVELS = ("model", "transfer", "decoding")

# Frames of a clip are this far apart in its film.
STRIDE = 2

# Batches on their way to the device, as in an evaluation.
IN_FLIGHT = 2

Run = Callable[[Any], Any]
"""Float video [B, T, H, W, 3] on the device -> logits, not waited for."""


def model_alone(run: Run, video: jax.Array) -> Callable[[], object]:
    """The model on a video that lies on the device."""
    return lambda: jax.block_until_ready(run(video))


def with_transfer(run: Run, frames: UInt8[np.ndarray, "B T H W 3"], device: Any) -> Callable[[], object]:
    """From uint8 frames in the host's memory: sent, normalised on the device, looked at; logits come back."""
    normalise = compiled(normaliser(HALF, HALF), jax.device_put(frames, device)).run
    return lambda: jax.device_get(run(normalise(jax.device_put(frames, device))))


def with_decoding(
    run: Run, folder: pathlib.Path, shape: tuple[int, int, int, int], batch: int, videos: int, device: Any, threads: int
) -> tuple[Callable[[], object], int]:
    """From encoded films: the loader of an evaluation decodes ahead while the device works.

    Args:
        run: The model.
        folder: Where films are kept; they are written if they are not there.
        shape: (T, H, W, 3) of a clip; height and width are equal.
        batch: Clips at a time.
        videos: Films to go through at least; what fills batches is gone through.
        device: Where the model is.
        threads: Threads that decode.

    Returns:
        What goes through the films once, and how many clips it sees.

    Raises:
        UserError: The clips are not square.
    """
    frames, height, width, _ = shape
    if height != width:
        raise UserError(f"films are cut to squares; the model takes {height} x {width} pixels. Leave out 'decoding'.")
    film = film_for(frames, height)
    path = folder / film.file
    if not path.exists():
        make_folder(folder)
        with writing(path):
            write_film(path, film)
    protocol = ClipProtocol(frames, STRIDE, short_side=film.height, crop=height)
    count = -(-max(videos, IN_FLIGHT * batch) // batch) * batch
    with writing(path):
        source = VideoFolder(copies(path, count))
    frames = np.zeros((batch, *shape), np.uint8)
    normalise = compiled(normaliser(HALF, HALF), jax.device_put(frames, device)).run

    def through() -> None:
        waiting: collections.deque = collections.deque()
        for loaded in batches(source, protocol, batch, num_threads=threads, prefetch=2 * batch):
            if loaded.failures:
                raise UserError(f"{path}: {loaded.failures[0].reason}. Remove it, and it is written anew.")
            waiting.append(run(normalise(jax.device_put(loaded.frames[:, 0], device))))
            if len(waiting) == IN_FLIGHT:
                jax.device_get(waiting.popleft())
        while waiting:
            jax.device_get(waiting.popleft())

    return through, count


def film_for(frames: int, size: int) -> FilmFile:
    """A film like those of Kinetics, in proportion to what a model takes: 10 s of 256 x 340 pixels for 224."""
    height = 2 * round(size * 8 / 7 / 2)
    width = 2 * round(height * 340 / 256 / 2)
    seconds = max(10, -(-frames * STRIDE // 30))
    name = f"{height}x{width}x{seconds}s.mp4"
    return FilmFile(name, "libx264", {"preset": "veryfast"}, fps=30, seconds=seconds, height=height, width=width)
