"""From the path a user gives to the one file or orbax directory that is read."""

from __future__ import annotations

import os
import re

from etils import epath

from jax_vtm.checkpoints.errors import CheckpointError

EMBEDDED = "embedded:"
_STEP = re.compile(r"checkpoint_(\d+)")
_LOOKS_LIKE_CHECKPOINT = re.compile(r"checkpoint(_\d+)?|.*\.(safetensors|npz|bin|pt|pth|pyth|msgpack)")
# Any one of these is enough: which of them exist depends on orbax's version and on its storage options.
_ORBAX_MARKERS = ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt")
_MAX_LISTED = 20


def locate_checkpoint(path: str | os.PathLike[str]) -> epath.Path:
    """Finds the file or orbax directory that `path` means.

    Args:
        path: `embedded:NAME` for a checkpoint that ships in the package; a file; an orbax directory; or a
            directory that holds `checkpoint_<step>` entries (the highest step is taken, whatever else lies
            beside it) or, failing those, one entry named `checkpoint`. Local or `gs://`.

    Returns:
        The file, or the orbax directory.

    Raises:
        CheckpointError: Nothing is there, the directory holds no checkpoint, or `gs://` cannot be read here.
    """
    name = os.fspath(path)
    if name.startswith(EMBEDDED):
        return _embedded(name.removeprefix(EMBEDDED))
    found = epath.Path(path).expanduser()
    try:
        return _locate(found)
    except ImportError as error:
        # etils loads the client of a cloud store only when it is first used.
        raise CheckpointError(
            f"{found}: reading this kind of path needs a package that is not installed ({error}). "
            "Run `pip install gcsfs`, or copy the checkpoint to a local disk."
        ) from error
    except OSError as error:
        raise CheckpointError(f"{found}: cannot be read: {error}") from error


def _embedded(name: str) -> epath.Path:
    shipped = epath.Path(__file__).parent / "embedded"
    path = shipped / name / "checkpoint"
    if not name or not path.exists():
        known = ", ".join(sorted(child.name for child in shipped.iterdir() if child.is_dir()))
        raise CheckpointError(f"{EMBEDDED}{name}: no such checkpoint ships in the package; there is {known}.")
    return path


def is_orbax_directory(path: epath.Path) -> bool:
    """Says whether `path` is a directory that orbax wrote."""
    return path.is_dir() and any((path / marker).exists() for marker in _ORBAX_MARKERS)


def _locate(path: epath.Path) -> epath.Path:
    if not path.exists():
        raise CheckpointError(_not_found(path))
    if not path.is_dir() or is_orbax_directory(path):
        return path
    steps = {int(match[1]): child for child in path.iterdir() if (match := _STEP.fullmatch(child.name))}
    chosen = steps[max(steps)] if steps else path / "checkpoint"
    if chosen.is_file() or is_orbax_directory(chosen):
        return chosen
    if chosen.is_dir():
        # An older step may be complete, but taking it instead would evaluate other weights without a word.
        raise CheckpointError(f"{chosen}: a directory that orbax did not write, or did not finish writing.")
    names = sorted(child.name for child in path.iterdir())
    raise CheckpointError(
        f"{path}: this directory holds no checkpoint: neither `checkpoint` nor `checkpoint_<step>`, and it "
        f"is not an orbax directory. It holds {_listed(names) if names else 'nothing'}. "
        "A file with another name has to be given itself."
    )


def _not_found(path: epath.Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"{path}: no such file or directory, and its parent directory {parent} does not exist either."
    names = sorted(child.name for child in parent.iterdir() if _is_candidate(child))
    if names:
        return f"{path}: no such file or directory. What looks like a checkpoint in {parent}: {_listed(names)}."
    return f"{path}: no such file or directory, and nothing in {parent} looks like a checkpoint."


def _is_candidate(path: epath.Path) -> bool:
    return bool(_LOOKS_LIKE_CHECKPOINT.fullmatch(path.name)) or is_orbax_directory(path)


def _listed(names: list[str]) -> str:
    rest = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")
