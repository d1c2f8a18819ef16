"""Tables for pages, terminal and csv files."""

import dataclasses
import io
import json
import math
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jax_vtm.errors import shown
from jax_vtm.files import csv_text
from jax_vtm.reports.formatting import MISSING, is_known

TERMINAL_WIDTH = 80
PAGE_WIDTH = 130  # characters in a page of 1280 pixels, with `GAP` between columns
GAP = 2
NAME_WIDTH = 30  # at which the first column wraps
TEXT_WIDTH = 16  # at which other text columns wrap


class Interval(NamedTuple):
    """A value with its interval, such as a confidence interval or quartiles; NaN if unknown."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def of(cls, measured: Mapping[str, Any] | None, value: str = "value") -> "Interval":
        """Reads {"value", "low", "high"}; missing entries are NaN."""
        found = ((measured or {}).get(key) for key in (value, "low", "high"))
        return cls(*(math.nan if number is None else number for number in found))

    @property
    def is_known(self) -> bool:
        """Whether both ends are known."""
        return is_known(self.low) and is_known(self.high)

    @property
    def spans_zero(self) -> bool:
        """Whether zero lies inside, or the ends are unknown."""
        return not self.is_known or self.low <= 0 <= self.high

    def scaled(self, by: float) -> "Interval":
        """Multiplies value and ends."""
        return Interval(*(by * part for part in self))


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: Of the value in a row, and name in a csv file. Values are numbers, texts, lists, None or `Interval`s.
        title: Its heading.
        unit: In brackets after the title.
        format: Formats a number; None makes a column of text.
        note: Explains the column once at the end of the page.
    """

    key: str
    title: str
    unit: str = ""
    format: Callable[[Any], str] | None = None
    note: str = ""

    @property
    def head(self) -> str:
        """Title and unit."""
        return f"{shown(self.title)} ({self.unit})" if self.unit else shown(self.title)

    def lines(self, row: Mapping[str, Any]) -> list[str]:
        """Formats the value of a row, and its interval as a second line."""
        value = row.get(self.key)
        if self.format is None:
            texts = value if isinstance(value, (list, tuple)) else () if value is None else (value,)
            return [", ".join(map(shown, texts))]
        if not isinstance(value, Interval):
            return [self.format(value) if is_known(value) else MISSING]
        if not is_known(value.value):
            return [MISSING]
        between = [f"[{self.format(value.low)}, {self.format(value.high)}]"] if value.is_known else []
        return [self.format(value.value), *between]

    def sort_key(self, row: Mapping[str, Any]) -> Any:
        """Returns the number or text that the column is sorted by."""
        value = row.get(self.key)
        value = value.value if isinstance(value, Interval) else value
        if self.format is None:
            return self.lines(row)[0]
        return value if is_known(value) else ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: For screen readers, unique on its page.
        columns: The first names the row.
        rows: {column key: value}.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]

    def blocks(self, width: int = PAGE_WIDTH) -> list[list[Column]]:
        """Splits the columns into groups that fit a width in characters; each begins with those that name a row."""
        names = self._names()
        blocks = [[*names]]
        for column in self.columns[len(names) :]:
            full = sum(self._least(one) + GAP for one in (*blocks[-1], column)) - GAP > width
            if full and len(blocks[-1]) > len(names):
                blocks.append([*names])
            blocks[-1].append(column)
        return blocks

    def text(self, width: int = TERMINAL_WIDTH) -> str:
        """Formats the table for a terminal, groups of columns below each other if it is wide."""
        import rich.box
        import rich.console
        import rich.table
        import rich.text

        out = io.StringIO()
        console = rich.console.Console(file=out, width=width, color_system=None, highlight=False, legacy_windows=False)
        # Rich puts one more space between columns.
        look = {"box": rich.box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False, "padding": (0, GAP - 1, 0, 0)}
        for number, block in enumerate(self.blocks(width)):
            drawn = rich.table.Table(**look)
            room = width - sum(self._least(column) + GAP for column in block) + GAP
            for column in block:
                more = max(0, min(room, self._width(column) - self._least(column)))
                room -= more
                wide, justify = self._least(column) + more, "right" if column.format else "left"
                drawn.add_column(rich.text.Text(column.head), width=wide, justify=justify, overflow="fold")
            for row in self.rows:
                drawn.add_row(*(rich.text.Text("\n".join(column.lines(row))) for column in block))
            out.write("\n" if number else "")
            console.print(drawn)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"

    def print(self) -> None:
        """Prints the table at the terminal's width, or 80 characters without a terminal."""
        is_terminal = sys.stdout.isatty()
        print(self.text(shutil.get_terminal_size().columns if is_terminal else TERMINAL_WIDTH))

    def csv(self) -> str:
        """Formats all values with all digits, and the ends of intervals in columns of their own."""
        split = {c.key for c in self.columns if any(isinstance(row.get(c.key), Interval) for row in self.rows)}
        keys = [(c.key, part) for c in self.columns for part in (("", "_low", "_high") if c.key in split else ("",))]
        rows = [{f"{key}{part}": _raw(row.get(key), part) for key, part in keys} for row in self.rows]
        return csv_text(rows, [f"{key}{part}" for key, part in keys])

    def _names(self) -> list[Column]:
        """Returns the leading columns, at most three, whose values differ between all rows."""
        for count in range(1, 4):
            names = list(self.columns[:count])
            if len({tuple(column.lines(row)[0] for column in names) for row in self.rows}) == len(self.rows):
                return names
        return list(self.columns[:1])

    def _width(self, column: Column) -> int:
        """Returns the characters of the widest cell or of the longest word of the heading."""
        from rich.cells import cell_len

        cells = [cell_len(line) for row in self.rows for line in column.lines(row)]
        return max([*cells, *map(cell_len, column.head.split())])

    def _least(self, column: Column) -> int:
        """Returns the least width in characters: text wraps, numbers do not."""
        if column is self.columns[0]:
            return min(self._width(column), NAME_WIDTH)
        return self._width(column) if column.format else min(self._width(column), TEXT_WIDTH)


def _raw(value: Any, part: str) -> Any:
    if isinstance(value, Interval):
        value = value[("", "_low", "_high").index(part)]
    elif part:
        return ""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return json.dumps(list(value)) if isinstance(value, (list, tuple)) else value
