"""What a checkpoint holds: arrays whose shapes are known before they are read; and the error for all that fails."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from etils import epath

from jax_vtm.errors import UserError

Shape = tuple[int, ...]


class CheckpointError(UserError):
    """A checkpoint cannot be found, cannot be read, or does not fit the model; the message says what would."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """One entry of a checkpoint. Nothing is read or allocated for it before `read` is called.

    Attributes:
        shape: Its shape; None where the entry is no array.
        dtype: Its type; None where the entry is no array.
        read: Returns the array. Raises CheckpointError where it is damaged.
        what: What the entry is instead of an array, for messages.
    """

    shape: Shape | None = None
    dtype: np.dtype | None = None
    read: Callable[[], np.ndarray] = lambda: np.empty(0)
    what: str = "no array"

    def __str__(self) -> str:
        return self.what if self.shape is None else str(self.shape)


def in_memory(value: object) -> Stored:
    """An array or numpy scalar that is there already; anything else is an entry that validation refuses."""
    if not isinstance(value, (np.ndarray, np.generic)):
        return Stored()
    array = np.asarray(value)
    return Stored(array.shape, array.dtype, lambda: array)


@contextlib.contextmanager
def damage(path: epath.Path, what: str) -> Iterator[None]:
    """Raises CheckpointError in place of whatever a library raises on damaged or crafted bytes.

    numpy, zipfile, pickle, msgpack, json and orbax promise no one type of exception: among what they raise are
    RuntimeError, OverflowError, RecursionError and MemoryError. `what` could not be done begins the message.
    """
    try:
        yield
    except (CheckpointError, OSError):
        raise
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise CheckpointError(f"{path}: {what} ({type(error).__name__}{': ' if reason else ''}{reason}).") from error
