"""Files that are a flat list of named tensors: safetensors, npz, PyTorch."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from jax_vtm.checkpoints.errors import CheckpointError

_SAFETENSORS_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


# Under which key a training program's file holds its tensors: SlowFast's (TimeSformer, Motionformer), DeepSpeed's
# (VideoMAE), and VideoMAE's without DeepSpeed.
_CONTAINERS = ("model_state", "module", "model")


def read_safetensors(path: epath.Path) -> dict[str, np.ndarray]:
    """Reads a `.safetensors` file.

    Args:
        path: The file, local or remote.

    Returns:
        Tensor by name, in the dtype of the file (bfloat16 included).

    Raises:
        CheckpointError: The file is truncated or damaged, or has a dtype without a numpy counterpart.
    """
    from safetensors import SafetensorError, deserialize

    data = path.read_bytes()
    try:
        entries = deserialize(data)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: the safetensors file is truncated or damaged: {error}. It has {len(data):,} bytes. "
            "Download it again."
        ) from error
    return {name: _safetensors_array(name, entry, path) for name, entry in entries}


def read_npz(path: epath.Path) -> dict[str, np.ndarray]:
    """Reads an `.npz` file; nothing in it is unpickled.

    Args:
        path: The file, local or remote.

    Returns:
        Array by name.

    Raises:
        CheckpointError: An entry is damaged or holds Python objects.
    """
    import zipfile
    import zlib

    arrays: dict[str, np.ndarray] = {}
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        for name in archive.files:
            try:
                arrays[name] = archive[name]
            except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise CheckpointError(f"{path}: the entry `{name}` cannot be read: {error}") from error
    return arrays


def read_torch(path: epath.Path) -> dict[str, np.ndarray]:
    """Reads a PyTorch file that holds a dict of tensors, flat or in a training program's container.

    A container is a dict with one of the keys `model_state`, `module` and `model`; what else it holds (optimizer,
    epoch, configuration) is left alone. No code in the file is run.

    Args:
        path: The file (`.bin`, `.pt`, `.pth`), local or remote.

    Returns:
        Tensor by name. bfloat16 is widened to float32, which loses nothing.

    Raises:
        CheckpointError: torch is not installed, the file needs more than `weights_only=True` allows, is
            damaged, or is no dict of tensors.
    """
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise CheckpointError(
            f"{path}: reading a PyTorch file needs torch, which is not installed. "
            "Run `pip install jax_vtm[torch]`, or convert the file to safetensors."
        ) from error
    with path.open("rb") as file:
        try:
            content: Any = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # UnpicklingError, RuntimeError, EOFError, ...: torch promises no one type
            # torch's message ends in advice to switch the safety off, which is not ours to give.
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise CheckpointError(
                f"{path}: torch cannot read this file with `weights_only=True`, and reading it otherwise "
                f"could run code from the file ({type(error).__name__}: {reason.strip()}). If it is cut "
                "short, download it again; if it holds more than tensors, save only its state dict."
            ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a dict of tensors, found {type(content).__name__}.")
    content = unwrap(content)
    others = [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise CheckpointError(
            f"{path}: expected a flat dict of tensors, but {len(others)} of its {len(content)} entries are "
            f"not tensors: {', '.join(others[:20])}{' ...' if len(others) > 20 else ''}."
        )
    return {str(name): _torch_array(value, torch) for name, value in content.items()}


def unwrap(content: dict[Any, Any]) -> dict[Any, Any]:
    """Takes the tensors out of a training program's container; a dict that is none passes."""
    inside = [content[key] for key in _CONTAINERS if isinstance(content.get(key), dict)]
    return inside[0] if len(inside) == 1 else content


def _safetensors_array(name: str, entry: dict[str, Any], path: epath.Path) -> np.ndarray:
    dtype = _SAFETENSORS_DTYPES.get(entry["dtype"])
    if dtype is None:
        raise CheckpointError(f"{path}: `{name}` has the dtype {entry['dtype']}, which cannot be read.")
    return np.frombuffer(entry["data"], dtype=dtype).reshape(entry["shape"])


def _torch_array(tensor: Any, torch: Any) -> np.ndarray:
    tensor = tensor.detach()
    # numpy has no bfloat16 of its own, so torch cannot hand one over.
    return (tensor.to(torch.float32) if tensor.dtype == torch.bfloat16 else tensor).numpy()
