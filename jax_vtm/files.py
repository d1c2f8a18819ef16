"""Writing files: each is complete or not there at all, and what cannot be written is said in one sentence."""

import contextlib
import csv
import io
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from jax_vtm.errors import UserError, shown

# Also the wide forms of the signs, which a spreadsheet takes for the same.
_FORMULA = re.compile(r"[ ']*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?")


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Says of which path it was that the operating system did not let something be written.

    Raises:
        UserError: In place of an OSError: the disk is full, a folder is read-only, or there is a file in its place.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written: {error.strerror or error}. Make room, or give another --workdir, and run the "
            "same command again."
        ) from error


def cache_folder() -> pathlib.Path:
    """Returns the folder of what is kept from run to run: `JAX_VTM_CACHE`, or `~/.cache/jax_vtm`."""
    return pathlib.Path(os.environ.get("JAX_VTM_CACHE") or "~/.cache/jax_vtm").expanduser()


def make_folder(path: pathlib.Path) -> pathlib.Path:
    """Makes a folder, and those above it, where they are not there yet; returns it.

    Raises:
        UserError: It cannot be made.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def atomic_write(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes the place of another at the end, at once; what fails leaves the other alone.

    Raises:
        UserError: The file or its folder cannot be written.
    """
    # Always the same name, so that what a killed process leaves behind does not add up.
    partial = path.with_name(f".{path.name}.partial")
    make_folder(path.parent)
    try:
        with writing(path):
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text in UTF-8, as `atomic_write` does; names of files that are no Unicode are escaped in it."""
    with atomic_write(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def remove_leftovers(*folders: pathlib.Path) -> None:
    """Removes the unfinished files that a killed process may have left; nobody else may be writing there."""
    for folder in folders:
        for path in (*folder.glob(".*.partial"), *folder.glob(".*.tmp")):
            with contextlib.suppress(OSError):
                path.unlink()


def csv_text(rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> str:
    """Writes rows below a header; a row that lacks a column has an empty cell there.

    Names are data: control characters in a text are escaped, and one that a spreadsheet would take for a formula gets
    an apostrophe before it, as people type it there. Numbers stay numbers.

    Args:
        rows: By column.
        columns: Those of the header; by default all that rows have, in the order in which they come.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or dict.fromkeys(key for row in rows for key in row), lineterminator="\n")
    writer.writerow({column: _cell(column) for column in writer.fieldnames})
    writer.writerows({column: _cell(value) for column, value in row.items()} for row in rows)
    return text.getvalue()


def write_table(path: pathlib.Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes `csv_text`, or removes what an earlier run wrote where there are no rows.

    Raises:
        UserError: The file cannot be written or removed.
    """
    if rows:
        write_text(path, csv_text(rows))
        return
    with writing(path):
        path.unlink(missing_ok=True)


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = shown(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def usable_folder(path: str) -> pathlib.Path:
    """Returns a folder that a command can write to, as far as can be seen before anything is done. Makes nothing.

    Raises:
        UserError: A place in the cloud, something that is no folder, or a place where nothing can be written.
    """
    if store := re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", path):
        raise UserError(
            f"--workdir={path}: results cannot be written to {store[0]}/ yet. Give a folder of this machine, and copy "
            "it there when the command is done."
        )
    folder = pathlib.Path(path).expanduser()
    there = next((place for place in (folder, *folder.absolute().parents) if os.path.lexists(place)), folder)
    if not there.is_dir():
        raise UserError(f"--workdir={path}: {there} is there and is no folder. Give another --workdir.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--workdir={path}: nothing can be written in {there}. Give another --workdir.")
    return folder
