"""Finds the file or orbax directory of a checkpoint."""

import os
import re
from collections.abc import Iterator

from etils import epath

from jax_vtm.checkpoints.released import WEB, downloaded, from_hub, web_address
from jax_vtm.checkpoints.stored import CheckpointError
from jax_vtm.errors import listed
from jax_vtm.regular_file import as_path, file_problem

EMBEDDED = "embedded:"
# Files of `save_pretrained`, in the order that transformers prefers.
_SAVE_PRETRAINED = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_LOOKS_LIKE_CHECKPOINT = re.compile(r"checkpoint(_\d+)?|.*\.(safetensors|npz|bin|pt|pth|pyth|msgpack)")
# Which of them exist depends on orbax's version and options.
_ORBAX_MARKERS = ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt")


def locate_checkpoint(path: str | os.PathLike[str]) -> epath.Path:
    """Finds the file or orbax directory of a checkpoint.

    Args:
        path: `embedded:NAME` of a checkpoint in the package; a URL (see `downloaded`); `owner/model` on Hugging Face's
            hub; a file; an orbax directory; or a directory with `checkpoint_<step>` entries or the numbered directories
            of orbax's CheckpointManager (the highest step is used), an entry `checkpoint`, or the files of
            `save_pretrained`. Local or `gs://`.

    Returns:
        The file, or the orbax directory, whose files are all regular.

    Raises:
        CheckpointError: Nothing is there, the directory holds no checkpoint, or `gs://` cannot be read here.
    """
    name = os.fspath(path)
    if name.startswith(EMBEDDED):
        return _embedded(name.removeprefix(EMBEDDED))
    found = epath.Path(downloaded(name)) if name.startswith(WEB) else as_path(path).expanduser()
    try:
        if not found.exists() and (folder := from_hub(name)):
            found = epath.Path(folder)
        located = _locate(found)
        for file in files_below(located) if located.is_dir() else [located]:
            require_file(file)
        return located
    except ImportError as error:
        # etils imports the client of a cloud store when it is first used.
        reason = f"reading this kind of path needs a package that is not installed ({error})"
        try:
            # Public files need no client.
            if name.startswith("gs://"):
                return epath.Path(downloaded(web_address(name)))
        except CheckpointError as failure:
            reason = f"{reason}, and without it: {failure}"
        raise CheckpointError(
            f"{found}: {reason} Run `pip install gcsfs`, or copy the checkpoint to a local disk."
        ) from error
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{found}: cannot be read: {error}") from error


def require_file(path: epath.Path) -> None:
    """Refuses named pipes and devices, which may never end."""
    if problem := file_problem(path):
        raise CheckpointError(f"{path}: {problem}.")


def files_below(directory: epath.Path, above: tuple[str, ...] = ()) -> Iterator[epath.Path]:
    """Yields the files of a directory and those below it, without following links to directories above."""
    # etils has no `rglob` for local paths.
    here = (*above, os.path.realpath(directory))
    for child in directory.iterdir():
        if not child.is_dir():
            yield child
        elif os.path.realpath(child) not in here:
            yield from files_below(child, here)


def _embedded(name: str) -> epath.Path:
    shipped = epath.Path(__file__).parent / "embedded"
    known = sorted(child.name for child in shipped.iterdir() if child.is_dir())
    if name not in known:
        raise CheckpointError(f"{EMBEDDED}{name}: no such checkpoint ships in the package; there is {listed(known)}.")
    return shipped / name / "checkpoint"


def _locate(path: epath.Path) -> epath.Path:
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or directory{_what_is_there(path.parent)}")
    if not path.is_dir() or _is_orbax(path):
        return path
    names = sorted(child.name for child in path.iterdir())
    # Flax and Scenic write `checkpoint_7`, orbax's CheckpointManager a directory `7`.
    steps = [name for name in names if re.fullmatch(r"checkpoint_\d+", name)]
    steps = steps or [name for name in names if re.fullmatch(r"\d+", name)]
    steps.sort(key=lambda name: int(name.removeprefix("checkpoint_")))
    chosen = [*steps[-1:], *(name for name in ("checkpoint", *_SAVE_PRETRAINED) if name in names)]
    if not chosen:
        raise CheckpointError(
            f"{path}: this directory holds no checkpoint: neither `checkpoint`, `checkpoint_<step>` nor what "
            f"`save_pretrained` writes, and it is not an orbax directory. It holds {listed(names) or 'nothing'}. "
            "A file with another name has to be given itself."
        )
    found = path / chosen[0]
    if found.is_dir() and not _is_orbax(found):
        # An older step would silently be other weights.
        raise CheckpointError(f"{found}: a directory that orbax did not write, or did not finish writing.")
    return found


def _is_orbax(path: epath.Path) -> bool:
    return path.is_dir() and any((path / marker).exists() for marker in _ORBAX_MARKERS)


def _what_is_there(folder: epath.Path) -> str:
    if not folder.is_dir():
        return f", and its parent directory {folder} does not exist either."
    children = list(folder.iterdir())
    names = sorted(child.name for child in children if _LOOKS_LIKE_CHECKPOINT.fullmatch(child.name) or _is_orbax(child))
    if not names:
        return f", and nothing in {folder} looks like a checkpoint."
    return f". What looks like a checkpoint in {folder}: {listed(names)}."
