"""SHA-256 digests of checkpoints, for results and to detect damage."""

import hashlib
import os
import re
import time
from typing import IO

from etils import epath

from jax_vtm.bucket import find, is_bucket
from jax_vtm.checkpoints.locate import files_below, locate_checkpoint, require_file
from jax_vtm.checkpoints.stored import CheckpointError
from jax_vtm.checkpoints.tensor_files import is_index, parts_of

_BLOCK_BYTES = 1 << 20
# Our own files end with their digest, so that it can be computed while writing and reading.
DIGEST_KEY, DIGEST_CHARACTERS = "sha256_of_all_before", 64
_cache: dict[tuple[object, ...], str] = {}  # by path, size, times and inode


class HashedFile:
    """A file that is hashed while it is read; `before` is then the SHA-256 of all but the last 64 bytes."""

    def __init__(self, file: IO[bytes], path: epath.Path):
        self._file, self._path, self._identity = file, path, _identity(path)
        self._hash, self._left = hashlib.sha256(), path.stat().length - DIGEST_CHARACTERS
        self.before = ""

    def read(self, size: int = -1) -> bytes:
        """Reads and hashes up to `size` bytes."""
        data = self._file.read(size)
        start = self._left if 0 <= self._left <= len(data) else 0
        self._hash.update(data[:start])
        if start == self._left:
            self.before = self._hash.hexdigest()
        self._hash.update(data[start:])
        self._left -= len(data)
        return data

    def digest(self) -> str:
        """Reads the rest, and returns the SHA-256 of the whole file."""
        while self.read(_BLOCK_BYTES):
            pass
        if self._identity and self._identity == _identity(self._path):
            _cache[self._identity] = self._hash.hexdigest()
        return self._hash.hexdigest()


def checkpoint_digest(path: str | os.PathLike[str]) -> str:
    """Computes the SHA-256 of a checkpoint; a file that did not change since it was last read is not read again.

    Args:
        path: As for `load_checkpoint`.

    Returns:
        64 hexadecimal digits: of a file, as `sha256sum` prints; of an orbax directory, of the relative path, size and
        content of every file in the order of the paths; of an index, the same of the index and its files.

    Raises:
        CheckpointError: There is no checkpoint, or it cannot be read.
    """
    found = locate_checkpoint(path)
    try:
        if found.is_dir():
            files = {file.relative_to(found).as_posix(): file for file in files_below(found)}
        elif is_index(found):
            files = {file.name: file for file in (found, *parts_of(found))}
        else:
            return _file_digest(found)
        digest = hashlib.sha256()
        for name, file in sorted(files.items()):
            # With the size, so that moving bytes to the next file changes the digest.
            digest.update(f"{name}\0{file.stat().length}\0".encode())
            with file.open("rb") as stream:
                while block := stream.read(_BLOCK_BYTES):
                    digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise CheckpointError(f"{found}: cannot be read: {error}") from error


def check_stated_digest(path: epath.Path) -> None:
    """Compares a file with the digest in `<name>.sha256` next to it, if there is one."""
    file = path.with_name(f"{path.name}.sha256")
    if not file.exists():
        return
    require_file(file)
    with file.open("rb") as stream:
        stated = re.match(rb"[0-9a-fA-F]{64}\b", stream.read(_BLOCK_BYTES))
    if stated is None:
        raise CheckpointError(f"{file}: holds no SHA-256 of {path.name} next to it. Remove or replace it.")
    found, expected = _file_digest(path), stated[0].decode().lower()
    if found != expected:
        raise CheckpointError(
            f"{path}: damaged, or changed since it was written: its SHA-256 is {found}, and {file.name} next to it "
            f"says {expected}. Copy or convert it again."
        )


def _file_digest(path: epath.Path) -> str:
    if digest := _cache.get(_identity(path) or ()):
        return digest
    with path.open("rb") as file:
        return HashedFile(file, path).digest()


def _identity(path: epath.Path) -> tuple[object, ...] | None:
    """Returns facts that change when a file is rewritten; None if they are not reliable."""
    if is_bucket(path):
        written = find(os.fspath(path.parent), path.name).get(os.fspath(path))
        return (os.fspath(path), written) if written else None
    state = os.stat(path)
    # A file that was just written may be rewritten within the same tick of the file system's clock.
    if time.time() - state.st_mtime < 2:
        return None
    return os.path.realpath(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino
