"""Which packets of a video have to be decoded for the frames that are wanted."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64


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
    def of(packets: Sequence[Any]) -> "PacketTable | None":
        """Reads a table from PyAV's packets.

        Returns:
            None if packets and frames do not belong together one by one, so that nothing can be said without
            decoding everything: stamps are missing or come twice, a packet is damaged, the first is no keyframe, or
            nothing is displayed.
        """
        stamps = [packet.pts for packet in packets]
        if None in stamps or len(set(stamps)) < len(stamps) or any(packet.is_corrupt for packet in packets):
            return None
        if not packets or not packets[0].is_keyframe or all(packet.is_discard for packet in packets):
            return None
        return PacketTable(
            np.array(stamps, np.int64),
            np.array([packet.is_keyframe for packet in packets]),
            np.array([not packet.is_discard for packet in packets]),
        )

    @property
    def shown_stamps(self) -> Int64[np.ndarray, " shown"]:
        """The displayed frames in the order of display."""
        return np.sort(self.stamps[self.is_shown])

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
