"""Files that one process at a time may have, until it closes them or ends, however it ends."""

import contextlib
import os
import pathlib
import stat
from collections.abc import Iterator

from jax_vtm.errors import UserError


@contextlib.contextmanager
def held(path: pathlib.Path, taken: str) -> Iterator[None]:
    """Holds a lock file, which is made at the beginning and removed at the end.

    Args:
        path: The file. What a killed process left under this name is taken over.
        taken: What is said if another process holds it.

    Raises:
        UserError: Another process holds it, or it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open_locked(path)
    except BlockingIOError as error:
        raise UserError(f"{path}: {taken}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be made: {error.strerror or error}. Give another --workdir.") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(file)


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
