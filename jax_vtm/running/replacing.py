"""Files that appear under their name only when they are complete."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from jax_vtm.errors import UserError


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes the place of another at the end, at once; what fails leaves the other alone.

    Raises:
        UserError: The disk is full or the like.
    """
    # Always the same name, so that what a killed process leaves behind does not add up.
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written: {error.strerror or error}. Make room and give the same command again."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
