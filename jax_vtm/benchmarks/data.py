"""Decoding and loading, next to plain PyAV and decord in the same run (`benchmark.what=data`).

All three deliver the same: the protocol's frames, scaled, cropped and in the order of views; where a whole loader is
timed, also in batches. PyAV and decord scale by libav, though, and not to the pixels of the library that a model was
trained with.

CPU time hardly depends on what else the machine does; videos per second do, and who has more threads gets a larger
share of a busy machine. So both are told, and the load.
"""

import collections
import functools
import importlib.metadata
import itertools
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import av
import numpy as np
from jaxtyping import Int64, UInt8

from jax_vtm.benchmarks.report import Report, Row
from jax_vtm.benchmarks.videos import FOLDER, EncodedVideo, copies, written_video
from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, VideoFolder, VideoInfo, VideoItem, batches, load_frames
from jax_vtm.data.spatial import GEOMETRIES, crop_corners, short_side_shape
from jax_vtm.files import AnyPath, on_disk
from jax_vtm.reports import Column
from jax_vtm.reports.formatting import TIMES, factor, number
from jax_vtm.timing import Seconds, interleaved, ratios, spread, timed

BATCH_SIZE = 4
PREFETCH = 8

Reader = Callable[[pathlib.Path, ClipProtocol], UInt8[np.ndarray, "views T H W 3"]]
Rounds = Sequence[Mapping[str, Seconds]]


@dataclass(frozen=True)
class Kind:
    """A kind of video: what a data set's files are like, and which clips are taken of them."""

    name: str
    file: EncodedVideo
    protocol: ClipProtocol


FAST = {"preset": "veryfast"}
KINETICS = EncodedVideo("kinetics.mp4", "libx264", FAST, fps=30, seconds=10, height=256, width=340)
SOMETHING = EncodedVideo("something.webm", "libvpx-vp9", {"cpu-used": "8"}, fps=12, seconds=4, height=240, width=427)
EPIC = EncodedVideo("epic.mp4", "libx264", FAST, fps=50, seconds=20, height=256, width=456)
KINDS = (
    Kind("Kinetics-like, 1 clip", KINETICS, ClipProtocol(32, 2, short_side=256, crop=224)),
    Kind("Kinetics-like, 4x3 views", KINETICS, ClipProtocol(32, 2, short_side=256, crop=224, num_clips=4, num_crops=3)),
    Kind("Something-like, 1 clip", SOMETHING, ClipProtocol(16, 2, short_side=224, crop=224)),
    Kind("EPIC-like, 1 clip", EPIC, ClipProtocol(32, 2, short_side=224, crop=224)),
)


# What is timed, by which clock, and the value of the seconds that one video takes.
MEASURES: dict[str, tuple[str, str, Callable[[float], float]]] = {
    "decoding, CPU ms/video": ("decoding", "cpu", lambda seconds: 1e3 * seconds),
    "loading, CPU ms/video": ("loading", "cpu", lambda seconds: 1e3 * seconds),
    "loading, videos/s": ("loading", "wall", lambda seconds: 1 / seconds),
}


def measure(config: Config, workdir: AnyPath) -> Iterator[dict[str, Any]]:
    """Times all readers on every kind of video, and yields the rows so far; `config.benchmark` says how often."""
    count, videos = config.benchmark.rounds, config.benchmark.videos
    readers = {"PyAV": _plain_pyav, **_decord()}
    versions = {name: importlib.metadata.version({"PyAV": "av"}.get(name, name)) for name in ("numpy", *readers)}
    rows = []
    for kind in KINDS:
        print(f"measuring {kind.name}", file=sys.stderr, flush=True)
        path = written_video(kind.file, on_disk(workdir) / FOLDER)
        read = {"jax_vtm": _ours, **readers}
        decoders = {name: functools.partial(reader, path, kind.protocol) for name, reader in read.items()}
        loaders = _loaders(VideoFolder(copies(path, videos)), kind.protocol, readers, os.cpu_count() or 1)
        taken = {"decoding": (_rounds(decoders, count), 1), "loading": (_rounds(loaders, count), videos)}
        about = {"video": kind.name, "protocol": asdict(kind.protocol)}
        rows += [{**about, **row_of(measure, *taken[what])} for measure, (what, *_) in MEASURES.items()]
        yield {"rounds": count, "rows": rows, "measured": {"machine": versions}}


def _rounds(calls: Mapping[str, Callable[[], object]], count: int) -> Rounds:
    return list(interleaved({name: (timed(call), 1) for name, call in calls.items()}, count))


def row_of(measure: str, rounds: Rounds, videos: int) -> dict[str, Any]:
    """A measure of all readers; the ratio is the median over rounds of the fastest other's seconds over ours."""
    _, clock, value = MEASURES[measure]
    seconds = {name: [getattr(one[name], clock) for one in rounds] for name in rounds[0]}
    values = {name: spread([value(one / videos) for one in found]) for name, found in seconds.items()}
    ours = seconds.pop("jax_vtm")
    best = [min(others) for others in zip(*seconds.values(), strict=True)]
    return {"measure": measure, **values, "over_best_other": spread(ratios(best, ours))}


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


def _decord() -> dict[str, Reader]:
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
        for place, frame in enumerate(clip):
            view[place] = frames[frame][y : y + size, x : x + size]
    return views


def _loaders(
    source: VideoFolder, protocol: ClipProtocol, readers: Mapping[str, Reader], threads: int
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


def _headline(results: Row) -> str:
    said = []
    for what in dict.fromkeys(row["measure"] for row in results["rows"]):
        found = [row["over_best_other"]["median"] for row in results["rows"] if row["measure"] == what]
        said.append(f"{factor(min(found))} to {factor(max(found))} ({what})")
    return f"jax_vtm over the fastest other reader: {', '.join(said)}."


REPORT = Report(
    names=(Column("video", "video"), Column("measure", "measure")),
    columns={
        "Loading": (
            *(Column(name, name, format=number) for name in ("jax_vtm", "PyAV", "decord")),
            Column("over_best_other", "speed to the best other", TIMES, factor, "Median of the rounds' ratios."),
        )
    },
    headline=_headline,
)
