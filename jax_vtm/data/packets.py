"""Reads a video's packets, sees that none are missing, and finds which to decode for the frames that are wanted."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from jaxtyping import Bool, Int64

from jax_vtm.data.completeness import find_hole
from jax_vtm.data.containers import OpenVideo, opened, stream_of
from jax_vtm.data.source import VideoError

# In these, and where frames do not build on each other, a packet is a frame. Others drop and join frames.
_FRAME_PER_PACKET = ("h264", "hevc", "av1", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4")

# MPEG-4's packets that say no more than that there is nothing new, and give no frame, have fewer bytes than these.
_MPEG4_FRAME = 16

# The bit of a VP8 packet's first byte that says whether its frame is shown or only there for others to build on.
_VP8_SHOWN = 16

# A video may end so much earlier than its file says, in seconds and in times of its longest pause.
_MISSING_SECONDS, _MISSING_PAUSES = 0.5, 3

# What no frame begins with, but where it may be a plain picture.
_ZEROS = bytes(16)

# Kinds of file that state a duration which does not follow from what is in them.
_STATING_DURATION = ("matroska,webm", "avi", "asf", "flv")


def read_packets(video: OpenVideo, ticks: tuple[float, float] | None = None) -> list[av.Packet]:
    """Reads a video's packets in the order of decoding.

    With `ticks`, start and stop by the stream's clock, it reads only from the last keyframe that is shown by the start
    until nothing can follow that is shown before the stop.
    """
    if ticks is None:
        return [packet for packet in video.packets(video.stream) if packet.size > 0]
    start, stop = ticks
    target = math.floor(start)
    while True:
        video.container.seek(target, stream=video.stream, backward=True)
        packets: list[av.Packet] = []
        for packet in video.packets(video.stream):
            if packet.dts is not None and packet.dts >= stop:
                break
            if packet.size > 0:
                packets.append(packet)
        first = packets[0] if packets else None
        if target <= 0 or (first and first.is_keyframe and first.pts is not None and first.pts <= start):
            return packets
        # Files are searched by when packets are decoded, which is earlier than when they are shown. Some have no index,
        # or a wrong one, and the search ends behind what was asked for.
        target = first.dts - 1 if first and first.dts is not None and first.dts <= target else 0


def complete_packets(video: OpenVideo, span: tuple[float, float] | None) -> list[av.Packet]:
    """Reads the packets of a video, or of a span of it in seconds, and makes sure that none are missing."""
    if span is None:
        _check_no_hole(video, 0, None)
        packets = read_packets(video)
        _check_all_there(video, packets)
    else:
        clock, origin = float(video.stream.time_base or math.nan), video.stream.start_time or 0
        packets = read_packets(video, (origin + span[0] / clock, origin + span[1] / clock))
        places = [packet.pos for packet in packets if packet.pos is not None] or [0]
        _check_no_hole(video, min(places), max(places))
    # MP4 knows where each frame is, so that a hole shows in what is there. Some decoders pass over it.
    if "mp4" in video.kind and not video.stream.codec_context.codec.intra_only:
        for packet in packets:
            if packet.size >= len(_ZEROS) and memoryview(packet)[: len(_ZEROS)] == _ZEROS:
                raise _damaged(video, f": there are zeros in the place of a frame, at {packet.pos}")
    return packets


def _damaged(video: OpenVideo, how: str) -> VideoError:
    return VideoError(video.name, f"the file is damaged{how}")


def _check_no_hole(video: OpenVideo, begin: int, end: int | None) -> None:
    with stream_of(video.file) as file:
        hole = find_hole(file, video.kind, begin, end)
    if hole is not None:
        raise _damaged(video, f" at byte {hole}, and frames may be missing")


def _check_all_there(video: OpenVideo, packets: Sequence[av.Packet]) -> None:
    """Makes sure that as many frames came as the file's index lists, and until the time that the file states."""
    stream, duration = video.stream, video.container.duration
    listed = sum(entry.size > 0 for entry in stream.index_entries) if video.kind == "avi" else 0
    if listed > len(packets):
        raise _damaged(video, f": of {listed} frames in its index {len(packets)} are there")
    stamps = [packet.pts for packet in packets if packet.pts is not None]
    if video.kind in _STATING_DURATION and duration and stream.time_base and stamps:
        shown_at = np.sort(np.array(stamps)) * float(stream.time_base)
        stated = duration / av.time_base
        pause = np.diff(shown_at).max(initial=0)
        if stated - shown_at[-1] > max(_MISSING_SECONDS, _MISSING_PAUSES * pause) + pause:
            end = _end(video)
            if stated - end > _MISSING_SECONDS:
                raise _damaged(video, f": it states {stated:.2f} s, and ends after {end:.2f} s")


def _end(video: OpenVideo) -> float:
    """When the last of a video's streams ends, in seconds; its sound may well be longer than its pictures."""
    with opened(video.file, video.name) as again:
        return max(
            float((packet.pts + (packet.duration or 0)) * packet.time_base)
            for packet in again.packets()
            if packet.pts is not None and packet.time_base
        )


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

    @property
    def shown_stamps(self) -> Int64[np.ndarray, " shown"]:
        """The displayed frames in the order of display."""
        return np.sort(self.stamps[self.is_shown])

    def shown_in(self, run: range) -> list[int]:
        """The stamps of the frames that are displayed of a run, from its keyframe on, in the order of display."""
        stamps = self.stamps[run.start : run.stop][self.is_shown[run.start : run.stop]]
        return np.sort(stamps[stamps >= self.stamps[run.start]]).tolist()

    def runs(self, wanted: Collection[int]) -> list[range]:
        """What to decode for the frames with the wanted stamps: packets from a keyframe to the end of a group."""
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


def packet_table(codec: Any, packets: Sequence[av.Packet]) -> PacketTable | None:
    """Reads a table from the packets of a video.

    Returns:
        None if packets and frames do not belong together one by one, so that nothing can be said without decoding
        everything: packets may give no frame or two, stamps are missing, come twice or contradict the groups, a
        packet is damaged, the first is no keyframe, or nothing is displayed.
    """
    kind = codec.canonical_name
    if not codec.intra_only and kind not in _FRAME_PER_PACKET:
        return None
    if not packets or not packets[0].is_keyframe or any(packet.is_corrupt for packet in packets):
        return None
    if kind == "mpeg4" and min(packet.size for packet in packets) < _MPEG4_FRAME:
        return None
    stamps = [packet.pts for packet in packets]
    hidden = [p.is_discard or (kind == "vp8" and not memoryview(p)[0] & _VP8_SHOWN) for p in packets]
    shown = [stamp for stamp, is_hidden in zip(stamps, hidden, strict=True) if not is_hidden]
    if None in stamps or not shown or len(set(shown)) < len(shown):
        return None
    starts = [packet.is_keyframe for packet in packets]
    table = PacketTable(np.array(stamps, np.int64), np.array(starts), ~np.array(hidden))
    latest, earliest = (which.reduceat(table.stamps, np.flatnonzero(starts)) for which in (np.maximum, np.minimum))
    return table if np.all(latest[:-1] < earliest[1:]) else None
