"""Paths that people give: which are files that can be read to their end, and which cannot be read at all.

Opening a named pipe waits until somebody writes into it, and a device may never end. So whatever opens a file that
somebody else put there asks here first.
"""

import os
import stat

from etils import epath

from jax_vtm import bucket
from jax_vtm.errors import UserError, shown

_OTHERS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def as_path(name: str | os.PathLike[str]) -> epath.Path:
    """Makes a path of a name, or of an address such as `gs://bucket/name`.

    Raises:
        UserError: It is an address of another kind, such as `http://...`.
    """
    if bucket.is_bucket(name):
        scheme = os.fspath(name).partition("://")[0]
        if f"{scheme}://" != bucket.SCHEME:
            raise UserError(
                f"{shown(name)}: addresses that begin with {scheme}:// cannot be read; give a local path or gs://"
            )
        bucket.prepare()
    return epath.Path(name)


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether there is something under a path; never an error for a name that cannot be one.

    Raises:
        UserError: What is needed to read from such an address is not installed.
    """
    if "://" not in os.fspath(path):
        return os.path.exists(path)
    try:
        return as_path(path).exists()
    except ImportError as error:
        raise UserError(f"{shown(path)}: such addresses cannot be read here ({error})") from error


def file_problem(path: str | os.PathLike[str]) -> str | None:
    """Says why a path is no file that can be read: "there is no such file", "is a folder", "is a named pipe ...".

    Links are followed. An address such as `gs://bucket/name` is not looked at. None if nothing is wrong.
    """
    name = os.fspath(path)
    if "://" in name:
        return None
    try:
        mode = os.stat(name).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "there is no such file"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except ValueError as error:  # a NUL byte, or a character that no file's name can have
        return f"is no file's name ({error})"
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISDIR(mode):
        return "is a folder, expected a file"
    return f"is {_OTHERS.get(stat.S_IFMT(mode), 'something else')}, expected a regular file"


def check_regular_file(path: str | os.PathLike[str]) -> None:
    """Raises `UserError` for what is missing, a folder, a named pipe, a socket or a device."""
    if problem := file_problem(path):
        raise UserError(f"{shown(path)}: {problem}")
