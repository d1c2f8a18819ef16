"""Values over a model's layers as inline SVG: a line per series, with intervals where there are any."""

import dataclasses
import html
import math
from collections.abc import Sequence

from jax_vtm.reports import svg

LEFT, RIGHT, TOP, BOTTOM = 44.0, svg.WIDTH - 10.0, 12.0, 200.0
LABELS = 12  # of layers; of more, only some are labelled


@dataclasses.dataclass(frozen=True)
class LayerValue:
    """A value in percent with its interval, which may be the value itself."""

    layer: int
    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class LayerSeries:
    """Values that a line joins.

    Attributes:
        name: In the legend.
        values: By rising layer.
        colour: Number of its colour, from 0.
        dashed: Whether the line is.
        summary: At the right of the legend.
    """

    name: str
    values: Sequence[LayerValue]
    colour: int
    dashed: bool = False
    summary: str = ""


def over_layers(
    title: str,
    series: Sequence[LayerSeries],
    *,
    x_label: str,
    guide: tuple[str, float] | None = None,
    zero: bool = False,
) -> str:
    """Draws series over layers, which are counted from 0.

    Args:
        title: What a screen reader calls it.
        series: What to draw; those with intervals stand a little beside each other.
        x_label: Of the horizontal axis.
        guide: Name and value of a dashed line across.
        zero: Whether the vertical axis begins at zero.
    """
    points = [point for one in series for point in one.values]
    layers = sorted({point.layer for point in points})
    lows, highs = [point.low for point in points], [point.high for point in points]
    if guide:
        lows, highs = [*lows, guide[1]], [*highs, guide[1]]
    up = svg.Axis.of(0.0, max(highs), BOTTOM, TOP) if zero else svg.Axis.around(lows, highs, BOTTOM, TOP)
    step = (RIGHT - LEFT) / max(1, len(layers))
    middle = {layer: LEFT + (place + 0.5) * step for place, layer in enumerate(layers)}
    apart = min(7.0, 0.5 * step / max(1, len(series)))
    parts = []
    for tick in up.ticks:
        parts += [
            f'<path class="grid" d="M{LEFT:.1f} {up.at(tick):.1f}H{RIGHT:.1f}"/>',
            svg.label(LEFT - 6, up.at(tick) + 4, up.written(tick), "tick end"),
        ]
    for layer in layers[:: math.ceil(len(layers) / LABELS)]:
        parts.append(svg.label(middle[layer], BOTTOM + 16, str(layer), "tick middle"))
    parts.append(svg.label((LEFT + RIGHT) / 2, BOTTOM + 33, x_label, "tick middle"))
    if guide:
        parts.append(f'<path class="guide" d="M{LEFT:.1f} {up.at(guide[1]):.1f}H{RIGHT:.1f}"/>')
    for number, one in enumerate(series):
        offset = (number - (len(series) - 1) / 2) * apart
        parts.append(_drawn(one, {layer: x + offset for layer, x in middle.items()}, up))
    row = BOTTOM + 38
    for one in series:
        row += 20
        parts += [
            f'<g class="{_kind(one)}"><path class="line" d="M0 {row - 4}H22"/></g>',
            svg.label(30, row, one.name),
            svg.label(svg.WIDTH, row, one.summary, "value end"),
        ]
    if guide:
        row += 20
        parts += [
            f'<path class="guide" d="M0 {row - 4}H22"/>',
            svg.label(30, row, guide[0]),
            svg.label(svg.WIDTH, row, f"{guide[1]:.1f} %", "value end"),
        ]
    return svg.figure(title, [_in_words(one) for one in series], row + 8, parts)


def _drawn(one: LayerSeries, places: dict[int, float], up: svg.Axis) -> str:
    line = "M" + "L".join(f"{places[point.layer]:.1f} {up.at(point.value):.1f}" for point in one.values)
    parts = [f'<path class="line" d="{line}"/>'] if len(one.values) > 1 else []
    for point in one.values:
        x = places[point.layer]
        if point.high > point.low:
            parts.append(f'<path class="whisker" d="M{x:.1f} {up.at(point.low):.1f}V{up.at(point.high):.1f}"/>')
        parts.append(
            f"<g><title>{html.escape(f'{one.name}, layer {point.layer}: {_value(point)}')}</title>"
            f'<circle class="dot" cx="{x:.1f}" cy="{up.at(point.value):.1f}" r="3.6"/></g>'
        )
    return f'<g class="{_kind(one)}">{"".join(parts)}</g>'


def _kind(one: LayerSeries) -> str:
    return f"s{one.colour % svg.COLOURS}{' dashed' if one.dashed else ''}"


def _value(point: LayerValue) -> str:
    between = f" [{point.low:.1f}, {point.high:.1f}]" if point.high > point.low else ""
    return f"{point.value:.1f} %{between}"


def _in_words(one: LayerSeries) -> str:
    return f"{one.name}: {', '.join(f'layer {point.layer} {_value(point)}' for point in one.values)}"
