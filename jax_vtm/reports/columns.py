"""Columns of plain text, set side by side."""

import dataclasses
from collections.abc import Sequence

WIDTH = 120


@dataclasses.dataclass(frozen=True)
class Column:
    """A head and, per row, the lines of its cell; numbers stand at the right, text at the left."""

    head: str
    cells: list[list[str]]
    left: bool = False

    @property
    def width(self) -> int:
        """Characters of the widest line."""
        return max(len(text) for text in [self.head, *(line for cell in self.cells for line in cell)])


def width(columns: Sequence[Column]) -> int:
    """Characters of a line."""
    return sum(column.width for column in columns) + 2 * (len(columns) - 1)


def render(columns: Sequence[Column]) -> list[str]:
    """The table's lines: heads, a rule, rows."""
    lines = [_line([column.head for column in columns], columns), "─" * width(columns)]
    for index in range(len(columns[0].cells)):
        cells = [column.cells[index] for column in columns]
        for depth in range(max(len(cell) for cell in cells)):
            lines.append(_line([cell[depth] if depth < len(cell) else "" for cell in cells], columns))
    return lines


def _line(texts: Sequence[str], columns: Sequence[Column]) -> str:
    aligned = [
        text.ljust(column.width) if column.left else text.rjust(column.width)
        for text, column in zip(texts, columns, strict=True)
    ]
    return "  ".join(aligned).rstrip()
