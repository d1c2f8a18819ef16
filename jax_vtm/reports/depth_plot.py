"""Differences by depth as inline SVG: one line for each of several comparisons, on a logarithmic scale."""

import dataclasses
import math
from collections.abc import Sequence

from jax_vtm.reports import svg

LEFT, RIGHT, TOP, BOTTOM = 44.0, svg.WIDTH - 12.0, 12.0, 232.0


@dataclasses.dataclass(frozen=True)
class Line:
    """One comparison: a value for every rung; where nothing differs, zero."""

    name: str
    values: Sequence[float]


def depth_plot(title: str, rungs: Sequence[str], lines: Sequence[Line], written: Sequence[str]) -> str:
    """Draws the lines from the first rung to the last; they are interrupted where nothing differs.

    Args:
        title: What a screen reader calls it.
        rungs: Short names below the horizontal axis.
        lines: The comparisons.
        written: What stands beside each line's name.
    """
    positive = [value for line in lines for value in line.values if value > 0]
    low = math.floor(math.log10(min(positive, default=1e-8)))
    high = max(math.ceil(math.log10(max(positive, default=1e-7))), low + 1)
    axis = svg.Axis(low, high, BOTTOM, TOP, list(range(low, high + 1)))
    step = (RIGHT - LEFT) / max(len(rungs) - 1, 1)
    parts = []
    every = math.ceil((high - low) / 8)
    for tick in range(low, high + 1, every):
        parts += [
            f'<path class="grid" d="M{LEFT:.1f} {axis.at(tick):.1f}H{RIGHT:.1f}"/>',
            svg.label(LEFT - 6, axis.at(tick) + 4, f"1e{tick}", "tick end"),
        ]
    shown = range(0, len(rungs), math.ceil(len(rungs) / 15))
    parts += [svg.label(LEFT + place * step, BOTTOM + 17, rungs[place], "tick middle") for place in shown]
    for index, line in enumerate(lines):
        places, path, pen = [], "", "M"
        for place, value in enumerate(line.values):
            if value > 0:
                x, y = LEFT + place * step, axis.at(math.log10(value))
                places.append((x, y))
                path += f"{pen}{x:.1f} {y:.1f}"
            pen = "L" if value > 0 else "M"
        dots = "".join(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.4"/>' for x, y in places)
        parts.append(f'<g class="{_kind(index)}"><path class="line" d="{path}"/>{dots}</g>')
    for index, (line, text) in enumerate(zip(lines, written, strict=True)):
        row = BOTTOM + 46 + 20 * index
        parts += [
            f'<g class="{_kind(index)}"><path class="line" d="M0 {row - 4}H22"/></g>',
            svg.label(30, row, line.name),
            svg.label(svg.WIDTH, row, text, "value end"),
        ]
    told = [f"{line.name}: {', '.join(f'{value:.1e}' for value in line.values)}" for line in lines]
    return svg.figure(title, told, BOTTOM + 34 + 20 * len(lines), parts)


def _kind(index: int) -> str:
    # The yardstick, last, in the grey of baselines.
    return ("s1", "s3", "s0 dashed")[index % 3]
