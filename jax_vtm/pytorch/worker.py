"""Prepares and times Hugging Face's models in the process of PyTorch."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction
from jax_vtm.pytorch import hugging_face
from jax_vtm.pytorch.merging_model import MergingModel
from jax_vtm.timing import Seconds, Timer, timed

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Worker:
    """Prepared models by name; PyTorch uses so many threads, or CUDA."""

    def __init__(self, threads: int, accelerator: bool):
        hugging_face.use_threads(threads)
        self._cuda = accelerator
        self._timers: dict[str, Timer] = {}
        self._idle_since = (0.0, 0.0)

    def write_weights(self, fields: Mapping[str, Any], folder: str) -> str:
        """Writes the weights of all models in Hugging Face's form; returns the file."""
        return str(hugging_face.save_weights(_model(fields), pathlib.Path(folder)))

    def prepare(
        self, name: str, fields: Mapping[str, Any], kind: str, reduction: Reduction, dtype: str, video: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray]:
        """Prepares a model for clips [B, T, H, W, 3] and runs it once; returns time and memory, and the logits.

        Raises:
            UserError: There is no such model, type or device.
        """
        if dtype not in DTYPES:
            raise UserError(f"PyTorch's models are timed in {' and '.join(DTYPES)}, not in {dtype!r}.")
        if self._cuda and not torch.cuda.is_available():
            raise UserError(f"the installed PyTorch, {torch.__version__}, finds no CUDA device.")
        place = ("cuda" if self._cuda else "cpu", DTYPES[dtype])
        model = _model(fields, reduction, "eager" if kind == "pytorch_eager" else "sdpa").to(*place)
        run = _compiled(model) if kind == "pytorch_compiled" else model
        clips = torch.from_numpy(video).to(*place)

        def call() -> torch.Tensor:
            with torch.inference_mode():
                logits = run(clips)
            if self._cuda:
                torch.cuda.synchronize()
            return logits

        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        logits = call()
        facts: dict[str, Any] = {"first_run_s": time.perf_counter() - start}
        facts["device_peak_bytes"] = torch.cuda.max_memory_allocated() if self._cuda else None
        self._timers[name] = timed(call)
        return facts, logits.float().cpu().numpy()

    def seconds(self, name: str, times: int) -> tuple[Seconds, tuple[float, float]]:
        """Runs a prepared model; returns its seconds, and the wall and CPU seconds of waiting since the last task."""
        wall, cpu = self._idle_since
        waited = (time.perf_counter() - wall, time.process_time() - cpu)
        return self._timers[name](times), waited

    def rest(self) -> None:
        """Marks the begin of waiting."""
        self._idle_since = (time.perf_counter(), time.process_time())


_worker: list[Worker] = []


def answer(task: str, arguments: tuple[Any, ...]) -> Any:
    """Runs a task of this process's worker, which "start" creates.

    Raises:
        UserError: The task fails.
    """
    if task == "start":
        _worker[:] = [Worker(*arguments)]
        found = hugging_face.environment()
        return {"torch_threads": found.pop("threads"), **found}
    try:
        return getattr(_worker[0], task)(*arguments)
    except UserError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise UserError(f"out of memory: {error}") from error
    except Exception as error:
        # Any failure, such as compiling without a compiler, is the reason in the model's row.
        kind = "out of memory" if "can't allocate memory" in str(error) else f"PyTorch: {type(error).__name__}"
        raise UserError(f"{kind}: {str(error).partition(chr(10))[0]}") from error
    finally:
        _worker[0].rest()


def _model(fields: Mapping[str, Any], *settings: Any) -> MergingModel:
    overrides = {key: value for key, value in fields.items() if key != "name"}
    return hugging_face.merging_model(fields["name"], *settings, **overrides)


def _compiled(model: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Compiles the whole model for static shapes, or fails."""

    def classify(video: torch.Tensor) -> torch.Tensor:
        return model(video)

    # PyTorch compiles one code object for a few models only.
    classify.__code__ = classify.__code__.replace()
    return torch.compile(classify, dynamic=False, fullgraph=True)
