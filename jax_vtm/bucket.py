"""Buckets (`gs://...`): objects that are read and written whole, and one sentence for what goes wrong there.

An object appears under its name when it is complete, and takes the place of another at once. There are no folders, no
locks and no renames. gcsfs asks again, six times within half a minute, where the storage answers with an error of its
own, is silent, or cuts an answer short.
"""

import contextlib
import functools
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jax_vtm.errors import UserError, shown

SCHEME = "gs://"
_CONNECT_S, _SILENCE_S, _SAID_AFTER_S = 20, 60, 8
_PACKAGES = ("gcsfs", "aiohttp", "google", "requests")


def is_bucket(path: str | os.PathLike[str]) -> bool:
    """Whether a path is an address such as `gs://bucket/name`."""
    return "://" in os.fspath(path)


@functools.cache
def prepare() -> None:
    """Sets gcsfs up, also for what epath opens; does nothing without it.

    Its requests would otherwise wait forever. It prints stack traces of errors that are said here in words, and asks
    by another protocol, with other credentials, what kind a bucket is.
    """
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    with contextlib.suppress(ImportError):
        import aiohttp
        import fsspec.config
        import gcsfs  # noqa: F401 - by one thread, before any asks

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
        fsspec.config.conf.setdefault("gcs", {}).setdefault("requests_timeout", timeout)


def problem(error: BaseException) -> str | None:
    """Says in words what an error of a storage means; None for errors of anything else."""
    if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in _PACKAGES:
        return None
    said, code = str(error).partition("\n")[0], str(getattr(error, "code", ""))
    if isinstance(error, FileNotFoundError):
        return "there is no such bucket, or nothing of that name in it"
    if said.startswith("Forbidden") or code == "403":
        return "the account of this machine may not do that; the role Storage Object User of the bucket allows it"
    if code == "401" or type(error).__module__.startswith("google.auth"):
        return "there are no credentials for it; give them with `gcloud auth application-default login` or an account"
    return f"the storage gave no good answer, tried several times ({shown(said) or type(error).__name__})"


@contextlib.contextmanager
def _asking(path: object, what: str) -> Iterator[Any]:
    """Yields the file system; says so if it takes long, and says in a UserError what goes wrong."""
    note = f"{shown(path)}: waiting for the storage, which is asked again if it gives no good answer"
    late = threading.Timer(_SAID_AFTER_S, print, [note], {"file": sys.stderr, "flush": True})
    late.daemon = True
    late.start()
    try:
        prepare()
        import fsspec

        yield fsspec.filesystem("gcs")
    except ImportError as error:
        raise UserError(f'{path}: such addresses need gcsfs: pip install "jax_vtm[gcs]" ({error}).') from error
    except Exception as error:
        if isinstance(error, UserError) or (reason := problem(error)) is None:
            raise
        raise UserError(f"{path}: cannot be {what}: {reason}.") from error
    finally:
        late.cancel()


def write(contents: Mapping[str, bytes]) -> None:
    """Writes objects, all at the same time."""
    with _asking(next(iter(contents), ""), "written") as storage:
        storage.pipe(dict(contents))


def download(files: Mapping[str, str]) -> None:
    """Copies objects to files of this machine."""
    with _asking(next(iter(files), ""), "read") as storage:
        storage.get([*files], [*files.values()])


def upload(files: Mapping[str, str]) -> None:
    """Writes objects that are files of this machine."""
    with _asking(next(iter(files), ""), "written") as storage:
        storage.put([*files.values()], [*files])


def write_new(path: str, content: bytes) -> bool:
    """Writes an object unless there is one of that name, which the storage decides; returns whether it did."""
    with _asking(path, "written") as storage:
        try:
            storage.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
    return True


def read(paths: Sequence[str]) -> list[bytes | None]:
    """Reads objects, all at the same time; None for those that are not there."""
    with _asking(next(iter(paths), ""), "read") as storage:
        found = storage.cat([*paths], on_error="return") if paths else {}
        answers = [found[path.removeprefix(SCHEME)] for path in paths]
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
                raise answer
    return [None if isinstance(answer, Exception) else answer for answer in answers]


def read_part(path: str, start: int, stop: int) -> bytes:
    """Reads some of an object's bytes."""
    with _asking(path, "read") as storage:
        return storage.cat_file(path, start=start, end=stop)


def find(folder: str, prefix: str = "") -> dict[str, str]:
    """Lists all objects below a folder, in order of their names; those that begin with a prefix.

    Returns:
        What an object is called that has the same content, by path: no two writings of it have the same.
    """
    bucket, _, key = folder.removeprefix(SCHEME).partition("/")
    asked = {"prefix": f"{key.rstrip('/')}/{prefix}" if key else prefix}
    found: dict[str, str] = {}
    with _asking(folder, "read") as storage:
        # `storage.find` asks twice where there is nothing.
        while True:
            answer = storage.call("GET", "b/{}/o", bucket, json_out=True, **asked)
            found |= {f"{SCHEME}{bucket}/{one['name']}": one["generation"] for one in answer.get("items", ())}
            if "nextPageToken" not in answer:
                return found
            asked["pageToken"] = answer["nextPageToken"]


def remove(paths: Sequence[str]) -> None:
    """Removes objects that may be there."""
    with _asking(next(iter(paths), ""), "removed") as storage, contextlib.suppress(FileNotFoundError):
        if paths:
            storage.rm([*paths])


def move(objects: Mapping[str, str]) -> None:
    """Gives objects other names, as which all are there before the first of the old ones goes."""
    with _asking(next(iter(objects), ""), "moved") as storage:
        storage.copy([*objects], [*objects.values()])
    remove([*objects])
