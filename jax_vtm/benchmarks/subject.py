"""What is timed for one setting of a benchmark, made ready: compiled, and run once."""

import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jax_vtm.benchmarks.grid import Setting
from jax_vtm.benchmarks.inputs import Inputs
from jax_vtm.benchmarks.levels import model_alone, with_decoding, with_transfer
from jax_vtm.benchmarks.program import Program, compiled
from jax_vtm.benchmarks.rounds import Measured, timed
from jax_vtm.benchmarks.sliced import keeping_the_first
from jax_vtm.config import Config
from jax_vtm.errors import UserError
from jax_vtm.evaluation import by_head
from jax_vtm.models import VideoClassifier


class CannotRun(UserError):
    """A setting cannot be measured here; the message is the reason, for its row."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A setting that is ready to be timed.

    Attributes:
        actions: By level, what is measured and how many clips it sees.
        facts: What is known of it by then: compile times, memory and the like, as its row has them.
        logits: By head, what it says of clips that are the same for all settings that take such.
    """

    actions: Mapping[str, tuple[Measured, int]]
    facts: Mapping[str, Any]
    logits: Mapping[str, np.ndarray]


def prepare(config: Config, setting: Setting, inputs: Inputs, workdir: pathlib.Path) -> Subject:
    """Compiles and runs our own model.

    Args:
        config: Of the benchmark.
        setting: What to prepare.
        inputs: Weights and clips.
        workdir: Where films are kept.

    Raises:
        CannotRun: It takes too much memory, or its way of computing does not exist on this device.
    """
    try:
        return _prepare(config, setting, inputs, workdir)
    except Exception as error:
        reason = cannot_run(error)
        if reason is error:
            raise
        raise reason from error


def cannot_run(error: Exception) -> Exception:
    """Returns a `CannotRun` in place of an error that says so of a device, and any other error as it is."""
    text = str(error).strip().partition("\n")[0]
    if isinstance(error, UserError):
        # What is wrong with the config itself was said before: this is a kernel that is not for this device or type.
        return CannotRun(str(error))
    if isinstance(error, jax.errors.JaxRuntimeError):
        if "RESOURCE_EXHAUSTED" in text:
            return CannotRun(f"out of memory: {text}")
        if "UNIMPLEMENTED" in text:
            return CannotRun(f"not for this device: {text}")
    if isinstance(error, MemoryError):
        return CannotRun(f"out of memory: {text}" if text else "out of memory")
    if isinstance(error, NotImplementedError):
        return CannotRun(f"not for this device: {text}")
    return error


def _prepare(config: Config, setting: Setting, inputs: Inputs, workdir: pathlib.Path) -> Subject:
    model = setting.runnable
    params, video = inputs.params(setting), inputs.video(setting)
    program = _program(config, setting, model, params, video)

    def run(clips: Any) -> Any:
        return program.run(params, clips, 0)

    start = time.perf_counter()
    logits = jax.block_until_ready(run(video))
    first_run_s = time.perf_counter() - start

    levels = config.benchmark.levels
    actions = {}
    if "model" in levels:
        actions["model"] = (timed(model_alone(run, video)), setting.batch)
    if "transfer" in levels:
        call = with_transfer(run, inputs.frames(setting), inputs.device)
        actions["transfer"] = (timed(call), setting.batch)
    if "decoding" in levels:
        call, clips = with_decoding(
            run,
            workdir / "films",
            model.input_shape,
            setting.batch,
            config.benchmark.videos,
            inputs.device,
            config.data.num_threads,
        )
        actions["decoding"] = (timed(call), clips)
    facts = {
        "chosen": model.chosen,
        "traces": program.traces,
        "trace_s": program.trace_s,
        "compile_s": program.compile_s,
        "cached_compile_s": program.cached_compile_s,
        "first_run_s": first_run_s,
        "program_bytes": program.memory,
        "device_peak_bytes": (inputs.device.memory_stats() or {}).get("peak_bytes_in_use"),
    }
    return Subject(actions, facts, {head: np.asarray(values, np.float32) for head, values in by_head(logits).items()})


def _program(config: Config, setting: Setting, model: VideoClassifier, params: Any, video: jax.Array) -> Program:
    def forward(params: Any, video: jax.Array, seed: int) -> Any:
        rngs = {"reduction": jax.random.key(seed)} if model.reduction.is_random else None
        return model.apply({"params": params}, video, rngs=rngs)

    function = keeping_the_first(forward) if setting.sliced else forward
    if not config.benchmark.cached_compile:
        return compiled(function, params, video, 0)
    with tempfile.TemporaryDirectory() as folder:
        return compiled(function, params, video, 0, cache_folder=folder)
