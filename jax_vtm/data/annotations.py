"""Reads annotation lists: one row per video, one column per head."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from etils import epath

from jax_vtm.errors import UserError

_SHOWN = 5
"""How many problems an error message spells out."""


def read_annotations(
    path: epath.Path,
    num_classes: Mapping[str, int] | None = None,
    class_names: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, dict[str, int]]:
    """Reads a csv file with the columns `video` and one per head.

    Args:
        path: UTF-8 text with commas; spaces around values and empty lines do not matter.
        num_classes: Number of classes of each head. Every one needs its column; other columns are ignored.
            Without it every column but `video` is a head, of any number of classes.
        class_names: Names of the classes by head, in the order of their indices. The column of such a head
            may hold names instead of indices.

    Returns:
        Class indices by video id and head.

    Raises:
        UserError: The file cannot be read or any row is wrong; the message names the file, the first problems
            with their lines, and how many there are.
    """
    class_names = class_names or {}
    rows = _rows(path)
    if not rows:
        raise UserError(f"{path}: the file is empty, expected a header line 'video,{_example(num_classes)}'")
    header_line, header = rows[0]
    heads = _heads(header, num_classes, f"{path}, line {header_line}")
    labels: dict[str, dict[str, int]] = {}
    seen_at: dict[str, int] = {}
    problems = []
    for line, row in rows[1:]:
        if len(row) != len(header):
            problems.append(f"line {line}: {len(row)} values, expected {len(header)} ({', '.join(header)})")
            continue
        fields = dict(zip(header, row, strict=True))
        video = str(PurePosixPath(fields["video"]))
        if not fields["video"]:
            problems.append(f"line {line}: no video is named")
            continue
        if video in seen_at:
            problems.append(f"line {line}: {video!r} has a row already, in line {seen_at[video]}")
            continue
        seen_at[video] = line
        labels[video] = {}
        for head in heads:
            try:
                labels[video][head] = _class_index(fields[head], (num_classes or {}).get(head), class_names.get(head))
            except ValueError as error:
                problems.append(f"line {line}, column {head!r}: {error}")
    if problems:
        raise UserError(f"{path}: {first_of(problems)}")
    return labels


def first_of(problems: Sequence[str]) -> str:
    """Joins the first few problems and says how many more there are."""
    more = len(problems) - _SHOWN
    return "; ".join(problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _rows(path: epath.Path) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, with their line numbers."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        rows = [(reader.line_num, [value.strip() for value in row]) for row in reader]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: is not comma-separated text ({error})") from error
    return [(line, row) for line, row in rows if any(row)]


def _heads(header: list[str], num_classes: Mapping[str, int] | None, where: str) -> list[str]:
    found = f"found {', '.join(map(repr, header))}"
    if repeated := sorted({column for column in header if header.count(column) > 1}):
        raise UserError(f"{where}: the header names {', '.join(map(repr, repeated))} twice")
    expected = ["video", *(num_classes or {})]
    if missing := [column for column in expected if column not in header]:
        raise UserError(
            f"{where}: no column {' and no column '.join(map(repr, missing))} in the header ({found}); "
            f"expected 'video,{_example(num_classes)}'"
        )
    heads = list(num_classes) if num_classes is not None else [column for column in header if column != "video"]
    if not heads:
        raise UserError(f"{where}: no column with labels in the header ({found}), expected 'video,label'")
    return heads


def _example(num_classes: Mapping[str, int] | None) -> str:
    return ",".join(num_classes or ["label"])


def _class_index(value: str, num_classes: int | None, names: Sequence[str] | None) -> int:
    """The class that a value means.

    Raises:
        ValueError: It means none, or two.
    """
    if num_classes is None and names:
        num_classes = len(names)
    as_index = int(value) if re.fullmatch(r"[0-9]+", value) else None
    as_name = names.index(value) if names and value in names else None
    if as_index is not None and num_classes is not None and as_index >= num_classes:
        as_index = None
    meanings = {index for index in (as_index, as_name) if index is not None}
    if len(meanings) == 2:
        raise ValueError(f"{value!r} is both an index and the name of class {as_name}; use one of the two throughout")
    if not meanings:
        upper = "..." if num_classes is None else num_classes - 1
        raise ValueError(
            f"{value!r} is not a class, expected an index 0..{upper}" + (" or a class name" if names else "")
        )
    return meanings.pop()
