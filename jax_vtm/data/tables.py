"""Reads tables of text; a table that is wrong is refused with the first problems and their lines."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from etils import epath

from jax_vtm.errors import UserError
from jax_vtm.regular_file import check_regular_file

Row = TypeVar("Row")
Value = TypeVar("Value")

_SHOWN = 5
"""How many problems an error message spells out."""


class BadRow(ValueError):
    """One row cannot be used.

    Attributes:
        column: The column at fault, if it is a single one.
    """

    def __init__(self, reason: str, column: str | None = None):
        super().__init__(reason)
        self.column = column


@dataclass(frozen=True)
class Table:
    """The rows below a header.

    Attributes:
        path: The file, for error messages.
        header: Names of the columns.
        rows: ("line 2", values) each, empty lines left out.
    """

    path: epath.Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, list[str]], ...]

    def by_id(self, parse: Callable[[Mapping[str, str]], tuple[str, Value]]) -> dict[str, Value]:
        """`by_id`, where `parse` gets each row's values by column."""

        def parse_values(values: list[str]) -> tuple[str, Value]:
            if len(values) != len(self.header):
                raise BadRow(f"{len(values)} values, expected {len(self.header)} ({', '.join(self.header)})")
            return parse(dict(zip(self.header, values, strict=True)))

        return by_id(self.path, self.rows, parse_values)


def by_id(
    path: epath.Path, rows: Iterable[tuple[str, Row]], parse: Callable[[Row], tuple[str, Value]]
) -> dict[str, Value]:
    """Parses every row, in order.

    Args:
        path: The file, for error messages.
        rows: Where each row stands, such as "line 2", and the row.
        parse: Turns a row into an id and what it says about it, or raises `BadRow`.

    Raises:
        UserError: Rows are wrong, or an id has several; the message has the first problems and their number.
    """
    parsed: dict[str, Value] = {}
    seen_in: dict[str, str] = {}
    problems = []
    for place, row in rows:
        try:
            name, value = parse(row)
        except BadRow as error:
            problems.append(f"{place}{f', column {error.column!r}' if error.column else ''}: {error}")
            continue
        if name in seen_in:
            problems.append(f"{place}: {name!r} stands in {seen_in[name]} already")
            continue
        seen_in[name] = place
        parsed[name] = value
    if problems:
        raise UserError(f"{path}: {first_of(problems)}")
    return parsed


def read_table(path: epath.Path, columns: Sequence[str], example: str | None = None) -> Table:
    """Reads a csv file with a header.

    Args:
        path: UTF-8 text with commas; spaces around values and empty lines do not matter.
        columns: Columns that have to be there, among others.
        example: Header that error messages suggest; by default the columns.

    Raises:
        UserError: The file cannot be read or is empty, or its header lacks a column or names one twice.
    """
    expected = f"'{example or ','.join(columns)}'"
    rows = _rows(path)
    if not rows:
        raise UserError(f"{path}: the file is empty, expected a header line {expected}")
    line, header = rows[0]
    if repeated := sorted({column for column in header if header.count(column) > 1}):
        raise UserError(f"{path}, {line}: the header names {', '.join(map(repr, repeated))} twice")
    if missing := [column for column in columns if column not in header]:
        raise UserError(
            f"{path}, {line}: no column {' and no column '.join(map(repr, missing))} in the header "
            f"(found {', '.join(map(repr, header))}); expected {expected}"
        )
    return Table(path, tuple(header), tuple(rows[1:]))


def read_text(path: epath.Path) -> str:
    """Reads a text file.

    Raises:
        UserError: It cannot be read or is not UTF-8.
    """
    check_regular_file(path)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def class_index(value: str, num_classes: int | None, names: Sequence[str] | None, column: str | None = None) -> int:
    """The class that a value means: its index, or its name where names are known.

    Raises:
        BadRow: It means none, or two.
    """
    if num_classes is None and names:
        num_classes = len(names)
    as_index = int(value) if re.fullmatch(r"[0-9]{1,9}", value) else None
    as_name = names.index(value) if names and value in names else None
    if as_index is not None and num_classes is not None and as_index >= num_classes:
        as_index = None
    meanings = {index for index in (as_index, as_name) if index is not None}
    if len(meanings) == 2:
        raise BadRow(
            f"{value!r} is both an index and the name of class {as_name}; use one of the two throughout", column
        )
    if not meanings:
        upper = "..." if num_classes is None else num_classes - 1
        or_name = " or a class name" if names else ""
        raise BadRow(f"{value!r} is not a class, expected an index 0..{upper}{or_name}", column)
    return meanings.pop()


def first_of(problems: Sequence[str]) -> str:
    """Joins the first few problems and says how many more there are."""
    more = len(problems) - _SHOWN
    return "; ".join(problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _rows(path: epath.Path) -> list[tuple[str, list[str]]]:
    """The rows that are not empty, and where they stand."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), skipinitialspace=True, strict=True)
    try:
        rows = [(f"line {reader.line_num}", [value.strip() for value in row]) for row in reader]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: is not comma-separated text ({error})") from error
    return [(line, row) for line, row in rows if any(row)]
