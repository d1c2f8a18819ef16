"""Our settings beside other implementations at the same work, put in order for a table."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.benchmarks.words import OURS, implementation

Spread = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Line:
    """One implementation at one piece of work; None where there is no value.

    Attributes:
        work: What all lines of it have in common: a setting's name without its implementation.
        implementation: As people call it.
        ms_per_clip: Its time.
        speed_up: Over the same implementation unmerged; None for that itself.
        ours_to_it: Its time over ours; None for ours.
        difference: Of its logits to ours; None for ours.
    """

    work: str
    implementation: str
    ms_per_clip: Spread
    speed_up: Spread | None
    ours_to_it: Spread | None
    difference: float | None


def beside(rows: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Returns a line for each of our settings that has something beside it, and one for each of these after it."""
    by_name = {row["name"]: row for row in rows}
    lines = []
    for row in rows:
        if not row["beside"]:
            continue
        work = row["name"].replace(f"{OURS} · ", "")
        lines.append(_line(work, row, None))
        lines += [_line(work, by_name[found["name"]], found) for found in row["beside"].values()]
    return lines


def _line(work: str, row: Mapping[str, Any], found: Mapping[str, Any] | None) -> Line:
    level = row["levels"]["model"]
    return Line(
        work,
        implementation(row["implementation"]),
        level["ms_per_clip"],
        level.get("speed_up") if row["reduction"]["mode"] != "none" else None,
        found["times_as_fast"] if found else None,
        found["largest_difference"] if found else None,
    )
