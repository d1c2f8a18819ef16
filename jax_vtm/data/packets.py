"""Reads a video's packets, and finds out which of them have to be decoded for the frames that are wanted."""

import contextlib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from jaxtyping import Bool, Int64

# In these, and where frames do not build on each other, a packet is a frame. Others drop and join frames.
_FRAME_PER_PACKET = ("h264", "hevc", "av1", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4")

# MPEG-4's packets that say no more than that there is nothing new, and give no frame, have fewer bytes than these.
_MPEG4_FRAME = 16

# The bit of a VP8 packet's first byte that says whether its frame is shown or only there for others to build on.
_VP8_SHOWN = 16


def demuxed(container: InputContainer, *streams: VideoStream) -> Iterator[av.Packet]:
    """The packets of some streams, or of all; the last of each is empty and makes its decoder give what it holds."""
    # PyAV fails where a stream appears on the way, once it has given all packets.
    with contextlib.suppress(IndexError):
        yield from container.demux(*streams)


def read_packets(
    container: InputContainer, stream: VideoStream, ticks: tuple[float, float] | None = None
) -> list[av.Packet]:
    """Reads a video stream's packets in the order of decoding.

    Args:
        container: An open file.
        stream: Its video.
        ticks: Start and stop by the stream's clock, to read only from the last keyframe that is shown by the start
            until nothing can follow that is shown before the stop.
    """
    if ticks is None:
        return [packet for packet in demuxed(container, stream) if packet.size > 0]
    start, stop = ticks
    target = math.floor(start)
    while True:
        container.seek(target, stream=stream, backward=True)
        packets: list[av.Packet] = []
        for packet in demuxed(container, stream):
            if packet.dts is not None and packet.dts >= stop:
                break
            if packet.size > 0:
                packets.append(packet)
        first = packets[0] if packets else None
        if first is not None and first.is_keyframe and first.pts is not None and first.pts <= start:
            return packets
        if target <= 0:
            return packets
        # Files are searched by when packets are decoded, which is earlier than when they are shown. Some have no index,
        # or a wrong one, and the search ends behind what was asked for.
        target = first.dts - 1 if first is not None and first.dts is not None and first.dts <= target else 0


@dataclass(frozen=True)
class PacketTable:
    """A video's packets in the order of decoding, which is not that of display.

    Attributes:
        stamps: When each packet's frame is displayed, in ticks of the stream's clock.
        starts_group: Packets at which decoding can start: keyframes.
        is_shown: Packets whose frame is displayed; an edit list may hide some that others build on.
    """

    stamps: Int64[np.ndarray, " n"]
    starts_group: Bool[np.ndarray, " n"]
    is_shown: Bool[np.ndarray, " n"]

    @staticmethod
    def of(codec: av.VideoCodecContext, packets: Sequence[av.Packet]) -> "PacketTable | None":
        """Reads a table from the packets of a video.

        Returns:
            None if packets and frames do not belong together one by one, so that nothing can be said without
            decoding everything: packets may give no frame or two, stamps are missing, come twice or contradict the
            groups, a packet is damaged, the first is no keyframe, or nothing is displayed.
        """
        kind = codec.codec.canonical_name
        if not codec.codec.intra_only and kind not in _FRAME_PER_PACKET:
            return None
        if not packets or not packets[0].is_keyframe or any(packet.is_corrupt for packet in packets):
            return None
        if kind == "mpeg4" and min(packet.size for packet in packets) < _MPEG4_FRAME:
            return None
        is_shown = [
            not (packet.is_discard or (kind == "vp8" and not memoryview(packet)[0] & _VP8_SHOWN)) for packet in packets
        ]
        stamps = [packet.pts for packet in packets]
        shown = [stamp for stamp, is_one in zip(stamps, is_shown, strict=True) if is_one]
        if None in stamps or not shown or len(set(shown)) < len(shown):
            return None
        starts = [packet.is_keyframe for packet in packets]
        table = PacketTable(np.array(stamps, np.int64), np.array(starts), np.array(is_shown))
        latest, earliest = (which.reduceat(table.stamps, np.flatnonzero(starts)) for which in (np.maximum, np.minimum))
        return table if np.all(latest[:-1] < earliest[1:]) else None

    @property
    def shown_stamps(self) -> Int64[np.ndarray, " shown"]:
        """The displayed frames in the order of display."""
        return np.sort(self.stamps[self.is_shown])

    def shown_in(self, run: range) -> list[int]:
        """The stamps of the frames that are displayed of a run, from its keyframe on, in the order of display."""
        stamps = self.stamps[run.start : run.stop][self.is_shown[run.start : run.stop]]
        return np.sort(stamps[stamps >= self.stamps[run.start]]).tolist()

    def runs(self, wanted: Collection[int]) -> list[range]:
        """Finds what to decode for the frames with the wanted stamps.

        Returns:
            Ranges of packets, each from a keyframe on to the end of a group.
        """
        starts = np.flatnonzero(self.starts_group)
        places = np.flatnonzero(np.isin(self.stamps, list(wanted)))
        groups = np.searchsorted(starts, places, side="right") - 1
        # What is displayed before the keyframe that it follows may build on the group before, too.
        leading = self.stamps[places] < self.stamps[starts[groups]]
        needed = sorted({*groups.tolist(), *(groups[leading] - 1).clip(min=0).tolist()})
        ends = [*starts[1:].tolist(), len(self.stamps)]
        runs: list[range] = []
        for group in needed:
            first = int(starts[group])
            if runs and runs[-1].stop == first:
                first = runs.pop().start
            runs.append(range(first, ends[group]))
        return runs
