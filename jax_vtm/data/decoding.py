"""Decodes the wanted frames of a video, exactly those and no others, with PyAV."""

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence

import av
import numpy as np
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import Float64, Int, Shaped, UInt8

from jax_vtm.data.completeness import find_hole
from jax_vtm.data.containers import complete_file, opened, plain_errors, stream_of
from jax_vtm.data.packets import PacketTable, demuxed, read_packets
from jax_vtm.data.source import VideoError, VideoFile, VideoInfo
from jax_vtm.errors import shown

# Seconds by which a time stamp may miss a round number of seconds through its container's coarse clock.
_SAME_TIME = 5e-4

# libav's plain conversion to RGB: the pixels that PyAV, decord and torchvision give, on which published numbers rest.
# Interpolated chroma (ACCURATE_RND, FULL_CHR_H_INT) would take ten times as long and differ by 1.2 levels on average.
_CONVERSION = Interpolation.BILINEAR

# A video may end so much earlier than its file says, in seconds and in times of its longest pause.
_MISSING_SECONDS, _MISSING_PAUSES = 0.5, 3

# What no frame begins with, but where it may be a plain picture.
_ZEROS = bytes(16)

# Kinds of file that state a duration which does not follow from what is in them.
_STATING_DURATION = ("matroska,webm", "avi", "asf", "flv")

# How many times the stated frame rate and that of the time stamps may differ.
_RATES_APART = 2.0

Combine = Callable[[Sequence[np.ndarray]], np.ndarray]
Select = Callable[[VideoInfo], Int[np.ndarray, " T"]]
Span = tuple[float, float] | None
Transform = Callable[[UInt8[np.ndarray, "H W 3"]], np.ndarray] | None
Convert = Callable[[VideoFrame], np.ndarray]


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
    converter = VideoReformatter()

    def convert(frame: VideoFrame) -> np.ndarray:
        rgb = converter.reformat(frame, format="rgb24", interpolation=_CONVERSION, threads=1).to_ndarray()
        rgb = _upright(rgb, frame, name)
        return rgb if transform is None else transform(rgb)

    with plain_errors(name):
        video = complete_file(video, name)
        frames = _decode_groups(video, select, span, convert, name)
        if frames is None:
            frames = _decode_all(video, select, span, convert, name)
    return combined(frames, combine, name)


def checked(numbers: Int[np.ndarray, " T"], num_frames: int) -> list[int]:
    """What a caller selected, which has to be in the video."""
    wanted = [int(number) for number in numbers]
    if not wanted or min(wanted) < 0 or max(wanted) >= num_frames:
        raise ValueError(f"expected frame numbers in 0..{num_frames - 1}, got {wanted}")
    return wanted


def combined(frames: Sequence[np.ndarray], combine: Combine, name: str) -> np.ndarray:
    """Makes one array of frames, which have to be of one size."""
    if len({frame.shape for frame in frames}) > 1:
        raise VideoError(name, "the size of its frames changes on the way")
    return combine(frames)


def _decode_groups(video: VideoFile, select: Select, span: Span, convert: Convert, name: str):
    """Decodes the groups of pictures that hold wanted frames; None where only decoding everything will tell."""
    with opened(video, name) as (container, stream):
        packets = _read(video, container, stream, span, name)
        table = PacketTable.of(stream.codec_context, packets)
        # AVI says when frames are decoded, and not when they are shown; where these differ libav guesses.
        if table is None or (container.format.name == "avi" and any(packet.pts != packet.dts for packet in packets)):
            return None
        stamps = table.shown_stamps
        # What is shown before the first keyframe builds on something that is not in the file.
        if stream.time_base is None or (span is None and stamps[0] < table.stamps[0]):
            return None
        shown_at = (stamps - (stream.start_time or 0)) * float(stream.time_base)
        first, numbers = _selected(select, shown_at, _stated_rate(stream), span, name)
        wanted = {int(stamps[first + number]): number for number in numbers}
        kept: dict[int, np.ndarray] = {}
        for run in table.runs(wanted):
            stream.codec_context.flush_buffers()
            following = iter(table.shown_in(run))
            left = wanted.keys() & set(table.shown_in(run)) - kept.keys()
            try:
                for frame in _frames(stream, [*packets[run.start : run.stop], None], name):
                    if frame.pts is not None and frame.pts < table.stamps[run.start]:
                        continue
                    # Time stamps that are not in the order of the decoder's output were guessed by somebody. One frame
                    # more than is wanted shows whether any was left out after the keyframe.
                    if frame.pts != next(following, None):
                        return None
                    if not left:
                        break
                    if frame.pts in left:
                        left.remove(frame.pts)
                        kept[wanted[frame.pts]] = convert(frame)
                else:
                    if left or next(following, None) is not None:
                        return None
            except VideoError:
                return None  # decoding everything says which frame it is
        return [kept[number] for number in numbers]


def _read(video: VideoFile, container: InputContainer, stream: VideoStream, span: Span, name: str) -> list[av.Packet]:
    """Reads the packets of a video or of a span of it, and makes sure that none are missing."""
    if span is None:
        _check_no_hole(video, container, (0, None), name)
        packets = read_packets(container, stream)
        _check_complete(video, container, stream, packets, name)
        _check_no_zeros(container, stream, packets, name)
        return packets
    clock, origin = float(stream.time_base or math.nan), stream.start_time or 0
    packets = read_packets(container, stream, (origin + span[0] / clock, origin + span[1] / clock))
    places = [packet.pos for packet in packets if packet.pos is not None] or [0]
    _check_no_hole(video, container, (min(places), max(places)), name)
    _check_no_zeros(container, stream, packets, name)
    return packets


def _selected(
    select: Select, shown_at: Float64[np.ndarray, " n"], stated_rate: float | None, span: Span, name: str
) -> tuple[int, list[int]]:
    """The first frame of the span, and what is selected of the frames in it, counted from that one."""
    first, stop = 0, len(shown_at)
    if span is not None:
        if np.isnan(shown_at).any():
            raise VideoError(name, "its frames have no time stamps, so that a part of it cannot be found")
        first, stop = (int(np.searchsorted(shown_at, seconds - _SAME_TIME)) for seconds in span)
        if first >= stop:
            raise VideoError(name, f"no frame of it is shown from {span[0]:g} to {span[1]:g} s")
    return first, checked(select(VideoInfo(stop - first, _rate(stated_rate, shown_at[:stop], name))), stop - first)


def _stated_rate(stream: VideoStream) -> float | None:
    return float(stream.average_rate) if stream.average_rate else None


def _rate(stated: float | None, shown_at: Float64[np.ndarray, " n"], name: str) -> float | None:
    """Frames per second: what the file states, unless its time stamps (seconds, ascending) say something else."""
    if len(shown_at) < 2 or not shown_at[-1] > shown_at[0]:
        return stated
    measured = float((len(shown_at) - 1) / (shown_at[-1] - shown_at[0]))
    if stated is None or 1 / _RATES_APART < stated / measured < _RATES_APART:
        return stated or measured
    # Python's warnings appear once for each text.
    text = f"states {stated:g} frames per second, and by its time stamps has {measured:.4g}; these count"
    warnings.warn(shown(f"video {name}: {text}"), stacklevel=1)
    return measured


def _check_no_hole(video: VideoFile, container: InputContainer, part: tuple[int, int | None], name: str) -> None:
    with stream_of(video) as file:
        hole = find_hole(file, container.format.name, *part)
    if hole is not None:
        raise VideoError(name, f"the file is damaged at byte {hole}, and frames may be missing")


def _check_no_zeros(container: InputContainer, stream: VideoStream, packets: Sequence[av.Packet], name: str) -> None:
    """MP4 knows where each frame is, so that a hole shows in what is there. Some decoders pass over it."""
    if "mp4" in container.format.name and not stream.codec_context.codec.intra_only:
        for packet in packets:
            if packet.size >= len(_ZEROS) and memoryview(packet)[: len(_ZEROS)] == _ZEROS:
                raise VideoError(name, f"the file is damaged: there are zeros in the place of a frame, at {packet.pos}")


def _check_complete(
    video: VideoFile, container: InputContainer, stream: VideoStream, packets: Sequence[av.Packet], name: str
) -> None:
    """Makes sure that as many frames came as the file's index lists, and until the time that the file states."""
    kind = container.format.name
    listed = sum(entry.size > 0 for entry in stream.index_entries) if kind == "avi" else 0
    if listed > len(packets):
        raise VideoError(name, f"the file is damaged: of {listed} frames in its index {len(packets)} are there")
    stamps = [packet.pts for packet in packets if packet.pts is not None]
    if kind in _STATING_DURATION and container.duration and stream.time_base and stamps:
        shown_at = np.sort(np.array(stamps)) * float(stream.time_base)
        stated = container.duration / av.time_base
        pause = np.diff(shown_at).max(initial=0)
        if stated - shown_at[-1] > max(_MISSING_SECONDS, _MISSING_PAUSES * pause) + pause:
            end = _end(video, name)
            if stated - end > _MISSING_SECONDS:
                raise VideoError(name, f"the file is damaged: it states {stated:.2f} s, and ends after {end:.2f} s")


def _end(video: VideoFile, name: str) -> float:
    """When the last of a video's streams ends, in seconds; its sound may well be longer than its pictures."""
    with opened(video, name) as (container, _):
        return max(
            float((packet.pts + (packet.duration or 0)) * packet.time_base)
            for packet in demuxed(container)
            if packet.pts is not None and packet.time_base
        )


def _decode_all(video: VideoFile, select: Select, span: Span, convert: Convert, name: str) -> list[np.ndarray]:
    """Decodes everything, twice where the number of frames is not what the packets say."""
    with opened(video, name) as (container, stream):
        stamps = [packet.pts for packet in demuxed(container, stream) if packet.size > 0 and not packet.is_discard]
    while True:
        if not stamps:
            raise VideoError(name, "there is not a single frame in it that can be decoded")
        with opened(video, name) as (container, stream):
            first, numbers = _selected(select, _times(stamps, stream), _stated_rate(stream), span, name)
            wanted = {first + number for number in numbers}
            kept: dict[int, np.ndarray] = {}
            decoded = []
            for number, frame in enumerate(_frames(stream, demuxed(container, stream), name)):
                decoded.append(frame.pts)
                if number in wanted:
                    kept[number] = convert(frame)
        if len(decoded) == len(stamps):
            return [kept[first + number] for number in numbers]
        # Decoders swallow some packets, such as those before a file's first keyframe.
        stamps = decoded


def _times(stamps: Sequence[int | None], stream: VideoStream) -> Float64[np.ndarray, " n"]:
    """Time stamps as seconds from the first, ascending; whatever their order is, the frames have another already."""
    known = {stamp for stamp in stamps if stamp is not None}
    if stream.time_base is None or len(known) < len(stamps):
        return np.arange(len(stamps)) / (_stated_rate(stream) or math.nan)
    ticks = np.sort(np.array(list(known), np.int64))
    return (ticks - ticks[0]) * float(stream.time_base)


def _frames(stream: VideoStream, packets: Iterable[av.Packet | None], name: str) -> Iterator[VideoFrame]:
    """The frames of some packets in the order of display; stops with an error at the first that is damaged."""
    number = 0
    for packet in packets:
        if packet is not None and packet.is_corrupt:
            raise VideoError(name, f"the file is cut short or damaged after {number} frames")
        try:
            frames = stream.codec_context.decode(packet)
        except FFmpegError as error:
            too_large = ", or its frames are too large" if isinstance(error, ArgumentError) else ""
            text = f"the file is damaged after {number} frames{too_large} ({error.strerror})"
            raise VideoError(name, text) from error
        for frame in frames:
            # libav fills the holes of a damaged frame from its neighbours; such a picture is not the video's.
            if frame.is_corrupt:
                raise VideoError(name, f"frame {number} (counted from 0) is damaged")
            yield frame
            number += 1


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
