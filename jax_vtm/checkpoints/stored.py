"""The entries of a checkpoint, whose shapes are known before they are read, and its errors."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from etils import epath

from jax_vtm.errors import UserError

Shape = tuple[int, ...]


class CheckpointError(UserError):
    """A checkpoint cannot be found, cannot be read, or does not fit the model."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """An entry of a checkpoint, not read before `read` is called.

    Attributes:
        shape: None if the entry is no array.
        dtype: None if the entry is no array.
        read: Returns the array, or raises CheckpointError if it is damaged.
        what: Names an entry that is no array in messages.
    """

    shape: Shape | None = None
    dtype: np.dtype | None = None
    read: Callable[[], np.ndarray] = lambda: np.empty(0)
    what: str = "no array"

    def __str__(self) -> str:
        return self.what if self.shape is None else str(self.shape)


def in_memory(value: object) -> Stored:
    """Returns the entry of an array or numpy scalar; validation refuses that of anything else."""
    if not isinstance(value, (np.ndarray, np.generic)):
        return Stored()
    array = np.asarray(value)
    return Stored(array.shape, array.dtype, lambda: array)


@contextlib.contextmanager
def damage(path: epath.Path, what: str) -> Iterator[None]:
    """Raises CheckpointError, with `what` in its message, for any error of a library on damaged bytes."""
    try:
        yield
    except (CheckpointError, OSError):
        raise
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise CheckpointError(f"{path}: {what} ({type(error).__name__}{': ' if reason else ''}{reason}).") from error
