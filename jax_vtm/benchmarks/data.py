"""`python main.py benchmark_data`: how fast videos become clips, beside plain PyAV and decord in the same run.

All three deliver the same: the protocol's frames, scaled, cropped and in the order of views; where a whole loader is
timed, also in batches. PyAV and decord scale by libav, though, and not to the pixel values of the library
that a model was trained with.

CPU time hardly depends on what else the machine does; videos per second do, and who has more threads gets a larger
share of a busy machine. So both are told, and the load.
"""

import collections
import functools
import importlib.metadata
import itertools
import json
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import av
import numpy as np
from jaxtyping import Int64, UInt8

from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, VideoFolder, VideoInfo, VideoItem, batches, load_frames
from jax_vtm.data.films import FilmFile, copies, write_film
from jax_vtm.data.spatial import GEOMETRIES, crop_corners, short_side_shape
from jax_vtm.errors import SUCCESS
from jax_vtm.files import make_folder, write_text, writing

ROUNDS = 7
LOADED_VIDEOS = 24
BATCH_SIZE = 4
PREFETCH = 8


@dataclass(frozen=True)
class Film(FilmFile):
    """A kind of video: what a data set's files are like, and which clips are taken of them."""

    name: str
    protocol: ClipProtocol


FILMS = (
    Film(
        "kinetics.mp4",
        "libx264",
        {"preset": "veryfast"},
        fps=30,
        seconds=10,
        height=256,
        width=340,
        name="Kinetics-like, 1 clip",
        protocol=ClipProtocol(32, 2, short_side=256, crop=224),
    ),
    Film(
        "kinetics.mp4",
        "libx264",
        {"preset": "veryfast"},
        fps=30,
        seconds=10,
        height=256,
        width=340,
        name="Kinetics-like, 4x3 views",
        protocol=ClipProtocol(32, 2, short_side=256, crop=224, num_clips=4, num_crops=3),
    ),
    Film(
        "something.webm",
        "libvpx-vp9",
        {"cpu-used": "8"},
        fps=12,
        seconds=4,
        height=240,
        width=427,
        name="Something-like, 1 clip",
        protocol=ClipProtocol(16, 2, short_side=224, crop=224),
    ),
    Film(
        "epic.mp4",
        "libx264",
        {"preset": "veryfast"},
        fps=50,
        seconds=20,
        height=256,
        width=456,
        name="EPIC-like, 1 clip",
        protocol=ClipProtocol(32, 2, short_side=224, crop=224),
    ),
)


def run(
    config: Config,
    workdir: pathlib.Path,
    films: Sequence[Film] = FILMS,
    rounds: int = ROUNDS,
    loaded_videos: int = LOADED_VIDEOS,
) -> int:
    """Measures, prints a table and writes `workdir/benchmark_data.json`.

    Args:
        config: Not used: what is read and how is said by the films.
        workdir: Where films are kept and results go.
        films: What is read.
        rounds: How often each is timed.
        loaded_videos: Videos that a loader goes through.

    Returns:
        The exit code.
    """
    folder = make_folder(workdir / "films")
    readers = {"PyAV": _plain_pyav, **_decord()}
    threads = os.cpu_count() or 1
    rows, load_before = [], os.getloadavg()[0]
    for film in films:
        path = folder / film.file
        if not path.exists():
            print(f"writing {path}", file=sys.stderr)
            with writing(path):
                write_film(path, film)
        read = {"jax_vtm": _ours, **readers}
        decoding, _ = _interleaved(
            {name: functools.partial(reader, path, film.protocol) for name, reader in read.items()}, rounds
        )
        loaders = _loaders(VideoFolder(copies(path, loaded_videos)), film.protocol, readers, threads)
        loading, loading_wall = _interleaved(loaders, rounds)
        rows.append(
            {
                "film": film.name,
                "protocol": asdict(film.protocol),
                "decoding_cpu_ms_per_video": _ms_per_video(decoding, 1),
                "decoding_over_best_other": _over_best_other(decoding),
                "loading_cpu_ms_per_video": _ms_per_video(loading, loaded_videos),
                "loading_over_best_other": _over_best_other(loading),
                "loading_videos_per_s": {name: loaded_videos / float(np.median(s)) for name, s in loading_wall.items()},
                "loading_wall_over_best_other": _over_best_other(loading_wall),
            }
        )
        print(_line(rows[-1]))
    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": threads,
        "load_before_and_after": [load_before, os.getloadavg()[0]],
        **_versions(readers),
    }
    write_text(workdir / "benchmark_data.json", json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    return SUCCESS


def _versions(readers: Mapping[str, Any]) -> dict[str, str]:
    packages = ["av", "numpy", *(name for name in readers if name != "PyAV")]
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def _line(row: dict[str, Any]) -> str:
    def told(values: dict[str, float]) -> str:
        return ", ".join(f"{name} {value:.1f}" for name, value in values.items())

    return (
        f"{row['film']}\n"
        f"  decoding, CPU ms per video: {told(row['decoding_cpu_ms_per_video'])}; "
        f"{row['decoding_over_best_other']:.2f} times the speed of the best other\n"
        f"  loading, CPU ms per video: {told(row['loading_cpu_ms_per_video'])}; "
        f"{row['loading_over_best_other']:.2f} times the speed of the best other\n"
        f"  loading, videos/s: {told(row['loading_videos_per_s'])}; "
        f"{row['loading_wall_over_best_other']:.2f} times the speed of the best other"
    )


Seconds = dict[str, list[float]]


def _interleaved(actions: dict[str, Callable[[], Any]], rounds: int) -> tuple[Seconds, Seconds]:
    """Seconds of every action, of the process and of the clock on the wall.

    Rounds of one after the other: so a slow moment hits all alike.
    """
    cpu: Seconds = {name: [] for name in actions}
    wall: Seconds = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            cpu_start, wall_start = time.process_time(), time.perf_counter()
            action()
            cpu[name].append(time.process_time() - cpu_start)
            wall[name].append(time.perf_counter() - wall_start)
    return cpu, wall


def _ms_per_video(seconds: Seconds, num_videos: int) -> dict[str, float]:
    return {name: 1e3 * float(np.median(values)) / num_videos for name, values in seconds.items()}


def _over_best_other(seconds: Seconds) -> float:
    """The median over rounds of the fastest other's time over ours."""
    others = np.array([values for name, values in seconds.items() if name != "jax_vtm"])
    return float(np.median(others.min(axis=0) / np.array(seconds["jax_vtm"])))


def _ours(path: pathlib.Path, protocol: ClipProtocol) -> UInt8[np.ndarray, "views T H W 3"]:
    return load_frames(VideoItem(path.name, path), protocol)


def _plain_pyav(path: pathlib.Path, protocol: ClipProtocol) -> UInt8[np.ndarray, "views T H W 3"]:
    """The views by PyAV alone, scaled by libav, decoded from the start to the last frame wanted."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count, stream.thread_type = 1, "NONE"
        assert stream.average_rate is not None
        fps = float(stream.average_rate)
        # WebM states no number of frames; its duration has to do.
        count = stream.frames or round((container.duration or 0) / av.time_base * fps)
        clips = protocol.frame_numbers(VideoInfo(count, fps))
        height, width = short_side_shape(stream.height, stream.width, protocol.short_side)
        wanted = {int(number) for number in clips.reshape(-1)}
        kept: dict[int, np.ndarray] = {}
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                kept[number] = frame.to_ndarray(format="rgb24", width=width, height=height)
            if len(kept) == len(wanted):
                break
        return _views(kept, clips, protocol)


def _decord() -> dict[str, Callable[[pathlib.Path, ClipProtocol], UInt8[np.ndarray, "views T H W 3"]]]:
    """The same by decord, if it is installed."""
    try:
        import decord  # pyright: ignore[reportMissingImports]
    except ImportError:
        print("decord is not installed; `pip install decord` adds it to the comparison", file=sys.stderr)
        return {}

    def read(path: pathlib.Path, protocol: ClipProtocol) -> UInt8[np.ndarray, "views T H W 3"]:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            height, width = short_side_shape(stream.height, stream.width, protocol.short_side)
        reader = decord.VideoReader(str(path), num_threads=1, width=width, height=height)
        clips = protocol.frame_numbers(VideoInfo(len(reader), reader.get_avg_fps()))
        wanted = np.unique(clips).tolist()
        frames = reader.get_batch(wanted).asnumpy()
        return _views(dict(zip(wanted, frames, strict=True)), clips, protocol)

    return {"decord": read}


def _views(
    frames: Mapping[int, np.ndarray], clips: Int64[np.ndarray, "clips T"], protocol: ClipProtocol
) -> UInt8[np.ndarray, "views T H W 3"]:
    """Crops scaled frames; views are in the order of `load_frames`."""
    shape, size = next(iter(frames.values())).shape[:2], protocol.crop
    geometry = GEOMETRIES[protocol.resize]
    corners = crop_corners(shape, size, protocol.num_crops, geometry, protocol.single_crop)
    views = np.empty(protocol.views_shape, np.uint8)
    for view, ((y, x), clip) in zip(views, itertools.product(corners, clips.tolist()), strict=True):
        for place, number in enumerate(clip):
            view[place] = frames[number][y : y + size, x : x + size]
    return views


def _loaders(
    source: VideoFolder, protocol: ClipProtocol, readers: Mapping[str, Callable], threads: int
) -> dict[str, Callable[[], Any]]:
    """Our loader, and a plain pool of as many threads around each other reader."""

    def ours() -> None:
        for batch in batches(source, protocol, BATCH_SIZE, num_threads=threads, prefetch=PREFETCH):
            assert not batch.failures

    def pooled(read: Callable) -> None:
        def load(index: int) -> UInt8[np.ndarray, "views T H W 3"]:
            return read(source[index].video, protocol)

        with ThreadPoolExecutor(threads) as pool:
            for number, views in enumerate(_ahead(pool, load, len(source))):
                if number % BATCH_SIZE == 0:
                    batch = np.empty((BATCH_SIZE, *protocol.views_shape), np.uint8)
                batch[number % BATCH_SIZE] = views

    return {"jax_vtm": ours, **{name: functools.partial(pooled, read) for name, read in readers.items()}}


def _ahead(pool: ThreadPoolExecutor, load: Callable[[int], np.ndarray], count: int) -> Iterator[np.ndarray]:
    """What a function returns for 0, 1 and so on, in this order; `PREFETCH` of them are asked for in advance."""
    asked_for: collections.deque = collections.deque()
    for index in range(count):
        if len(asked_for) == PREFETCH:
            yield asked_for.popleft().result()
        asked_for.append(pool.submit(load, index))
    while asked_for:
        yield asked_for.popleft().result()
