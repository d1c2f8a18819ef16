"""Plots as strings of inline SVG. RGB are CSS classes, so that a page's dark mode reaches them.

Every plot is 360 units wide: about a phone's width, so that its text keeps a readable size there, and small
enough to stand beside others on a desk.
"""

import dataclasses
import html
import math
from collections.abc import Sequence

from jax_vtm.reports import wording

WIDTH = 360
COLOURS = 6  # series classes s0 .. s5 of the style sheet; more series repeat them with dashes


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value with its interval, in percent. The interval may be the value itself."""

    name: str
    value: float
    low: float
    high: float
    baseline: bool = False


@dataclasses.dataclass(frozen=True)
class Steps:
    """Tokens entering each layer, then leaving the last."""

    name: str
    counts: Sequence[int]


@dataclasses.dataclass(frozen=True)
class Shares:
    """What a run costs, in percent of the baseline; `text` is what stands beside each bar."""

    name: str
    bars: Sequence[tuple[str, float, str]]  # (kind, percent, text)


@dataclasses.dataclass(frozen=True)
class Point:
    """A run by its speed and its accuracy in percent with an interval."""

    name: str
    speed: float
    estimate: Estimate


def intervals(title: str, rows: Sequence[Estimate]) -> str:
    """Dot and whisker per run, with a dashed line down from the baseline's dot."""
    lines = [f"{row.name}: {row.value:.1f} % (95 % interval {row.low:.1f} to {row.high:.1f})" for row in rows]
    axis = Axis.around([row.low for row in rows], [row.high for row in rows], 12, WIDTH - 12)
    bottom = 14 + 42 * len(rows)
    parts = [_vertical_grid(axis, 8, bottom)]
    for row in rows:
        if row.baseline:
            parts.append(f'<path class="guide" d="M{axis.at(row.value):.1f} 8V{bottom}"/>')
    for index, row in enumerate(rows):
        top = 24 + 42 * index
        dot = axis.at(row.value)
        kind = "s0" if row.baseline else "s1"
        parts += [
            label(0, top, row.name),
            label(WIDTH, top, f"{row.value:.1f} %", "value end"),
            f'<g class="{kind}">',
            f'<path class="line" d="M{axis.at(row.low):.1f} {top + 14}H{axis.at(row.high):.1f}"/>',
            f'<circle class="dot" cx="{dot:.1f}" cy="{top + 14}" r="5"/></g>',
        ]
    return figure(title, lines, bottom + 20, [*parts, *horizontal_labels(axis, bottom + 16)])


def steps(title: str, series: Sequence[Steps]) -> str:
    """Tokens as a staircase over the layers, from zero; what leaves the last layer is the final tread."""
    lines = [f"{one.name}: {', '.join(map(str, one.counts))}" for one in series]
    layers = max(len(one.counts) for one in series) - 1
    left, right, top, bottom = 40, WIDTH - 8, 12, 190
    axis = Axis.of(0, max(max(one.counts) for one in series), bottom, top)
    step = (right - left) / (layers + 1)
    parts = []
    for tick in axis.ticks:
        parts += [
            f'<path class="grid" d="M{left} {axis.at(tick):.1f}H{right}"/>',
            label(left - 6, axis.at(tick) + 4, f"{tick:.0f}", "tick end"),
        ]
    labelled = [*range(0, layers, max(1, math.ceil(layers / 8)))]
    parts += [label(left + (layer + 0.5) * step, bottom + 16, str(layer + 1), "tick middle") for layer in labelled]
    parts.append(label(left + (layers + 0.5) * step, bottom + 16, "out", "tick middle"))
    parts.append(label(left + layers * step / 2, bottom + 32, "tokens entering layer", "tick middle"))
    for index, one in enumerate(series):
        path = f"M{left} {axis.at(one.counts[0]):.1f}"
        for place, count in enumerate(one.counts):
            path += f"V{axis.at(count):.1f}H{left + (place + 1) * step:.1f}"
        parts.append(f'<g class="{series_class(index)}"><path class="line" d="{path}"/></g>')
    for index, one in enumerate(series):
        row = bottom + 56 + 20 * index
        change = f"{one.counts[0]} → {one.counts[-1]}"
        parts += [
            f'<g class="{series_class(index)}"><path class="line" d="M0 {row - 4}H22"/></g>',
            label(30, row, one.name),
            label(WIDTH, row, change, "value end"),
        ]
    return figure(title, lines, bottom + 44 + 20 * len(series), parts)


def shares(title: str, rows: Sequence[Shares]) -> str:
    """Bars from zero in percent of the baseline, with a dashed line at 100 %."""
    lines = [f"{row.name}: {', '.join(f'{kind} {text}' for kind, _, text in row.bars)}" for row in rows]
    left, right = 76, WIDTH - 48
    axis = Axis.of(0, max(100.0, *(share for row in rows for _, share, _ in row.bars)), left, right)
    parts, top = [], 24
    for row in rows:
        parts.append(label(0, top, row.name))
        for index, (kind, share, text) in enumerate(row.bars):
            y = top + 9 + 18 * index
            parts += [
                label(left - 8, y + 10, kind, "tick end"),
                f'<rect class="bar s{index + 1}" x="{left}" y="{y}" '
                f'width="{axis.at(share) - left:.1f}" height="13" rx="2"/>',
                label(axis.at(share) + 6, y + 11, text, "value"),
            ]
        top += 28 + 18 * len(row.bars)
    bottom = top - 14
    guide = f'<path class="guide" d="M{axis.at(100):.1f} 8V{bottom}"/>'
    return figure(
        title,
        lines,
        bottom + 20,
        [_vertical_grid(axis, 8, bottom), *parts, guide, *horizontal_labels(axis, bottom + 16, " %")],
    )


def trade_off(title: str, points: Sequence[Point]) -> str:
    """Accuracy with its interval over speed: up and to the right is better."""
    lines = [f"{point.name}: {_place(point)}" for point in points]
    left, right, top, bottom = 44, WIDTH - 12, 12, 190
    estimates = [point.estimate for point in points]
    across = Axis.around([p.speed for p in points], [p.speed for p in points], left + 8, right - 24)
    up = Axis.around([e.low for e in estimates], [e.high for e in estimates], bottom, top)
    parts = []
    for tick in up.ticks:
        parts += [
            f'<path class="grid" d="M{left} {up.at(tick):.1f}H{right}"/>',
            label(left - 6, up.at(tick) + 4, up.written(tick), "tick end"),
        ]
    parts += horizontal_labels(across, bottom + 16, wording.TIMES)
    parts.append(label((left + right) / 2, bottom + 32, "speed-up", "tick middle"))
    for index, point in enumerate(points):
        x, one = across.at(point.speed), point.estimate
        colour = "s0" if one.baseline else "s1"
        parts.append(
            f'<g class="{colour}">'
            f'<path class="line" d="M{x:.1f} {up.at(one.low):.1f}V{up.at(one.high):.1f}"/>'
            f'<circle class="dot" cx="{x:.1f}" cy="{up.at(one.value):.1f}" r="5"/></g>'
        )
        parts.append(label(x + 8, up.at(one.value) - 7, str(index + 1), "value"))
    for index, point in enumerate(points):
        row = bottom + 56 + 20 * index
        parts += [
            label(0, row, f"{index + 1}", "value"),
            label(22, row, point.name),
            label(WIDTH, row, _place(point), "value end"),
        ]
    return figure(title, lines, bottom + 44 + 20 * len(points), parts)


@dataclasses.dataclass(frozen=True)
class Axis:
    """A linear scale from values to places, with round ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]

    @classmethod
    def of(cls, low: float, high: float, start: float, end: float) -> "Axis":
        """From `low` to the first round number at or above `high`."""
        width = (high - low) or 1.0
        step = _round_step(width / 4)
        high = low + step * math.ceil(width / step - 1e-9)
        return cls(low, high, start, end, [low + step * i for i in range(round((high - low) / step) + 1)])

    @classmethod
    def around(cls, lows: Sequence[float], highs: Sequence[float], start: float, end: float) -> "Axis":
        """Holds every value with a little room; the ticks inside are round."""
        low, high = min(lows), max(highs)
        room = 0.08 * (high - low) or 0.5
        low, high = low - room, high + room
        step = _round_step((high - low) / 4)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return cls(low, high, start, end, [step * i for i in range(first, last + 1)])

    def at(self, value: float) -> float:
        """The place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def written(self, tick: float) -> str:
        """A tick with as many digits as its neighbours need."""
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0
        return f"{tick:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def _place(point: Point) -> str:
    return f"{wording.times(point.speed)}, {point.estimate.value:.1f} %"


def _round_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))


def _vertical_grid(axis: Axis, top: float, bottom: float) -> str:
    return f'<path class="grid" d="{"".join(f"M{axis.at(tick):.1f} {top}V{bottom}" for tick in axis.ticks)}"/>'


def horizontal_labels(axis: Axis, y: float, unit: str = "") -> list[str]:
    """The ticks of an axis from left to right, as text with its unit."""
    return [label(axis.at(tick), y, axis.written(tick) + unit, f"tick {_anchor(axis.at(tick))}") for tick in axis.ticks]


def _anchor(x: float) -> str:
    """Keeps a label at the margin inside the picture."""
    return "end" if x > WIDTH - 16 else "start" if x < 16 else "middle"


def series_class(index: int) -> str:
    """The classes that give one of several lines its colour."""
    return f"s{index % COLOURS}{' dashed' if index >= COLOURS else ''}"


def label(x: float, y: float, text: str, kind: str = "name") -> str:
    """Text at a place; `kind` is its classes in the style sheet."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{html.escape(text)}</text>'


def figure(title: str, lines: Sequence[str], height: float, parts: Sequence[str]) -> str:
    """Wraps a plot so that a screen reader hears its title and its numbers."""
    name, numbers = html.escape(title), html.escape("; ".join(lines))
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{name}">'
        f"<title>{name}</title><desc>{numbers}</desc>{''.join(parts)}</svg>"
    )
