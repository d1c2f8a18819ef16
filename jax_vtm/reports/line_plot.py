"""Lines over layers or time steps, and bars that are shares of a whole, as inline SVG."""

import dataclasses
import math
from collections.abc import Sequence

from jax_vtm.reports import svg, wording

LEFT, RIGHT, TOP, BOTTOM = 44, svg.WIDTH - 8, 12, 190
ROW = 20


@dataclasses.dataclass(frozen=True)
class Line:
    """A value for each place along the axis; NaN leaves a gap."""

    name: str
    values: Sequence[float]


def lines(title: str, series: Sequence[Line], across: str, first: int = 1, unit: str = "") -> str:
    """Lines from zero up, each with its name below the plot.

    Args:
        title: What a screen reader calls it.
        series: Lines of equal length.
        across: What the axis counts, such as "time step".
        first: Number of the first place.
        unit: Behind the numbers, such as " %".
    """
    count = len(series[0].values)
    up = svg.Axis.of(0, max([v for line in series for v in line.values if math.isfinite(v)], default=1.0), BOTTOM, TOP)
    step = (RIGHT - LEFT) / max(count, 1)
    places = [LEFT + (index + 0.5) * step for index in range(count)]
    parts = []
    for tick in up.ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {up.at(tick):.1f}H{RIGHT}"/>')
        parts.append(svg.label(LEFT - 6, up.at(tick) + 4, up.written(tick) + unit, "tick end"))
    parts += _below(places, across, first)
    for index, line in enumerate(series):
        parts.append(f'<g class="{svg.series_class(index)}">{_path(places, line.values, up)}</g>')
        row = BOTTOM + 56 + ROW * index
        parts.append(f'<g class="{svg.series_class(index)}"><path class="line" d="M0 {row - 4}H22"/></g>')
        parts.append(svg.label(30, row, line.name))
    said = [f"{line.name}: {', '.join(wording.number(value) + unit for value in line.values)}" for line in series]
    return svg.figure(title, said, BOTTOM + 44 + ROW * len(series), parts)


def _path(places: Sequence[float], values: Sequence[float], up: svg.Axis) -> str:
    """A line through the values; a value between gaps is a dot."""
    path, begun = "", False
    for x, value in zip(places, values, strict=True):
        known = math.isfinite(value)
        if known:
            path += f"{'L' if begun else 'M'}{x:.1f} {up.at(value):.1f}" + ("" if begun else "h0")
        begun = known
    return f'<path class="line" d="{path}"/>' if path else ""


@dataclasses.dataclass(frozen=True)
class Part:
    """One kind of share in every bar, in percent; `kind` is its class in the style sheet, `opacity` its strength."""

    name: str
    shares: Sequence[float]
    kind: str
    opacity: float = 1.0


def bars(title: str, parts: Sequence[Part], across: str, first: int = 1) -> str:
    """Bars of 100 percent, one for each place along the axis, made of parts from the bottom up.

    Args:
        title: What a screen reader calls it.
        parts: The parts, whose shares of each place add up to 100.
        across: What the axis counts.
        first: Number of the first place.
    """
    count = len(parts[0].shares)
    up = svg.Axis.of(0, 100, BOTTOM, TOP)
    step = (RIGHT - LEFT) / count
    width = min(0.8 * step, 26.0)
    places = [LEFT + (index + 0.5) * step for index in range(count)]
    drawn = []
    for tick in up.ticks:
        drawn.append(f'<path class="grid" d="M{LEFT} {up.at(tick):.1f}H{RIGHT}"/>')
        drawn.append(svg.label(LEFT - 6, up.at(tick) + 4, f"{tick:.0f} %", "tick end"))
    drawn += _below(places, across, first)
    for index, x in enumerate(places):
        below = 0.0
        for part in parts:
            share = part.shares[index]
            if share > 0:
                top = up.at(below + share)
                drawn.append(
                    f'<rect class="bar {part.kind}" fill-opacity="{part.opacity:.2f}" x="{x - width / 2:.1f}" '
                    f'y="{top:.1f}" width="{width:.1f}" height="{up.at(below) - top:.1f}"/>'
                )
            below += share
    for index, part in enumerate(parts):
        row, column = BOTTOM + 56 + ROW * (index // 2), svg.WIDTH / 2 * (index % 2)
        drawn.append(
            f'<rect class="bar {part.kind}" fill-opacity="{part.opacity:.2f}" x="{column:.0f}" y="{row - 10}" '
            'width="22" height="12"/>'
        )
        drawn.append(svg.label(column + 30, row, part.name))
    said = [f"{part.name}: {', '.join(f'{share:.1f} %' for share in part.shares)}" for part in parts]
    return svg.figure(title, said, BOTTOM + 44 + ROW * math.ceil(len(parts) / 2), drawn)


def _below(places: Sequence[float], across: str, first: int) -> list[str]:
    """Numbers below an axis, as many as have room, and what they count."""
    every = max(1, math.ceil(len(places) / 12))
    numbers = [
        svg.label(x, BOTTOM + 16, str(first + index), "tick middle")
        for index, x in enumerate(places)
        if index % every == 0
    ]
    return [*numbers, svg.label((LEFT + RIGHT) / 2, BOTTOM + 32, across, "tick middle")]
