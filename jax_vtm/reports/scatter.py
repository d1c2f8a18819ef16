"""Accuracy over cost of many runs as inline SVG: a colour per mode, a marker per schedule, the Pareto front."""

import dataclasses
import html
from collections.abc import Sequence

from jax_vtm.reports import svg

LEFT, RIGHT, TOP, BOTTOM = 44.0, svg.WIDTH - 12.0, 12.0, 232.0
SIZE = 4.6  # half a marker's width
LEGEND_COLUMN = 118
NAME_LETTERS = 34

# Reductions by their series class, random ones hollow: told apart without colours, too.
COLOURS = {"none": "s0", "merge": "s1", "hybrid": "s3", "drop": "s2", "random_drop": "s5", "random_merge": "s4"}
HOLLOW = ("random_drop", "random_merge")

# Paths around the origin, to be scaled by SIZE.
MARKERS = {
    "constant": "M-1 0A1 1 0 1 1 1 0A1 1 0 1 1-1 0Z",
    "decreasing": "M-1.1-.85H1.1L0 1.1Z",
    "increasing": "M-1.1 .85H1.1L0-1.1Z",
    "list": "M-.9-.9H.9V.9H-.9Z",
    "unmerged": "M0-1.3 1.3 0 0 1.3-1.3 0Z",
}


@dataclasses.dataclass(frozen=True)
class Dot:
    """A run in a plot.

    Attributes:
        name: Of the run.
        x: What it costs, or how fast it is.
        y: What it reaches, in percent.
        mode: A reduction mode.
        schedule: A name in `MARKERS`.
        series: Dots of the same series are joined by a thin line.
        text: Its numbers in words.
    """

    name: str
    x: float
    y: float
    mode: str
    schedule: str
    series: str
    text: str


def scatter(
    title: str, dots: Sequence[Dot], front: Sequence[int], x_label: str, x_unit: str = "", floor: float | None = None
) -> str:
    """Draws the dots, and a line through those of the front, which are numbered and named below.

    Args:
        title: What a screen reader calls it.
        dots: The runs.
        front: Numbers of the dots on the Pareto front, in the order of the line.
        x_label: Of the horizontal axis.
        x_unit: After each of its numbers.
        floor: Dots that lie lower are drawn here, at the lower edge; None draws all where they are.
    """
    heights = [dot.y if floor is None else max(dot.y, floor) for dot in dots]
    across = svg.Axis.around([dot.x for dot in dots], [dot.x for dot in dots], LEFT + 8, RIGHT - 14)
    up = svg.Axis.around(heights, heights, BOTTOM, TOP)
    places = [(across.at(dot.x), up.at(height)) for dot, height in zip(dots, heights, strict=True)]
    parts = []
    for tick in up.ticks:
        parts += [
            f'<path class="grid" d="M{LEFT:.1f} {up.at(tick):.1f}H{RIGHT:.1f}"/>',
            svg.label(LEFT - 6, up.at(tick) + 4, up.written(tick), "tick end"),
        ]
    parts += svg.horizontal_labels(across, BOTTOM + 16, x_unit)
    parts.append(svg.label((LEFT + RIGHT) / 2, BOTTOM + 33, x_label, "tick middle"))
    if floor is not None and min(dot.y for dot in dots) < floor:
        edge = up.at(floor)
        parts.append(f'<path class="guide" d="M{LEFT:.1f} {edge:.1f}H{RIGHT:.1f}"/>')
        parts.append(svg.label(RIGHT, edge - 9, f"{floor:.0f} or less", "tick end"))
    parts += _series_lines(dots, places)
    if len(front) > 1:
        parts.append(f'<path class="guide front" d="{_line([places[number] for number in front])}"/>')
    parts += [_marker(dot.mode, dot.schedule, *place, dot) for dot, place in zip(dots, places, strict=True)]
    for rank, number in enumerate(front, 1):
        x, y = places[number]
        parts.append(svg.label(x, y - 8, str(rank), "value middle"))
    legend, row = _legend(dots, BOTTOM + 58)
    parts += legend
    for rank, number in enumerate(front, 1):
        row, name = row + 20, dots[number].name
        parts += [
            svg.label(0, row, str(rank), "value"),
            svg.label(20, row, name if len(name) <= NAME_LETTERS else f"{name[: NAME_LETTERS - 1]}…"),
            svg.label(svg.WIDTH, row, dots[number].text, "value end"),
        ]
    lines = [f"{dot.name}: {dot.text}" for dot in dots]
    return svg.figure(title, lines, row + 8, parts)


def _series_lines(dots: Sequence[Dot], places: Sequence[tuple[float, float]]) -> list[str]:
    parts = []
    for series in dict.fromkeys(dot.series for dot in dots):
        members = sorted(
            (place for dot, place in zip(dots, places, strict=True) if dot.series == series), key=lambda place: place[0]
        )
        mode = next(dot.mode for dot in dots if dot.series == series)
        if len(members) > 1:
            parts.append(f'<path class="thread {COLOURS[mode]}" d="{_line(members)}"/>')
    return parts


def _line(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _marker(mode: str, schedule: str, x: float, y: float, dot: Dot | None = None) -> str:
    hollow = " hollow" if mode in HOLLOW else ""
    shape = (
        f'<path class="mark{hollow} {COLOURS[mode]}" transform="translate({x:.1f} {y:.1f}) scale({SIZE})" '
        f'd="{MARKERS[schedule]}"/>'
    )
    return f"<g><title>{html.escape(f'{dot.name}: {dot.text}')}</title>{shape}</g>" if dot else shape


def _legend(dots: Sequence[Dot], top: float) -> tuple[list[str], float]:
    """Names the colours and then the markers; returns the last row's place as well."""
    modes = [mode for mode in COLOURS if mode != "none" and any(dot.mode == mode for dot in dots)]
    used = {dot.schedule for dot in dots}
    entries = [(mode, "constant", mode.replace("_", " ")) for mode in modes]
    entries += [("none", shape, shape if shape != "list" else "r per layer") for shape in MARKERS if shape in used]
    parts, row = [], top
    for number, (mode, shape, text) in enumerate(entries):
        x, row = (number % 3) * LEGEND_COLUMN + 6, top + number // 3 * 20
        parts += [_marker(mode, shape, x, row - 4), svg.label(x + 12, row, text)]
    return parts, row + 6
