"""Reads tables and lists of text; one that is wrong is refused with the first problems and their lines."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

from etils import epath

from jax_vtm.errors import UserError
from jax_vtm.regular_file import check_regular_file

Row = TypeVar("Row")
Value = TypeVar("Value")

# Of an error message: problems that are spelled out, characters of each, and of a wrong value in it.
_SHOWN, _LONGEST_PROBLEM, _LONGEST_VALUE = 5, 300, 80

_LARGEST_CLASS = 9_999_999
"""What a class's index may be where the number of classes is not known: memory is set aside for all below it."""

_LARGEST_TEXT = 2**30
"""Bytes of a text file. The longest published list, the frames of Something-Something's training set, has half."""


class BadRow(ValueError):
    """One row cannot be used; `column` is the one at fault, if it is a single one."""

    def __init__(self, reason: str, column: str | None = None):
        super().__init__(reason)
        self.column = column


@dataclass(frozen=True)
class Table:
    """The rows below the header of a file: ("line 2", values) each, empty lines left out."""

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
    """Parses every row of a file, behind where it stands, to an id and what it says about it.

    Raises:
        UserError: `parse` raised `BadRow`, or an id has several rows; with the first problems and their number.
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
            problems.append(f"{place}: {brief(name)} stands in {seen_in[name]} already")
        else:
            seen_in[name], parsed[name] = place, value
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
    reader = csv.reader(io.StringIO(read_text(path), newline=""), skipinitialspace=True, strict=True)
    try:
        rows = [(f"line {reader.line_num}", [value.strip() for value in row]) for row in reader]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: is not comma-separated text ({error})") from error
    rows = [(line, row) for line, row in rows if any(row)]
    if not rows:
        raise UserError(f"{path}: the file is empty, expected a header line {expected}")
    line, header = rows[0]
    if repeated := sorted({column for column in header if header.count(column) > 1}):
        raise UserError(f"{path}, {line}: the header names {', '.join(map(brief, repeated))} twice")
    if missing := [column for column in columns if column not in header]:
        raise UserError(
            f"{path}, {line}: no column {' and no column '.join(map(repr, missing))} in the header "
            f"(found {', '.join(map(brief, header[:20]))}); expected {expected}"
        )
    return Table(path, tuple(header), tuple(rows[1:]))


def read_text(path: epath.Path) -> str:
    """Reads a text file; raises `UserError` if it cannot be read, is larger than any list, or is not UTF-8 text."""
    check_regular_file(path)
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_TEXT + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(data) > _LARGEST_TEXT:
        raise UserError(f"{path}: has more than {_LARGEST_TEXT} bytes, expected a list of videos or classes")
    if b"\0" in data:
        raise UserError(f"{path}: is not UTF-8 text (byte {data.index(0)} is zero); save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def lines_of(text: str) -> Iterator[tuple[str, str]]:
    """The lines of a text that are not empty, without the spaces around them, each behind "line 2" or the like."""
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if line := line.strip():
            yield f"line {number}", line


def read_annotations(
    path: epath.Path,
    num_classes: Mapping[str, int] | None = None,
    class_names: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, dict[str, int]]:
    """Reads our own annotation lists: a csv file with the columns `video` and one per head, one row per video.

    Args:
        path: As of `read_table`.
        num_classes: Number of classes of each head. Every one needs its column; other columns are ignored.
            Without it every column but `video` is a head, of any number of classes.
        class_names: Names of the classes by head, in the order of their indices, which its column may hold instead.

    Returns:
        Class indices by video id and head.

    Raises:
        UserError: The file cannot be read or any row is wrong.
    """
    counts, names = num_classes or {}, class_names or {}
    table = read_table(path, ["video", *counts], ",".join(["video", *(counts or ["label"])]))
    heads = list(counts) if num_classes is not None else [column for column in table.header if column != "video"]
    if not heads:
        raise UserError(f"{path}: no column with labels in the header (found 'video'), expected 'video,label'")

    def parse(fields: Mapping[str, str]) -> tuple[str, dict[str, int]]:
        if not fields["video"]:
            raise BadRow("no video is named")
        labels = {head: class_index(fields[head], counts.get(head), names.get(head), head) for head in heads}
        return str(PurePosixPath(fields["video"])), labels

    return table.by_id(parse)


def class_index(value: str, num_classes: int | None, names: Sequence[str] | None, column: str | None = None) -> int:
    """The class that a value means, as index or where names are known as name; `BadRow` if it means none, or two."""
    largest = (num_classes or len(names or ()) or _LARGEST_CLASS + 1) - 1
    digits = re.fullmatch(r"0*([0-9]{1,7})", value)
    as_index = int(digits[1]) if digits and int(digits[1]) <= largest else None
    as_name = names.index(value) if names and value in names else None
    meanings = {index for index in (as_index, as_name) if index is not None}
    if len(meanings) == 2:
        raise BadRow(
            f"{value!r} is both an index and the name of class {as_name}; use one of the two throughout", column
        )
    if not meanings:
        or_name = " or a class name" if names else ""
        raise BadRow(f"{brief(value)} is not a class, expected an index 0..{largest}{or_name}", column)
    return meanings.pop()


def brief(value: object) -> str:
    """A wrong value in an error message: quoted, and its beginning alone if it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}... ({len(text)} characters)"


def first_of(problems: Sequence[str]) -> str:
    """Joins the first few problems and says how many more there are."""
    more = len(problems) - _SHOWN
    first = [text if len(text) <= _LONGEST_PROBLEM else f"{text[:_LONGEST_PROBLEM]}..." for text in problems[:_SHOWN]]
    return "; ".join(first) + (f"; and {more} more" if more > 0 else "")
