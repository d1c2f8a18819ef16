"""Loads a checkpoint of any format into a model's parameter tree."""

import contextlib
import functools
import os
import zipfile
from collections.abc import Callable, Collection
from typing import Any

from etils import epath

from jax_vtm.checkpoints.digest import check_stated_digest
from jax_vtm.checkpoints.hugging_face_config import check_hugging_face_config
from jax_vtm.checkpoints.locate import locate_checkpoint
from jax_vtm.checkpoints.msgpack_file import read_msgpack
from jax_vtm.checkpoints.orbax_directory import read_orbax
from jax_vtm.checkpoints.stored import CheckpointError, Stored, damage
from jax_vtm.checkpoints.tensor_files import (
    HEAD_BYTES,
    is_index,
    is_safetensors,
    read_index,
    read_npz,
    read_safetensors,
)
from jax_vtm.checkpoints.torch_file import read_torch
from jax_vtm.checkpoints.torch_names import choose_tensors, params_from_torch
from jax_vtm.checkpoints.validate import Model, abstract_params, validate
from jax_vtm.errors import listed

_EXCERPT_CHARACTERS = 160


def load_checkpoint(path: str | os.PathLike[str], model: Model) -> dict[str, Any]:
    """Loads a checkpoint into a model's parameter tree.

    The format is recognised from the content. Scenic's files have the layout of 2021 (`optimizer/target`) or today's
    (`params`). Files of named tensors have the names of the released PyTorch files (see `from_torch_state_dict`) or
    our own, paths joined by `/`, optionally after `params/`.

    Names, shapes and types are compared with the model's before any array is read. Checksums are checked where they
    exist: in our own files, in `<name>.sha256` next to any file, and of the arrays in npz and PyTorch's files.

    Args:
        path: A file of msgpack, safetensors, npz or PyTorch, or the index of several; an orbax directory or the folder
            of a CheckpointManager; a directory with `checkpoint_<step>` (the highest step is read) or `checkpoint`; a
            folder of Hugging Face's `save_pretrained`; `embedded:NAME`, a URL or `owner/model`. Local or `gs://`.
        model: The model to fill, a Flax module with `input_shape` (T, H, W, 3) and `heads`.

    Returns:
        `{"params": nested dict of np.ndarray}` with exactly the names, shapes and dtypes of the model. float16 and
        bfloat16 are widened. Arrays may be read-only.

    Raises:
        CheckpointError: There is no checkpoint, it is damaged, or it does not fit the model: leaves are missing,
            unexpected, of a wrong shape, not finite, or would have to be narrowed (float64 to float32).
    """
    found = locate_checkpoint(path)
    try:
        check_hugging_face_config(found, model)
        with contextlib.ExitStack() as files:
            params = _load(found, model, files)
        if not found.is_dir():
            check_stated_digest(found)
        return {"params": params}
    except OSError as error:
        raise CheckpointError(f"{found}: cannot be read: {error}") from error


def _load(path: epath.Path, model: Model, files: contextlib.ExitStack) -> dict[str, Any]:
    source, expected = str(path), abstract_params(model)
    choose = functools.partial(choose_tensors, expected=expected, model=model, source=source)
    entries, are_tensors = read_entries(path, expected, files, choose)
    if are_tensors:
        return params_from_torch(entries, expected, model, source)
    return validate(entries, expected, source=source, model=model)


def read_entries(
    path: epath.Path,
    names: Collection[str],
    files: contextlib.ExitStack,
    choose: Callable[[dict[str, dict[str, Stored]]], dict[str, Stored]],
) -> tuple[dict[str, Stored], bool]:
    """Reads the headers of a file or orbax directory of any format.

    Args:
        path: Where it is.
        names: The model's own, of the first level, which may stand there by themselves.
        files: Keeps what is read from open.
        choose: Takes one of several dicts of tensors, by where they lie in a file of PyTorch's.

    Returns:
        Entries by the names that they have there, without what lies around the parameters; and whether these are
        PyTorch's names rather than paths joined by `/`.
    """

    def read_tensors(path: epath.Path, format_: str) -> dict[str, Stored]:
        if format_ == "safetensors":
            return read_safetensors(path, files)
        if format_ == "npz":
            return read_npz(path, files)
        if format_ == "PyTorch":
            return choose(read_torch(path, files))
        raise CheckpointError(f"{path}: expected a file of tensors (safetensors, npz, PyTorch), found {format_}.")

    format_ = "orbax" if path.is_dir() else _recognise(path)
    if format_ == "orbax":
        return read_orbax(path, names), False
    if format_ == "flax msgpack":
        return read_msgpack(path, names), False
    if format_ == "an index of tensor files":
        entries = read_index(path, lambda part: read_tensors(part, _recognise(part)))
    else:
        entries = read_tensors(path, format_)
    are_tensors = not any("/" in name for name in entries)
    if all(name.startswith("params/") for name in entries):
        entries = {name.removeprefix("params/"): entry for name, entry in entries.items()}
    return entries, are_tensors


def _recognise(path: epath.Path) -> str:
    """Recognises the format of a file from its first bytes."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise CheckpointError(f"{path}: the file is empty (0 bytes). Download it again.")
    if head.startswith(b"PK"):
        return _recognise_zip(path)
    if is_safetensors(head):
        return "safetensors"
    # Pickle's first byte is also msgpack's empty map, which nothing follows.
    if head[0] == 0x80 and len(head) > 1 and 2 <= head[1] <= 5:
        return "PyTorch"
    if is_index(path):
        return "an index of tensor files"
    if 0x80 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF):  # the three ways in which msgpack starts a map
        return "flax msgpack"
    text = head.decode("utf-8-sig", errors="replace").strip()
    excerpt = f"It starts with: {' '.join(text[:_EXCERPT_CHARACTERS].split())}"
    if text.startswith("<"):
        found = f"an HTML or XML page, not a checkpoint; probably the error page of a failed download. {excerpt}"
    elif text.startswith("version https://git-lfs"):
        found = "a Git LFS pointer, not the checkpoint itself. Fetch the file with `git lfs pull`."
    elif text and "\ufffd" not in text[:64] and text[:64].isprintable():
        found = f"a text file, not a checkpoint. {excerpt}"
    else:
        found = (
            f"not a known checkpoint format: the file starts with {head[:16]!r}. Known are flax msgpack (Scenic), "
            "orbax directories, safetensors, npz and PyTorch files."
        )
    raise CheckpointError(f"{path}: {found}")


def _recognise_zip(path: epath.Path) -> str:
    size = path.stat().length
    problem = f"a zip archive (npz or PyTorch) that is truncated or damaged; it has {size:,} bytes, download it again"
    with damage(path, problem), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        return "PyTorch"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    first = listed(names, 5) or "none"
    raise CheckpointError(f"{path}: a zip archive that is neither npz nor PyTorch; its first entries: {first}.")
