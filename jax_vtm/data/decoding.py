"""Decodes the wanted frames of a video, exactly those and no others, with PyAV; or of pictures, one per frame."""

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence

import av
import numpy as np
from av.error import ArgumentError, FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import Float64, Int, Shaped, UInt8

from jax_vtm.data.containers import OpenVideo, complete_file, opened, plain_errors
from jax_vtm.data.packets import complete_packets, packet_table
from jax_vtm.data.pictures import decode_picture, fetched
from jax_vtm.data.source import Pictures, VideoError, VideoFile, VideoInfo
from jax_vtm.errors import shown

# Seconds by which a time stamp may miss a round number of seconds through its container's coarse clock.
_SAME_TIME = 5e-4

# libav's plain conversion to RGB: the pixels that PyAV, decord and torchvision give, on which published numbers rest.
# Interpolated chroma (ACCURATE_RND, FULL_CHR_H_INT) would take ten times as long and differ by 1.2 levels on average.
_CONVERSION = Interpolation.BILINEAR

# How many times the stated frame rate and that of the time stamps may differ.
_RATES_APART = 2.0

Combine = Callable[[Sequence[np.ndarray]], np.ndarray]
Select = Callable[[VideoInfo], Int[np.ndarray, " T"]]
Span = tuple[float, float] | None
Transform = Callable[[UInt8[np.ndarray, "H W 3"]], np.ndarray]
Convert = Callable[[VideoFrame], np.ndarray]


def decode_frames(
    video: VideoFile | Pictures,
    select: Select,
    *,
    span: Span = None,
    fast_jpeg: bool = False,
    transform: Transform | None = None,
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
        video: The bytes of a video file, the path of one (local, or any address that epath understands), or pictures.
        select: Gets the number of frames and their rate, and returns frame numbers in any order, repetitions
            allowed. It may be called again, if the first guess of the number proves wrong.
        span: (start, stop) in seconds from the first frame: the video is taken to consist of the frames shown at
            start <= time < stop alone. Not of pictures.
        fast_jpeg: See `decode_picture`.
        transform: Applied to each distinct frame as soon as it is decoded, e.g. to make it smaller.
        combine: Makes one array of the selected frames, which all have one size; by default [T, h, w, 3].
        name: What error messages call the video; by default its path.

    Returns:
        RGB frames in the order of the selected numbers, combined.

    Raises:
        VideoError: The video is missing, empty, cut short, damaged, without pictures, or not a video.
        ValueError: `select` returned a number outside the video.
    """
    transform = transform or (lambda frame: frame)
    if isinstance(video, Pictures):
        frames = _decode_pictures(video, select, fast_jpeg, transform, name or "of pictures")
    else:
        name = name or (f"of {len(video)} bytes" if isinstance(video, bytes) else os.fspath(video))
        frames = _decode_file(video, select, span, transform, name)
    if len({frame.shape for frame in frames}) > 1:
        raise VideoError(name or "of pictures", "the size of its frames changes on the way")
    return combine(frames)


def _decode_pictures(
    video: Pictures, select: Select, fast_jpeg: bool, transform: Transform, name: str
) -> list[np.ndarray]:
    if not video.frames:
        raise VideoError(name, "there is not a single picture in it")
    numbers = _checked(select(VideoInfo(len(video.frames), video.fps)), len(video.frames))
    pictures = fetched({n: video.frames[n] for n in set(numbers)}, name)
    kept = {n: transform(decode_picture(one, n, fast_jpeg, name)) for n, one in pictures.items()}
    return [kept[number] for number in numbers]


def _decode_file(video: VideoFile, select: Select, span: Span, transform: Transform, name: str) -> list[np.ndarray]:
    converter = VideoReformatter()

    def convert(frame: VideoFrame) -> np.ndarray:
        rgb = converter.reformat(frame, format="rgb24", interpolation=_CONVERSION, threads=1).to_ndarray()
        return transform(_upright(rgb, frame, name))

    with plain_errors(name):
        video = complete_file(video, name)
        with opened(video, name) as source:
            frames = _decode_groups(source, select, span, convert)
        return _decode_all(video, select, span, convert, name) if frames is None else frames


def _decode_groups(video: OpenVideo, select: Select, span: Span, convert: Convert) -> list[np.ndarray] | None:
    """Decodes the groups of pictures that hold wanted frames; None where only decoding everything will tell."""
    codec, clock = video.stream.codec_context, video.stream.time_base
    packets = complete_packets(video, span)
    table = packet_table(codec.codec, packets)
    # AVI says when frames are decoded, and not when they are shown; where these differ libav guesses.
    if table is None or (video.kind == "avi" and any(packet.pts != packet.dts for packet in packets)):
        return None
    stamps = table.shown_stamps
    # What is shown before the first keyframe builds on something that is not in the file.
    if clock is None or (span is None and stamps[0] < table.stamps[0]):
        return None
    first, numbers = _selected(video, select, (stamps - (video.stream.start_time or 0)) * float(clock), span)
    wanted = {int(stamps[first + number]): number for number in numbers}
    kept: dict[int, np.ndarray] = {}
    for run in table.runs(wanted):
        codec.flush_buffers()
        following = iter(table.shown_in(run))
        left = wanted.keys() & set(table.shown_in(run)) - kept.keys()
        try:
            for frame in _frames(video, [*packets[run.start : run.stop], None]):
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


def _decode_all(video: VideoFile, select: Select, span: Span, convert: Convert, name: str) -> list[np.ndarray]:
    """Decodes everything, twice where the number of frames is not what the packets say."""
    with opened(video, name) as source:
        packets = source.packets(source.stream)
        stamps = [packet.pts for packet in packets if packet.size > 0 and not packet.is_discard]
    while True:
        if not stamps:
            raise VideoError(name, "there is not a single frame in it that can be decoded")
        with opened(video, name) as source:
            first, numbers = _selected(source, select, _times(source, stamps), span)
            wanted = {first + number for number in numbers}
            kept: dict[int, np.ndarray] = {}
            decoded = []
            for number, frame in enumerate(_frames(source, source.packets(source.stream))):
                decoded.append(frame.pts)
                if number in wanted:
                    kept[number] = convert(frame)
        if len(decoded) == len(stamps):
            return [kept[first + number] for number in numbers]
        # Decoders swallow some packets, such as those before a file's first keyframe.
        stamps = decoded


def _selected(
    video: OpenVideo, select: Select, shown_at: Float64[np.ndarray, " n"], span: Span
) -> tuple[int, list[int]]:
    """The first frame of the span, and what is selected of the frames in it, counted from that one."""
    first, stop = 0, len(shown_at)
    if span is not None:
        if np.isnan(shown_at).any():
            raise VideoError(video.name, "its frames have no time stamps, so that a part of it cannot be found")
        first, stop = (int(np.searchsorted(shown_at, seconds - _SAME_TIME)) for seconds in span)
        if first >= stop:
            raise VideoError(video.name, f"no frame of it is shown from {span[0]:g} to {span[1]:g} s")
    return first, _checked(select(VideoInfo(stop - first, _rate(video, shown_at[:stop]))), stop - first)


def _checked(numbers: Int[np.ndarray, " T"], num_frames: int) -> list[int]:
    """What a caller selected, which has to be in the video."""
    wanted = [int(number) for number in numbers]
    if not wanted or min(wanted) < 0 or max(wanted) >= num_frames:
        raise ValueError(f"expected frame numbers in 0..{num_frames - 1}, got {wanted}")
    return wanted


def _stated_rate(video: OpenVideo) -> float | None:
    return float(video.stream.average_rate) if video.stream.average_rate else None


def _rate(video: OpenVideo, shown_at: Float64[np.ndarray, " n"]) -> float | None:
    """Frames per second: what the file states, unless its time stamps (seconds, ascending) say something else."""
    stated = _stated_rate(video)
    if len(shown_at) < 2 or not shown_at[-1] > shown_at[0]:
        return stated
    measured = float((len(shown_at) - 1) / (shown_at[-1] - shown_at[0]))
    if stated is None or 1 / _RATES_APART < stated / measured < _RATES_APART:
        return stated or measured
    # Python's warnings appear once for each text.
    text = f"states {stated:g} frames per second, and by its time stamps has {measured:.4g}; these count"
    warnings.warn(shown(f"video {video.name}: {text}"), stacklevel=1)
    return measured


def _times(video: OpenVideo, stamps: Sequence[int | None]) -> Float64[np.ndarray, " n"]:
    """Time stamps as seconds from the first, ascending; whatever their order is, the frames have another already."""
    known = {stamp for stamp in stamps if stamp is not None}
    if video.stream.time_base is None or len(known) < len(stamps):
        return np.arange(len(stamps)) / (_stated_rate(video) or math.nan)
    ticks = np.sort(np.array(list(known), np.int64))
    return (ticks - ticks[0]) * float(video.stream.time_base)


def _frames(video: OpenVideo, packets: Iterable[av.Packet | None]) -> Iterator[VideoFrame]:
    """The frames of some packets in the order of display; stops with an error at the first that is damaged."""
    number = 0
    for packet in packets:
        if packet is not None and packet.is_corrupt:
            raise VideoError(video.name, f"the file is cut short or damaged after {number} frames")
        try:
            frames = video.stream.codec_context.decode(packet)
        except FFmpegError as error:
            too_large = ", or its frames are too large" if isinstance(error, ArgumentError) else ""
            text = f"the file is damaged after {number} frames{too_large} ({error.strerror})"
            raise VideoError(video.name, text) from error
        for frame in frames:
            # libav fills the holes of a damaged frame from its neighbours; such a picture is not the video's.
            if frame.is_corrupt:
                raise VideoError(video.name, f"frame {number} (counted from 0) is damaged")
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
