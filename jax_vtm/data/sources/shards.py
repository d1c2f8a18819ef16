"""Names of the files that a data set is spread over."""

import os
import re
from collections.abc import Sequence

from etils import epath

from jax_vtm.data.tables import first_of
from jax_vtm.errors import UserError

_SHARDED = re.compile(r"(?P<base>.+)@(?P<count>[0-9]+)(?P<suffix>\.[^/]+)?")
_SHARD = re.compile(r"(?P<base>.+)-[0-9]{5,}-of-(?P<count>[0-9]{5,})(?P<suffix>\.[^/]+)?")


def shard_files(path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[epath.Path]:
    """Finds the files that a name stands for, in their order.

    Args:
        path: One file; `base@N` or `base@N.suffix`, which stands for `base-00000-of-0000N.suffix` and so on; a pattern
            with `*`, `?` or `[...]`, whose matches are sorted; or a list of files, in the order wanted.

    Raises:
        UserError: A file is missing or a folder, or the pattern matches none, or some shards of a set alone.
    """
    if not isinstance(path, str | os.PathLike):
        files = [epath.Path(file) for file in path]
    elif sharded := _SHARDED.fullmatch(os.fspath(path)):
        files = [epath.Path(name) for name in _shard_names(**sharded.groupdict())]
    elif any(character in os.fspath(path) for character in "*?["):
        files = _matches(os.fspath(path))
    else:
        files = [epath.Path(path)]
    if not files:
        raise UserError("the list of record files is empty, expected at least one")
    if missing := [str(file) for file in files if not file.exists()]:
        raise UserError(
            f"{path}: {len(missing)} of {len(files)} files {'is' if len(missing) == 1 else 'are'} missing: "
            f"{first_of(missing)}"
        )
    if folders := [file for file in files if file.is_dir()]:
        raise UserError(f"{folders[0]}: is a folder, expected a file, NAME@SHARDS or a pattern such as folder/test-*")
    return files


def _shard_names(base: str, count: str, suffix: str | None) -> list[str]:
    digits = max(5, len(str(int(count))))
    return [f"{base}-{shard:0{digits}d}-of-{int(count):0{digits}d}{suffix or ''}" for shard in range(int(count))]


def _matches(pattern: str) -> list[epath.Path]:
    parts = pattern.split("/")
    literal = next(number for number, part in enumerate(parts) if any(character in part for character in "*?["))
    folder = "/".join(parts[:literal]) or ("/" if pattern.startswith("/") else ".")
    files = sorted(epath.Path(folder).glob("/".join(parts[literal:])), key=os.fspath)
    if not files:
        raise UserError(f"{pattern}: no file matches")
    names = {os.fspath(file) for file in files}
    for name in sorted(names):
        shard = _SHARD.fullmatch(name)
        # A set with a hole would pass for a smaller set.
        if shard and (absent := [other for other in _shard_names(**shard.groupdict()) if other not in names]):
            raise UserError(
                f"{pattern}: {len(absent)} of {int(shard['count'])} shards {'is' if len(absent) == 1 else 'are'} "
                f"missing: {first_of(absent)}; to read some of them alone, list them"
            )
    return files
