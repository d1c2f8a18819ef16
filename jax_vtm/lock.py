"""Files that one process at a time may have, until it closes them or ends, however it ends."""

import contextlib
import os
import pathlib
import stat
from collections.abc import Callable, Iterator

from jax_vtm.bucket import is_bucket
from jax_vtm.errors import UserError
from jax_vtm.files import AnyPath, writing

IN_USE = "another run is at work in this folder. Wait for it, or give another --workdir."


@contextlib.contextmanager
def held(path: AnyPath, taken: str = IN_USE) -> Iterator[Callable[[], None]]:
    """Holds a lock file, which is made at the beginning and removed at the end. In a bucket it does nothing.

    Args:
        path: The file. What a killed process left under this name is taken over.
        taken: What is said if another process holds it.

    Yields:
        A check that the file is still there, which raises a UserError otherwise: then others may be at work, too.

    Raises:
        UserError: Another process holds it, or it cannot be made.
    """
    if is_bucket(path):
        # Nobody would remove the lock of a machine that was taken away.
        yield lambda: None
        return
    path = pathlib.Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = _locked(path)
            # Removed by the last holder between opening and locking, it locks nobody out.
            while not _is_at(path, file):
                os.close(file)
                file = _locked(path)
        except BlockingIOError as error:
            raise UserError(f"{path}: {taken}") from error

    def check() -> None:
        if not _is_at(path, file):
            raise UserError(
                f"{path.parent}: was removed or renamed while this run was at work. Give the same command again."
            )

    try:
        yield check
    finally:
        if _is_at(path, file):
            path.unlink()
        os.close(file)


def _locked(path: pathlib.Path) -> int:
    """Opens a file and locks it; returns its descriptor. The lock goes when it is closed."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0), 0o666)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(None, "expected a regular file")
        # Windows, and file systems that know no locks, keep nobody out.
        with contextlib.suppress(ImportError):
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:
                pass
    except BaseException:
        os.close(file)
        raise
    return file


def _is_at(path: pathlib.Path, file: int) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False
