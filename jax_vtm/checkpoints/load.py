"""The entry: any checkpoint to a model's parameters."""

import contextlib
import os
from typing import Any

from etils import epath

from jax_vtm.checkpoints.digest import check_stated_digest
from jax_vtm.checkpoints.formats import Format, recognise
from jax_vtm.checkpoints.hugging_face_config import check_hugging_face_config
from jax_vtm.checkpoints.locate import locate_checkpoint
from jax_vtm.checkpoints.msgpack_file import read_msgpack
from jax_vtm.checkpoints.orbax_directory import read_orbax
from jax_vtm.checkpoints.stored import CheckpointError, Stored
from jax_vtm.checkpoints.tensor_files import read_index, read_npz, read_safetensors
from jax_vtm.checkpoints.torch_file import read_torch
from jax_vtm.checkpoints.torch_names import choose_tensors, params_from_torch
from jax_vtm.checkpoints.validate import Model, abstract_params, validate


def load_checkpoint(path: str | os.PathLike[str], model: Model) -> dict[str, Any]:
    """Loads a checkpoint into a model's parameter tree.

    The format is recognised from the content. Scenic's files are read in both layouts, that of the released
    checkpoints of 2021 (`optimizer/target`) and today's (`params`); the optimizer's state is skipped while
    reading and takes no memory. Files of named tensors hold either the names of the released PyTorch files (see
    `from_torch_state_dict`) or this package's own, paths joined by `/` (`Transformer/encoder_norm/scale`,
    with or without `params/` before).

    Names, shapes and types are compared with the model's before any array is read, and the checksums that a file has
    with its content: the digest in our own files, the one in `<name>.sha256` beside any file, and those of zip archives
    (npz, PyTorch's since 2020). Other formats have none, so that changed weights that are finite go unnoticed there.

    Args:
        path: A file; a directory of `checkpoint_<step>` files or orbax directories (the highest step is read)
            or with one `checkpoint`; an orbax directory, or the folder of an orbax CheckpointManager; a safetensors,
            npz or PyTorch file, or the index of several; a folder that Hugging Face's `save_pretrained` wrote.
            Local or `gs://`.
        model: The model to fill; it has `input_shape` (T, H, W, 3), `heads`, and is a Flax module.

    Returns:
        `{"params": nested dict of np.ndarray}` with exactly the names, shapes and dtypes the model expects.
        float16 and bfloat16 leaves are widened, which keeps every value. Arrays may be read-only.

    Raises:
        CheckpointError: Nothing usable is there, the file is damaged, or it does not fit the model: leaves
            that are missing, unexpected, misshapen, not finite, or would have to be narrowed (float64 to
            float32).
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

    def read_tensors(path: epath.Path, format_: Format) -> dict[str, Stored]:
        if format_ is Format.SAFETENSORS:
            return read_safetensors(path, files)
        if format_ is Format.NPZ:
            return read_npz(path, files)
        if format_ is Format.TORCH:
            return choose_tensors(read_torch(path), expected, model, str(path))
        raise CheckpointError(f"{path}: expected a file of tensors (safetensors, npz, PyTorch), found {format_.value}.")

    if path.is_dir():
        entries = read_orbax(path, expected)
    elif (format_ := recognise(path)) is Format.MSGPACK:
        entries = read_msgpack(path, expected)
    else:
        if format_ is Format.INDEX:
            entries = read_index(path, lambda part: read_tensors(part, recognise(part)))
        else:
            entries = read_tensors(path, format_)
        if not any("/" in name for name in entries):
            return params_from_torch(entries, expected, model, source)
        if all(name.startswith("params/") for name in entries):
            entries = {name.removeprefix("params/"): entry for name, entry in entries.items()}
    return validate(entries, expected, source=source, model=model)
