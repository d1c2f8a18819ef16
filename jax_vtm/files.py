"""The files of a workdir, on a disk or in a bucket: each is complete or not there at all.

What cannot be written is said in one sentence. On a disk a file is written under another name and renamed when it is
complete; a bucket takes objects whole.
"""

import contextlib
import csv
import io
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from etils import epath

from jax_vtm import bucket
from jax_vtm.errors import UserError, shown
from jax_vtm.regular_file import file_problem

# Of a disk, or in a bucket.
AnyPath = pathlib.Path | epath.Path

# Also the wide forms of the signs, which a spreadsheet takes for the same.
_FORMULA = re.compile(r"[ ']*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?")


@contextlib.contextmanager
def writing(path: AnyPath) -> Iterator[None]:
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


def on_disk(folder: AnyPath) -> pathlib.Path:
    """Returns the folder, or that of the cache if it is in a bucket."""
    return cache_folder() if bucket.is_bucket(folder) else pathlib.Path(folder)


def make_folder(path: pathlib.Path) -> pathlib.Path:
    """Makes a folder, and those above it, where they are not there yet; returns it.

    Raises:
        UserError: It cannot be made.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def atomic_write(path: AnyPath) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes the place of another at the end, at once; what fails leaves the other alone.

    Raises:
        UserError: The file or its folder cannot be written.
    """
    if bucket.is_bucket(path):
        content = io.BytesIO()
        yield content
        bucket.write({os.fspath(path): content.getvalue()})
        return
    path = pathlib.Path(path)
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


def write_files(contents: Mapping[AnyPath, bytes | None]) -> None:
    """Writes files as `atomic_write` does, to a bucket at the same time; None removes one that may be there."""
    objects = {os.fspath(path): content for path, content in contents.items() if bucket.is_bucket(path)}
    if objects:
        bucket.write({path: content for path, content in objects.items() if content is not None})
        bucket.remove([path for path, content in objects.items() if content is None])
    for path, content in contents.items() if not objects else ():
        if content is not None:
            with atomic_write(path) as file:
                file.write(content)
            continue
        with writing(path):
            path.unlink(missing_ok=True)


def write_text(path: AnyPath, text: str) -> None:
    """Writes a text, as `atomic_write` does."""
    write_files({path: encoded(text)})


def encoded(text: str) -> bytes:
    """A text in UTF-8; names of files that are no Unicode are escaped in it."""
    return text.encode(errors="backslashreplace")


def read_files(paths: Sequence[AnyPath]) -> list[bytes | None]:
    """Reads files, from a bucket at the same time; None for what is not there, nothing for what is no regular file.

    Raises:
        UserError: One cannot be read.
    """
    if any(map(bucket.is_bucket, paths)):
        return bucket.read([os.fspath(path) for path in paths])
    contents: list[bytes | None] = []
    for path in paths:
        try:
            contents.append(b"" if os.path.lexists(path) and file_problem(path) else path.read_bytes())
        except FileNotFoundError:
            contents.append(None)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}.") from error
    return contents


def write_new(path: AnyPath, content: bytes) -> bool:
    """Writes a file; False if somebody else was faster, which a bucket tells; on a disk, locks keep others out."""
    if bucket.is_bucket(path):
        return bucket.write_new(os.fspath(path), content)
    write_files({path: content})
    return True


def found(folder: AnyPath, *patterns: str) -> list[AnyPath]:
    """Lists the files below a folder that are of one of some patterns, such as `*/report.html`; asks a bucket once."""
    if not bucket.is_bucket(folder):
        return [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    paths, depth = [epath.Path(name) for name in bucket.find(os.fspath(folder))], len(folder.parts)
    fitting = ((path, pattern) for pattern in patterns for path in paths)
    return [p for p, pattern in fitting if p.match(pattern) and len(p.parts) == depth + pattern.count("/") + 1]


def set_aside(folder: AnyPath) -> None:
    """Gives a folder that may be there the suffix ".old", in place of what has that name.

    Raises:
        UserError: It cannot be renamed.
    """
    old = folder.with_name(f"{folder.name}.old")
    if bucket.is_bucket(folder):
        here, there = f"{os.fspath(folder)}/", f"{os.fspath(old)}/"
        if names := bucket.find(here):
            bucket.remove([*bucket.find(there)])
            bucket.move({name: there + name.removeprefix(here) for name in names})
        return
    with writing(old):
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)


@contextlib.contextmanager
def staged(path: AnyPath) -> Iterator[pathlib.Path]:
    """Gives a file or folder to a library that needs a disk: for a bucket, a temporary one that is copied there."""
    if not bucket.is_bucket(path):
        yield pathlib.Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="jax_vtm_") as folder:
        local = pathlib.Path(folder) / path.name
        yield local
        made = [file for file in (local, *local.rglob("*")) if file.is_file()]
        bucket.upload({os.fspath(path / file.relative_to(local)): str(file) for file in made})


def remove_leftovers(*folders: AnyPath) -> None:
    """Removes the unfinished files that a killed process may have left; nobody else may be writing there."""
    for folder in folders:
        if bucket.is_bucket(folder):
            continue
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


def write_table(path: AnyPath, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes `csv_text`, or removes what an earlier run wrote where there are no rows.

    Raises:
        UserError: The file cannot be written or removed.
    """
    write_files({path: csv_file(rows)})


def csv_file(rows: Sequence[Mapping[str, object]]) -> bytes | None:
    """What a table's file holds; None without rows, when there is to be none."""
    return encoded(csv_text(rows)) if rows else None


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = shown(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def usable_folder(path: str) -> AnyPath:
    """Returns a folder that a command can write to, as far as can be seen on this machine. Makes nothing.

    Raises:
        UserError: Something that is no folder, a place where nothing can be written, or a cloud of another kind.
    """
    if path.startswith(bucket.SCHEME):
        bucket.prepare()
        return epath.Path(path)
    if store := re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", path):
        raise UserError(
            f"--workdir={path}: results cannot be written to {store[0]}/. Give a folder of this machine or one that "
            f"begins with {bucket.SCHEME}, and copy it there when the command is done."
        )
    folder = pathlib.Path(path).expanduser()
    there = next((place for place in (folder, *folder.absolute().parents) if os.path.lexists(place)), folder)
    if not there.is_dir():
        raise UserError(f"--workdir={path}: {there} is there and is no folder. Give another --workdir.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--workdir={path}: nothing can be written in {there}. Give another --workdir.")
    return folder


def check_answers(folder: AnyPath) -> None:
    """Asks a bucket for something; of a folder on a disk nothing.

    Raises:
        UserError: The bucket does not exist, or cannot be read.
    """
    if bucket.is_bucket(folder):
        bucket.find(os.fspath(folder), prefix="config.json")
