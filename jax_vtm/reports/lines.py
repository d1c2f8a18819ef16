"""Measured values over a number, as inline SVG: a line per series, with the quartiles of every value."""

import dataclasses
from collections.abc import Sequence

from jax_vtm.reports import svg

LEFT, RIGHT, TOP, BOTTOM = 44.0, svg.WIDTH - 14.0, 12.0, 200.0


@dataclasses.dataclass(frozen=True)
class Value:
    """A point of a series.

    Attributes:
        x: Where it stands.
        y: Its height.
        low: Lower end of the whisker.
        high: Upper end of the whisker.
    """

    x: float
    y: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Series:
    """Values that are joined by a line.

    Attributes:
        name: In the legend.
        values: By rising x.
        computed: Drawn as a dashed line without dots: known by arithmetic, not measured.
    """

    name: str
    values: Sequence[Value]
    computed: bool = False


def lines(title: str, series: Sequence[Series], x_label: str, unit: str = "", *, from_zero: bool = True) -> str:
    """Draws the series, measured ones with a colour each.

    Args:
        title: What a screen reader calls it.
        series: What is drawn; none is empty.
        x_label: Of the horizontal axis.
        unit: After each number of the vertical axis.
        from_zero: Whether the vertical axis starts at zero.
    """
    xs = [value.x for one in series for value in one.values]
    lows = [value.low for one in series for value in one.values]
    highs = [value.high for one in series for value in one.values]
    across = svg.Axis.around(xs, xs, LEFT + 6, RIGHT)
    up = svg.Axis.of(0, max(highs), BOTTOM, TOP) if from_zero else svg.Axis.around(lows, highs, BOTTOM, TOP)
    parts = []
    for tick in up.ticks:
        parts += [
            f'<path class="grid" d="M{LEFT:.1f} {up.at(tick):.1f}H{RIGHT:.1f}"/>',
            svg.label(LEFT - 6, up.at(tick) + 4, up.written(tick) + unit, "tick end"),
        ]
    parts += svg.horizontal_labels(across, BOTTOM + 16)
    parts.append(svg.label((LEFT + RIGHT) / 2, BOTTOM + 33, x_label, "tick middle"))
    measured = 0
    descriptions = []
    for number, one in enumerate(series):
        places = [(across.at(value.x), up.at(value.y)) for value in one.values]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        row = BOTTOM + 56 + 20 * number
        if one.computed:
            parts += [f'<path class="guide" d="{path}"/>', f'<path class="guide" d="M0 {row - 4:.1f}H22"/>']
        else:
            measured += 1
            parts.append(f'<g class="s{measured}">{_measured(one, path, places, up, row)}</g>')
        parts.append(svg.label(30, row, one.name))
        numbers = ", ".join(f"{value.x:g}: {value.y:.3g}{unit}" for value in one.values)
        descriptions.append(f"{one.name}: {numbers}")
    return svg.figure(title, descriptions, BOTTOM + 44 + 20 * len(series), parts)


def _measured(one: Series, path: str, places: Sequence[tuple[float, float]], up: svg.Axis, row: float) -> str:
    parts = [f'<path class="line" d="{path}"/>', f'<path class="line" d="M0 {row - 4:.1f}H22"/>']
    for value, (x, y) in zip(one.values, places, strict=True):
        parts.append(f'<path class="line" d="M{x:.1f} {up.at(value.low):.1f}V{up.at(value.high):.1f}"/>')
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
    return "".join(parts)
