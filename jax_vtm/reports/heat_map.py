"""A confusion matrix as inline SVG: every pair of classes is a cell, the darker the more of its row's videos."""

import html
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jax_vtm.reports import svg

MAX_CLASSES = 20  # cells of more would be too small to point at

# Pale enough for the numbers in the cells to be read on top, in light and dark.
FAINTEST, DARKEST = 0.08, 0.5

NAME_LETTERS = 12
DIGIT_WIDTH = 5.6


def heat_map(title: str, matrix: Int[np.ndarray, "K K"], names: Sequence[str]) -> str:
    """Draws a confusion matrix with rows for true and columns for predicted classes.

    Right predictions and mistakes have a colour each. Opacity grows with the square root of a cell's share of its row,
    so that a rare mistake is seen beside a frequent one.

    Args:
        title: What a screen reader calls it.
        matrix: Videos, true classes down, predicted classes across.
        names: Of the classes; long ones are cut.
    """
    count = len(matrix)
    short = [name if len(name) <= NAME_LETTERS else f"{name[: NAME_LETTERS - 1]}…" for name in names]
    left = 12 + 6.6 * max(map(len, short))
    side = min(34.0, (svg.WIDTH - left) / count)
    top, right, bottom = 4.0, left + side * count, 4 + side * count
    parts = [f'<path class="grid" d="{_grid(left, top, side, count)}"/>']
    for row, column in np.argwhere(matrix):
        parts.append(_cell(matrix, int(row), int(column), names, left, top, side))
    for index, name in enumerate(short):
        middle = (index + 0.5) * side
        parts.append(svg.label(left - 6, top + middle + 4, name, "tick end"))
        x, y = left + middle + 4, bottom + 10
        parts.append(f'<g transform="rotate(-55 {x:.1f} {y:.1f})">{svg.label(x, y, name, "tick end")}</g>')
    parts.append(svg.label(right, bottom + 16 + 5.6 * max(map(len, short)), "predicted", "tick end"))
    return svg.figure(title, _in_words(matrix, names), bottom + 22 + 5.6 * max(map(len, short)), parts)


def _grid(left: float, top: float, side: float, count: int) -> str:
    length = side * count
    lines = [
        f"M{left:.1f} {top + index * side:.1f}h{length:.1f}M{left + index * side:.1f} {top:.1f}v{length:.1f}"
        for index in range(count + 1)
    ]
    return "".join(lines)


def _cell(
    matrix: Int[np.ndarray, "K K"],
    row: int,
    column: int,
    names: Sequence[str],
    left: float,
    top: float,
    side: float,
) -> str:
    videos, of = int(matrix[row, column]), int(matrix[row].sum())
    x, y = left + column * side, top + row * side
    opacity = max(FAINTEST, DARKEST * math.sqrt(videos / of))
    said = html.escape(f"{names[row]} predicted as {names[column]}: {videos} of {of}")
    colour = "s1" if row == column else "s2"
    square = (
        f'<g><title>{said}</title><rect class="bar {colour}" x="{x:.1f}" y="{y:.1f}" '
        f'width="{side:.1f}" height="{side:.1f}" fill-opacity="{opacity:.2f}"/></g>'
    )
    if DIGIT_WIDTH * len(str(videos)) > side - 3:
        return square
    return square + svg.label(x + side / 2, y + side / 2 + 3.5, str(videos), "count middle")


def _in_words(matrix: Int[np.ndarray, "K K"], names: Sequence[str]) -> list[str]:
    """Every class with its right predictions and its most frequent mistake."""
    lines = []
    for index, row in enumerate(matrix):
        line = f"{names[index]}: {row[index]} of {row.sum()} right"
        mistakes = np.where(np.arange(len(row)) == index, 0, row)
        if mistakes.any():
            worst = int(np.argmax(mistakes))
            line += f", {mistakes[worst]} predicted as {names[worst]}"
        lines.append(line)
    return lines
