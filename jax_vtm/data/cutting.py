"""Cuts a part out of a video file without encoding it again."""

import io
import math
from collections.abc import Iterator

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from jax_vtm.data.containers import opened, plain_errors
from jax_vtm.data.source import VideoError, VideoFile

_MARGIN = 1e-3
"""Seconds that a cut holds more on either side, since time stamps are rounded to the ticks of a file's clock."""


def cut_span(video: VideoFile, span: tuple[float, float], name: str) -> tuple[bytes, tuple[float, float]]:
    """Copies the packets that a span's frames are decoded from into a small file of their own.

    Frames depend on others before them, so the file begins at the last keyframe before the span. Decoding the returned
    span of it gives the very frames that the span has in the whole video.

    Args:
        video: The bytes of an mp4 or mov file, or the local path of one.
        span: (start, stop) in seconds from the video's first frame.
        name: What error messages call the video.

    Returns:
        The bytes of an mp4 file, and the span within it.

    Raises:
        VideoError: The video cannot be read, is of another kind, or has no frames there.
    """
    with plain_errors(name), opened(video, name) as (container, stream):
        # Other kinds of file leave out when a packet is to be decoded, or have no frame times at all.
        if "mp4" not in container.format.name:
            raise VideoError(name, "a part can be cut out of mp4 and mov files alone; convert it to mp4 first")
        tick = float(stream.time_base or 0)
        first_shown = _first_shown(container, stream)
        start = first_shown + math.floor((span[0] - _MARGIN) / tick)
        stop = first_shown + math.ceil((span[1] + _MARGIN) / tick)
        packets = _packets(container, stream, start, stop)
        if not packets:
            raise VideoError(name, f"there are no frames from {span[0]:g} to {span[1]:g} s")
        shift = (_shown(packets[0]) - first_shown) * tick
        try:
            cut = _written(packets, stream)
        except ValueError as error:
            raise VideoError(name, f"a part cannot be cut out of it: mp4 does not hold its codec ({error})") from error
    return cut, (span[0] - shift, span[1] - shift)


def _first_shown(container: InputContainer, stream: VideoStream) -> int:
    """When the first frame is shown. Packets come in the order of decoding, and none is shown before it is decoded."""
    first = None
    for packet in _demuxed(container, stream):
        if first is not None and _decoded(packet) >= first:
            break
        if not packet.is_discard:
            first = _shown(packet) if first is None else min(first, _shown(packet))
    return first or 0


def _go_to_keyframe(container: InputContainer, stream: VideoStream, start: int) -> None:
    """Goes to the last keyframe that is shown by `start`; before the first, to that."""
    target = start
    while True:
        container.seek(target, stream=stream, backward=True)
        packet = next(_demuxed(container, stream), None)
        if packet is None or _shown(packet) <= start or _decoded(packet) >= target:
            break
        # Files are searched by when packets are decoded, which is earlier than when they are shown.
        target = _decoded(packet) - 1
    container.seek(target, stream=stream, backward=True)


def _packets(container: InputContainer, stream: VideoStream, start: int, stop: int) -> list[Packet]:
    """The packets from the keyframe before `start` to the last one decoded before `stop`."""
    _go_to_keyframe(container, stream, start)
    packets: list[Packet] = []
    for packet in _demuxed(container, stream):
        if _decoded(packet) >= stop:
            break
        # What follows a keyframe but is shown before it depends on packets that are left out.
        if not packets or _shown(packet) >= _shown(packets[0]):
            packets.append(packet)
    return packets


def _demuxed(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    return (packet for packet in container.demux(stream) if packet.size > 0)


def _shown(packet: Packet) -> int:
    return packet.pts or 0


def _decoded(packet: Packet) -> int:
    return packet.dts or 0


def _written(packets: list[Packet], template: VideoStream) -> bytes:
    file = io.BytesIO()
    earliest = _decoded(packets[0])
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream_from_template(template)
        for packet in packets:
            packet.pts, packet.dts = _shown(packet) - earliest, _decoded(packet) - earliest
            packet.stream = stream
            container.mux(packet)
    return file.getvalue()
