"""Cuts a part out of a video file without encoding it again."""

import io
import math

import av
from av.packet import Packet
from av.video.stream import VideoStream

from jax_vtm.data.containers import opened, plain_errors
from jax_vtm.data.packets import read_packets
from jax_vtm.data.source import VideoError, VideoFile

_MARGIN = 1e-3
"""Seconds that a cut holds more on either side, since time stamps are rounded to the ticks of a file's clock."""


def cut_span(video: VideoFile, span: tuple[float, float], name: str) -> tuple[bytes, tuple[float, float]]:
    """Copies the packets that a span's frames are decoded from into a small file of their own.

    Frames depend on others before them, so the file begins at the last keyframe before the span.

    Args:
        video: The bytes of an mp4 or mov file, or the local path of one.
        span: (start, stop) in seconds from the video's first frame.
        name: What error messages call the video.

    Returns:
        The bytes of an mp4 file, and the span within it whose frames are those of `span`.

    Raises:
        VideoError: The video cannot be read, is of another kind, or has no frames there.
    """
    with plain_errors(name), opened(video, name) as source:
        stream = source.stream
        # Other kinds of file leave out when a packet is to be decoded, or have no frame times at all.
        if "mp4" not in source.kind:
            raise VideoError(name, "a part can be cut out of mp4 and mov files alone; convert it to mp4 first")
        tick, origin = float(stream.time_base or math.nan), stream.start_time or 0
        ticks = origin + math.floor((span[0] - _MARGIN) / tick), origin + math.ceil((span[1] + _MARGIN) / tick)
        packets = read_packets(source, ticks)
        # What follows a keyframe but is shown before it depends on packets that are left out.
        packets = [packet for packet in packets if _shown(packet) >= _shown(packets[0])]
        if not packets:
            raise VideoError(name, f"there are no frames from {span[0]:g} to {span[1]:g} s")
        shift = (_shown(packets[0]) - origin) * tick
        try:
            cut = _written(packets, stream)
        except ValueError as error:
            raise VideoError(name, f"a part cannot be cut out of it: mp4 does not hold its codec ({error})") from error
    return cut, (span[0] - shift, span[1] - shift)


def _shown(packet: Packet) -> int:
    return packet.pts or 0


def _written(packets: list[Packet], template: VideoStream) -> bytes:
    file = io.BytesIO()
    earliest = packets[0].dts or 0
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream_from_template(template)
        for packet in packets:
            packet.pts, packet.dts = _shown(packet) - earliest, (packet.dts or 0) - earliest
            packet.stream = stream
            container.mux(packet)
    return file.getvalue()
