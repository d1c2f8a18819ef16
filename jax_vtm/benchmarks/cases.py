"""Experiments made ready to be timed: compiled, and run once."""

import dataclasses
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jax_vtm.benchmarks import scopes
from jax_vtm.benchmarks.grid import Experiment
from jax_vtm.benchmarks.inputs import Inputs
from jax_vtm.benchmarks.program import compiled, truncation
from jax_vtm.benchmarks.videos import FOLDER, written_video
from jax_vtm.config import Config
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build, by_head
from jax_vtm.timing import Timer, repeats, timed


@dataclasses.dataclass(eq=False)
class Case:
    """One experiment, and what is known of it so far.

    Attributes:
        experiment: Which.
        timers: By scope, what is timed.
        clips: By scope, how many clips it sees.
        repeats: By scope, how often it is done in a round.
        seconds: By scope, of doing it once, in every round.
        chosen: Which backends there are in its program.
        facts: What was measured before the rounds: compiling, memory, the first run.
        logits: By head, of clips that are the same for all experiments that take such.
        reason: Why it cannot be measured; empty where it can.
    """

    experiment: Experiment
    timers: dict[str, Timer] = dataclasses.field(default_factory=dict)
    clips: dict[str, int] = dataclasses.field(default_factory=dict)
    repeats: dict[str, int] = dataclasses.field(default_factory=dict)
    seconds: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    chosen: Mapping[str, str] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    logits: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    reason: str = ""

    def warm(self, least: float) -> None:
        """Runs everything once more, now that all inputs are where they stay, and sees how often a round has to."""
        self.repeats = {scope: repeats(timer, least) for scope, timer in self.timers.items()}
        self.seconds = {scope: [] for scope in self.timers}


def prepare(config: Config, case: Case, inputs: Inputs, workdir: pathlib.Path) -> None:
    """Compiles and runs our own model.

    Args:
        config: Of the benchmark.
        case: What to make ready.
        inputs: Weights and clips.
        workdir: Where videos are kept.

    Raises:
        UserError: Its backends do not exist on this device, or its clips are not square.
    """
    one, device = case.experiment, inputs.device
    model = build.model(one.config, one.reduction)
    params, video = inputs.params(one), inputs.video(one)

    def forward(params: Any, video: jax.Array, seed: int) -> Any:
        rngs = {"reduction": jax.random.key(seed)} if model.reduction.is_random else None
        return model.apply({"params": params}, video, rngs=rngs)

    function = truncation(forward) if one.truncated else forward
    program = compiled(function, params, video, 0, cached=config.benchmark.cached_compile)

    def run(clips: Any) -> Any:
        return program.run(params, clips, 0)

    start = time.perf_counter()
    logits = jax.block_until_ready(run(video))
    first_run_s = time.perf_counter() - start
    calls, case.clips = {}, dict.fromkeys(config.benchmark.scopes, one.batch)
    if "forward" in case.clips:
        calls["forward"] = scopes.forward(run, video)
    if "host_to_device" in case.clips:
        calls["host_to_device"] = scopes.host_to_device(run, inputs.frames(one), device)
    if "end_to_end" in case.clips:
        shape, threads = model.input_shape, config.data.num_threads
        path = written_video(scopes.video_for(shape), workdir / FOLDER)
        calls["end_to_end"], case.clips["end_to_end"] = scopes.end_to_end(
            run, path, shape, one.batch, config.benchmark.videos, device, threads
        )
    case.timers = {scope: timed(call) for scope, call in calls.items()}
    case.chosen = model.compute.chosen
    peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
    case.facts = {**program.facts, "first_run_s": first_run_s, "device_peak_bytes": peak}
    case.logits = {head: np.asarray(values, np.float32) for head, values in by_head(logits).items()}


def cannot_run(error: Exception) -> str:
    """Returns why a device cannot do something, where that is what an error says; nothing for any other error."""
    text = str(error).strip().partition("\n")[0]
    if isinstance(error, UserError):
        # What is wrong with the config itself was said before: this is a kernel that is not for this device or type.
        return str(error)
    if isinstance(error, MemoryError):
        return f"out of memory: {text}" if text else "out of memory"
    if isinstance(error, NotImplementedError):
        return f"not for this device: {text}"
    if isinstance(error, jax.errors.JaxRuntimeError):
        for code, reason in (("RESOURCE_EXHAUSTED", "out of memory"), ("UNIMPLEMENTED", "not for this device")):
            if code in text:
                return f"{reason}: {text}"
    return ""
