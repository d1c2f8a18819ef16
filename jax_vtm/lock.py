"""Files that one process at a time may have, until it closes them or ends, however it ends."""

import contextlib
import os
import pathlib
import stat
from collections.abc import Callable, Iterable, Iterator

from jax_vtm.errors import UserError
from jax_vtm.files import writing

IN_USE = "another run is at work in this folder. Wait for it, or give another --workdir."


@contextlib.contextmanager
def held(path: pathlib.Path, taken: str = IN_USE) -> Iterator[Callable[[], None]]:
    """Holds a lock file, which is made at the beginning and removed at the end.

    Args:
        path: The file. What a killed process left under this name is taken over.
        taken: What is said if another process holds it.

    Yields:
        A check that the file is still there, which raises a UserError otherwise: then others may be at work, too.

    Raises:
        UserError: Another process holds it, or it cannot be made.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = open_locked(path)
        except BlockingIOError as error:
            raise UserError(f"{path}: {taken}") from error

    def check() -> None:
        if not is_at(path, file):
            raise UserError(
                f"{path.parent}: was removed or renamed while this run was at work. Give the same command again."
            )

    try:
        yield check
    finally:
        if is_at(path, file):
            path.unlink()
        os.close(file)


def remove_abandoned(paths: Iterable[pathlib.Path]) -> None:
    """Removes lock files that a killed process has left; those that are held stay."""
    for path in paths:
        with contextlib.suppress(UserError), held(path):
            pass


def open_locked(path: pathlib.Path) -> int:
    """Opens a file for reading and writing, and locks it; made if it does not exist.

    Returns:
        The file's descriptor. The lock goes when it is closed.

    Raises:
        BlockingIOError: Another process has the lock.
        OSError: It cannot be opened, or is no file.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0), 0o666)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(None, "expected a regular file")
            _lock(file)
        except BaseException:
            os.close(file)
            raise
        # Removed or renamed by the last holder meanwhile, it locks nobody out.
        if is_at(path, file):
            return file
        os.close(file)


def is_at(path: pathlib.Path, file: int) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _lock(file: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system that knows no locks
        return
