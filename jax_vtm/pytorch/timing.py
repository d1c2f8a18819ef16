"""Hugging Face's models made ready to be timed: on a device, in a type, compiled or not."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from jaxtyping import Float32

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction
from jax_vtm.pytorch.hugging_face import merging_model, save_weights

# How each kind attends, and whether it is compiled.
KINDS = {"eager": ("eager", False), "sdpa": ("sdpa", False), "compiled": ("sdpa", True)}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def write_weights(preset: str, overrides: Mapping[str, Any], folder: str) -> str:
    """Writes the weights that every model made here has, under the names of released files; returns the file.

    Raises:
        UserError: The library has no such model.
    """
    return str(save_weights(merging_model(preset, **overrides), pathlib.Path(folder)))


class Timed:
    """One model on one batch of clips, run once.

    Args:
        kind: A key of `KINDS`.
        preset: As for `merging_model`.
        overrides: Fields in place of the preset's.
        reduction: Token reduction.
        dtype: "float32" or "bfloat16", of weights and clips.
        video: Clips.
        accelerator: Whether to compute on CUDA.

    Raises:
        UserError: There is no such model, type or device.
    """

    def __init__(
        self,
        kind: str,
        preset: str,
        overrides: Mapping[str, Any],
        reduction: Reduction,
        dtype: str,
        video: Float32[np.ndarray, "B T H W 3"],
        *,
        accelerator: bool,
    ):
        if dtype not in DTYPES:
            raise UserError(f"PyTorch's models are timed in {' and '.join(DTYPES)}, not in {dtype!r}.")
        if accelerator and not torch.cuda.is_available():
            raise UserError(f"the installed PyTorch, {torch.__version__}, finds no CUDA device.")
        self._cuda = accelerator
        device = "cuda" if accelerator else "cpu"
        attention, is_compiled = KINDS[kind]
        model = merging_model(preset, reduction, attention, **overrides).to(device, DTYPES[dtype])
        self._model: Callable[[torch.Tensor], torch.Tensor] = _compiled(model) if is_compiled else model
        self._video = torch.from_numpy(video).to(device, DTYPES[dtype])
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        logits = self._call()
        self.first_run_s = time.perf_counter() - start
        self.peak_bytes = torch.cuda.max_memory_allocated() if self._cuda else None
        self.logits = logits.float().cpu().numpy()

    def seconds(self, times: int) -> float:
        """Runs so many times, each until it is done."""
        start = time.perf_counter()
        for _ in range(times):
            self._call()
        return time.perf_counter() - start

    def _call(self) -> torch.Tensor:
        with torch.inference_mode():
            logits = self._model(self._video)
        if self._cuda:
            torch.cuda.synchronize()
        return logits


def _compiled(model: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Compiles for the shapes that come: as a whole, or not at all, where PyTorch would leave parts as they are."""
    # Every model counts as the same function compiled anew; past a limit it would not be compiled any more.
    torch._dynamo.config.recompile_limit = 1000
    return torch.compile(model, dynamic=False, fullgraph=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch ran out of memory, on a device or in the host."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
