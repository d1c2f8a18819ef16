"""A checkpoint's fingerprint, for records of results."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Protocol

from etils import epath

from jax_vtm.checkpoints.errors import CheckpointError
from jax_vtm.checkpoints.kinds import is_index
from jax_vtm.checkpoints.locate import locate_checkpoint
from jax_vtm.checkpoints.sharded import parts_of

_BLOCK_BYTES = 1 << 20


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def checkpoint_digest(path: str | os.PathLike[str]) -> str:
    """Computes the SHA-256 of a checkpoint, without reading it into memory at once.

    Args:
        path: What `load_checkpoint` takes. A directory of `checkpoint_<step>` files stands for the file that
            would be loaded, so both ways to name a checkpoint give the same digest.

    Returns:
        64 hexadecimal digits. For a file they are what `sha256sum` prints. For an orbax directory they cover
        the relative path, the size and the content of every file, in the order of the paths; for an index of tensor
        files the same of the index and the files that it names.

    Raises:
        CheckpointError: There is no checkpoint, or it cannot be read.
    """
    found = locate_checkpoint(path)
    digest = hashlib.sha256()
    try:
        if found.is_dir():
            files = {file.relative_to(found).as_posix(): file for file in _files_below(found)}
        elif is_index(found):
            files = {file.name: file for file in (found, *parts_of(found))}
        else:
            _update(digest, found)
            return digest.hexdigest()
        for name in sorted(files):
            # The size ends the content: otherwise bytes could move from one file to the next unnoticed.
            digest.update(f"{name}\0{files[name].stat().length}\0".encode())
            _update(digest, files[name])
        return digest.hexdigest()
    except OSError as error:
        raise CheckpointError(f"{found}: cannot be read: {error}") from error


def _files_below(directory: epath.Path) -> Iterator[epath.Path]:
    # etils leaves `rglob` out on local paths.
    for child in directory.iterdir():
        if child.is_dir():
            yield from _files_below(child)
        else:
            yield child


def _update(digest: _Hash, file: epath.Path) -> None:
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
