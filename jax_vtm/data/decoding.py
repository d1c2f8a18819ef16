"""Decodes the wanted frames of a video, exactly those and no others, with PyAV."""

import io
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from etils import epath
from jaxtyping import Float64, Int, Shaped, UInt8

from jax_vtm.data.file_size import stated_size
from jax_vtm.data.packets import PacketTable
from jax_vtm.data.source import VideoError, VideoFile, VideoInfo

# Before its version 19, PyAV refused a video whose title is not UTF-8; since then it has no such option.
_TOLERANT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}

# Seconds by which a time stamp may miss a round number of seconds through its container's coarse clock.
_SAME_TIME = 5e-4

# libav's plain conversion to RGB: the pixels that PyAV, decord and torchvision give, on which published numbers rest.
# Interpolated chroma (ACCURATE_RND, FULL_CHR_H_INT) would take ten times as long and differ by 1.2 levels on average.
_CONVERSION = Interpolation.BILINEAR


Combine = Callable[[Sequence[np.ndarray]], np.ndarray]
Select = Callable[[VideoInfo], Int[np.ndarray, " T"]]
Span = tuple[float, float] | None
Transform = Callable[[UInt8[np.ndarray, "H W 3"]], np.ndarray] | None


def decode_frames(
    video: VideoFile,
    select: Select,
    *,
    span: Span = None,
    transform: Transform = None,
    combine: Combine = np.stack,
    name: str | None = None,
) -> Shaped[np.ndarray, "..."]:
    """Decodes a video once and keeps the frames that `select` asks for.

    Frames are numbered in the order of display, whatever their time stamps. Rotation and mirroring that the
    container asks for are applied; pixels are taken as square.

    How many frames there are is said by the packets, not by what the container states, which may be absent (WebM)
    or wrong (edit lists). Only the groups of pictures that hold wanted frames are decoded, and of a span only its part
    of the file is read. Where packets and frames do not belong together one by one, everything is decoded and counted.
    In memory are the compressed file (or its span) and the distinct frames selected, after `transform`.

    Args:
        video: The bytes of a video file, or the path of one (local, or any address that epath understands).
        select: Gets the number of frames and their rate, and returns frame numbers in any order, repetitions
            allowed. It may be called again, if the first guess of the number proves wrong.
        span: (start, stop) in seconds from the first frame: the video is taken to consist of the frames shown at
            start <= time < stop alone.
        transform: Applied to each distinct frame as soon as it is decoded, e.g. to make it smaller.
        combine: Makes one array of the selected frames, which all have one size; by default [T, h, w, 3].
        name: What error messages call the video; by default its path.

    Returns:
        RGB frames in the order of the selected numbers, combined.

    Raises:
        VideoError: The video is missing, empty, cut short, damaged, without pictures, or not a video.
        ValueError: `select` returned a number outside the video.
    """
    name = name or (f"of {len(video)} bytes" if isinstance(video, bytes) else os.fspath(video))
    with _plain_errors(name):
        video = _at_hand(video, name)
        frames = _decode_groups(video, select, span, transform, name)
        if frames is None:
            frames = _decode_all(video, select, span, transform, name)
    if len({frame.shape for frame in frames}) > 1:
        raise VideoError(name, "the size of its frames changes on the way")
    return combine(frames)


def _checked(indices: Int[np.ndarray, " T"], num_frames: int) -> list[int]:
    wanted = [int(index) for index in indices]
    if not wanted or min(wanted) < 0 or max(wanted) >= num_frames:
        raise ValueError(f"expected frame numbers in 0..{num_frames - 1}, got {wanted}")
    return wanted


@contextmanager
def _plain_errors(name: str) -> Iterator[None]:
    """Turns what libav and the file system raise into a `VideoError` that says what it means."""
    try:
        yield
    except InvalidDataError as error:
        raise VideoError(name, "cannot be read: it is cut short, damaged or not a video") from error
    except (FFmpegError, OSError, UnicodeError) as error:
        raise VideoError(name, f"cannot be read ({error})") from error


def _at_hand(video: VideoFile, name: str) -> VideoFile:
    """Checks that there is something to decode, and fetches what is not on a local disk."""
    if not isinstance(video, bytes):
        path = epath.Path(video)
        if not path.exists():
            raise VideoError(name, "there is no such file")
        if path.is_dir():
            raise VideoError(name, "is a folder, expected a video file")
        if "://" in os.fspath(path):
            video = path.read_bytes()
    with _stream_of(video) as file:
        stated = stated_size(file)
        size = file.seek(0, io.SEEK_END)
    if size == 0:
        raise VideoError(name, "the file is empty (0 bytes)")
    if stated is not None and size < stated:
        raise VideoError(name, f"the file is cut short: it has {size} of at least {stated} bytes")
    return video


def _stream_of(video: VideoFile) -> io.BufferedIOBase:
    return io.BytesIO(video) if isinstance(video, bytes) else open(video, "rb")


@contextmanager
def _opened(video: VideoFile, name: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its video stream, set to decode in the calling thread."""
    # "file:" and the whitelist: neither a file's name nor its content may send libav to another address.
    file = io.BytesIO(video) if isinstance(video, bytes) else f"file:{os.fspath(video)}"
    with av.open(file, "r", options={"protocol_whitelist": "file"}, **_TOLERANT) as container:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            kinds = sorted({stream.type for stream in container.streams})
            raise VideoError(name, f"there is no video in it, only {' and '.join(kinds) or 'nothing'}")
        stream = streams[0]
        if stream.codec_context is None:
            raise VideoError(name, "there is no decoder for its codec")
        # Videos are decoded in parallel, each in one thread; libav's own threads would compete with those.
        stream.thread_count = 1
        stream.thread_type = "NONE"
        yield container, stream


def _decode_groups(video: VideoFile, select: Select, span: Span, transform: Transform, name: str):
    """Decodes the groups of pictures that hold wanted frames; None where only decoding everything will tell."""
    with _opened(video, name) as (container, stream):
        if stream.time_base is None:
            return None
        clock = float(stream.time_base)
        origin = stream.start_time or 0
        packets = _read(
            container, stream, None if span is None else (origin + span[0] / clock, origin + span[1] / clock)
        )
        table = PacketTable.of(packets)
        if table is None:
            return None
        stamps = table.shown_stamps
        first, stop = _frames_within((stamps - origin) * clock, span, name)
        numbers = _checked(select(VideoInfo(stop - first, _fps(stream))), stop - first)
        wanted = {int(stamps[first + number]): number for number in numbers}
        kept: dict[int, np.ndarray] = {}
        converter = VideoReformatter()
        for run in table.runs(wanted):
            left = wanted.keys() & set(table.stamps[run].tolist()) - kept.keys()
            stream.codec_context.flush_buffers()
            for frame in _frames_of(stream, [packets[place] for place in run]):
                if frame is None or frame.is_corrupt:
                    return None
                if frame.pts in left:
                    left.remove(frame.pts)
                    rgb = _to_rgb(frame, converter, name)
                    kept[wanted[frame.pts]] = rgb if transform is None else transform(rgb)
                if not left:
                    break
        if len(kept) < len(wanted):
            return None
        return [kept[number] for number in numbers]


def _read(container: InputContainer, stream: VideoStream, ticks: tuple[float, float] | None) -> list[av.Packet]:
    """Reads packets: all, or from the last keyframe before a span until nothing of it can follow."""
    if ticks is None:
        return [packet for packet in container.demux(stream) if packet.size > 0]
    for start in (math.floor(ticks[0]), None):
        container.seek(0 if start is None else start, stream=stream, backward=True)
        packets = []
        for packet in container.demux(stream):
            if packet.dts is not None and packet.dts >= ticks[1]:
                break
            if packet.size > 0:
                packets.append(packet)
        # Some files have no index, or a wrong one, and the search ends behind what was asked for.
        if packets and packets[0].is_keyframe and packets[0].pts is not None and packets[0].pts <= ticks[0]:
            break
    return packets


def _frames_of(stream: VideoStream, packets: Sequence[av.Packet]) -> Iterator[VideoFrame | None]:
    """The frames of some packets, in the order of display; None, and no more, at the first that is damaged."""
    try:
        for packet in [*packets, None]:
            yield from stream.codec_context.decode(packet)
    except FFmpegError:
        yield None


def _fps(stream: VideoStream) -> float | None:
    return float(stream.average_rate) if stream.average_rate else None


def _frames_within(shown_at: Float64[np.ndarray, " n"], span: Span, name: str) -> tuple[int, int]:
    """The first frame of a span, and the first after it."""
    if span is None:
        return 0, len(shown_at)
    if np.isnan(shown_at).any():
        raise VideoError(name, "its frames have no time stamps, so that a part of it cannot be found")
    first, stop = (int(np.searchsorted(shown_at, seconds - _SAME_TIME)) for seconds in span)
    if first >= stop:
        raise VideoError(name, f"no frame of it is shown from {span[0]:g} to {span[1]:g} s")
    return first, stop


def _decode_all(video: VideoFile, select: Select, span: Span, transform: Transform, name: str):
    """Decodes everything, twice where the number of frames is not what the packets say."""
    shown_at, fps = _timeline(video, name)
    num_frames = len(shown_at)
    while True:
        first, stop = _frames_within(shown_at[-num_frames:], span, name)
        numbers = _checked(select(VideoInfo(stop - first, fps)), stop - first)
        kept, decoded = _decode(video, {first + number: number for number in numbers}, name, transform)
        if decoded == num_frames:
            return [kept[number] for number in numbers]
        # Decoders swallow some packets, such as those before a file's first keyframe.
        num_frames = decoded


def _timeline(video: VideoFile, name: str) -> tuple[Float64[np.ndarray, " n"], float | None]:
    """When the video's frames should be shown, by its packets: seconds, ascending; and frames per second, if known."""
    with _opened(video, name) as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.size > 0 and not packet.is_discard]
        if not packets:
            raise VideoError(name, "there is not a single frame in it")
        fps = _fps(stream)
        stamps = [packet.pts for packet in packets]
        if stream.time_base is None or None in stamps:
            return np.arange(len(packets)) / (fps or math.nan), fps
        ticks = np.sort(np.array(stamps, np.int64)) - (stream.start_time or 0)
        return ticks * float(stream.time_base), fps


def _decode(
    video: VideoFile, wanted: Mapping[int, int], name: str, transform: Transform
) -> tuple[dict[int, np.ndarray], int]:
    """Decodes all frames; returns the wanted ones under their new numbers, and how many frames there are."""
    kept: dict[int, np.ndarray] = {}
    number = -1
    converter = VideoReformatter()
    with _opened(video, name) as (container, stream):
        for number, frame in enumerate(_frames(container, stream, name)):
            if number in wanted:
                rgb = _to_rgb(frame, converter, name)
                kept[wanted[number]] = rgb if transform is None else transform(rgb)
    if number < 0:
        raise VideoError(name, "there is not a single frame in it that can be decoded")
    return kept, number + 1


def _frames(container: InputContainer, stream: VideoStream, name: str) -> Iterator[VideoFrame]:
    """All frames in the order of display; stops with an error at the first that is damaged."""
    number = 0
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise VideoError(name, f"the file is cut short or damaged after {number} frames")
        try:
            frames = packet.decode()
        except FFmpegError as error:
            raise VideoError(name, f"the file is damaged after {number} frames ({error.strerror})") from error
        for frame in frames:
            assert isinstance(frame, VideoFrame)
            # libav fills the holes of a damaged frame from its neighbours; such a picture is not the video's.
            if frame.is_corrupt:
                raise VideoError(name, f"frame {number} (counted from 0) is damaged")
            yield frame
            number += 1


def _to_rgb(frame: VideoFrame, converter: VideoReformatter, name: str) -> UInt8[np.ndarray, "h w 3"]:
    rgb = converter.reformat(frame, format="rgb24", interpolation=_CONVERSION, threads=1).to_ndarray()
    return _upright(rgb, frame, name)


def _upright(rgb: np.ndarray, frame: VideoFrame, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Applies the container's display matrix, if there is one: quarter turns and mirror images."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return rgb
    # The picture's point (x, y) is shown at (a x + c y, b x + d y), with y pointing down.
    (a, b), (c, d) = np.frombuffer(bytes(matrix), np.int32).reshape(3, 3)[:2, :2].astype(np.float64)
    straight, turned = min(abs(a), abs(d)), min(abs(b), abs(c))
    if straight > 100 * max(abs(b), abs(c)):
        flip_x, flip_y = a < 0, d < 0
    elif turned > 100 * max(abs(a), abs(d)):
        rgb = rgb.transpose(1, 0, 2)
        flip_x, flip_y = c < 0, b < 0
    else:
        raise VideoError(name, "it asks to be shown at an angle that is not a multiple of 90 degrees")
    return np.ascontiguousarray(rgb[:: -1 if flip_y else 1, :: -1 if flip_x else 1])
