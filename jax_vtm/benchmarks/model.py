"""Whole models, each experiment next to the others (`benchmark.what=model`).

Every experiment is compiled ahead of time and run before anything is timed. Then come rounds: in each, every experiment
has its turn, and so have a large matrix product and a large copy, which say what the machine can do at that time. What
is compared is compared within rounds.
"""

import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jax_vtm.benchmarks import scopes
from jax_vtm.benchmarks.experiments import OURS, Experiment, read_experiments
from jax_vtm.benchmarks.inputs import Inputs
from jax_vtm.benchmarks.program import Peak, compiled, copy, matrix_product, truncation
from jax_vtm.benchmarks.pytorch import PytorchProcess
from jax_vtm.benchmarks.report import num_cores
from jax_vtm.benchmarks.videos import FOLDER, written_video
from jax_vtm.config import Config
from jax_vtm.data.spatial import HALF
from jax_vtm.errors import UserError
from jax_vtm.evaluation import build, by_head
from jax_vtm.evaluation.progress import Progress
from jax_vtm.evaluation.step import pixels
from jax_vtm.files import AnyPath, on_disk
from jax_vtm.models.video import check_choice
from jax_vtm.timing import Timer, interleaved, ratios, repeats, spread, timed

# Large enough to reach the machine's peak, small enough not to be waited for.
MATRIX_SIZE, LARGE_MATRIX_SIZE = {"cpu": 2048}, 8192
COPIED_BYTES, LARGE_COPIED_BYTES = {"cpu": 256 * 2**20}, 2**30
# Every experiment is compared with the peaks: a moment in which the machine is busy shall not move them.
PEAK_TIMES_LONGER = 5


@dataclasses.dataclass(eq=False)
class Case:
    """One experiment, and what is known of it so far; mappings of what is timed are by scope."""

    experiment: Experiment
    timers: dict[str, Timer] = dataclasses.field(default_factory=dict)
    clips: dict[str, int] = dataclasses.field(default_factory=dict)
    repeats: dict[str, int] = dataclasses.field(default_factory=dict)
    # Of doing it once, in every round.
    seconds: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    # Which backends there are in its program.
    chosen: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # What was measured before the rounds: compiling, memory, the first run.
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    # By head, of clips that are the same for all experiments that take such.
    logits: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    # Why it cannot be measured.
    reason: str = ""

    def attempt(self, step: Callable[[], None]) -> None:
        """Does a step if it can still be measured; where the device cannot do it, that is the reason."""
        if self.reason:
            return
        try:
            step()
        except Exception as error:
            self.reason = cannot_run(error)
            if not self.reason:
                raise
            self.timers = {}
            print(f"  not measured: {self.experiment.name}: {self.reason}", file=sys.stderr, flush=True)

    def warm(self, least: float) -> None:
        """Runs everything once more, now that all inputs are where they stay, and sees how often a round has to."""
        self.repeats = {scope: repeats(timer, least) for scope, timer in self.timers.items()}
        self.seconds = {scope: [] for scope in self.timers}


def measure(config: Config, workdir: AnyPath) -> Iterator[dict[str, Any]]:
    """Measures all experiments, and yields the results after every round.

    Raises:
        UserError: A value that cannot be, or nothing that can be measured here.
    """
    settings = config.benchmark
    for scope in settings.scopes:
        check_choice("benchmark.scopes", scope, scopes.SCOPES)
    if "forward" not in settings.scopes:
        raise UserError(f"benchmark.scopes is {settings.scopes}; 'forward' has to be among them.")
    experiments = read_experiments(config)
    if any(one.implementation != OURS for one in experiments):
        # Keeps JAX from taking most of an accelerator's memory, where PyTorch computes, too. JAX reads it when it first
        # looks at the device, which is after this.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    with PytorchProcess(num_cores(), accelerator=jax.default_backend() != "cpu") as pytorch:
        cases = _prepared(config, experiments, on_disk(workdir), pytorch)
        peaks = _peaks(experiments)
        timers = _warm(settings.min_seconds, cases, peaks)
        with Progress(settings.rounds, "rounds") as progress:
            for number, seconds in enumerate(interleaved(timers, settings.rounds), 1):
                for (owner, scope), taken in seconds.items():
                    (owner.seconds[scope] if isinstance(owner, Case) else owner.seconds).append(taken.wall)
                yield {
                    "rounds": number,
                    "min_seconds": settings.min_seconds,
                    "rows": [_row(case, cases, peaks.get(case.experiment.fields["dtype"])) for case in cases],
                    "measured": {
                        "machine": {**pytorch.environment, "idle": pytorch.idle},
                        "peaks": [{"name": name, **peak.result()} for name, peak in peaks.items()],
                    },
                }
                progress.advance(1)


def _prepared(
    config: Config, experiments: Sequence[Experiment], workdir: pathlib.Path, pytorch: PytorchProcess
) -> list[Case]:
    """Compiles every experiment and runs it once; says of those that cannot be why not."""
    inputs, cases = Inputs(jax.local_devices()[0]), [Case(one) for one in experiments]
    theirs = [case for case in cases if case.experiment.implementation != OURS]
    # First, since our own experiments take these weights, too.
    for case in theirs:
        case.attempt(lambda case=case: pytorch.share_weights(case.experiment, inputs))
    for number, case in enumerate(cases, 1):
        print(f"preparing {number} of {len(cases)}: {case.experiment.name}", file=sys.stderr, flush=True)
        if case in theirs:
            case.attempt(lambda case=case: _prepare_theirs(case, inputs, pytorch))
        else:
            case.attempt(lambda case=case: prepare(config, case, inputs, workdir))
    return cases


def _prepare_theirs(case: Case, inputs: Inputs, pytorch: PytorchProcess) -> None:
    case.facts, case.logits, timer = pytorch.prepare(case.experiment, inputs)
    case.timers, case.clips = {"forward": timer}, {"forward": case.experiment.batch}


def prepare(config: Config, case: Case, inputs: Inputs, workdir: pathlib.Path) -> None:
    """Compiles and runs our own model.

    Raises:
        UserError: Its backends do not exist on this device, or its clips are not square.
    """
    one, device = case.experiment, inputs.device
    model = build.model(one.config, one.reduction)
    params, frames = inputs.params(one), inputs.on_device(one)

    def forward(params: Any, frames: jax.Array, seed: int) -> Any:
        rngs = {"reduction": jax.random.key(seed)} if model.reduction.draws else None
        return model.apply({"params": params}, pixels(frames, HALF, HALF), rngs=rngs)

    function = truncation(forward) if one.truncated else forward
    program = compiled(function, params, frames, 0, cached=config.benchmark.cached_compile)

    def run(clips: Any) -> Any:
        return program.run(params, clips, 0)

    start = time.perf_counter()
    logits = jax.block_until_ready(run(frames))
    first_run_s = time.perf_counter() - start
    calls, case.clips = {}, dict.fromkeys(config.benchmark.scopes, one.batch)
    if "forward" in case.clips:
        calls["forward"] = scopes.forward(run, frames)
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


def _peaks(experiments: Sequence[Experiment]) -> dict[str, Peak]:
    """What the device can do: a product for every type that models compute in, and a copy."""
    platform = jax.local_devices()[0].platform
    size = MATRIX_SIZE.get(platform, LARGE_MATRIX_SIZE)
    products = {
        dtype: matrix_product(size, dtype) for dtype in dict.fromkeys(one.fields["dtype"] for one in experiments)
    }
    return {**products, "copy": copy(COPIED_BYTES.get(platform, LARGE_COPIED_BYTES))}


def _warm(least: float, cases: Sequence[Case], peaks: Mapping[str, Peak]) -> dict[Any, tuple[Timer, int]]:
    """Runs everything once more, and sees how often a round has to do it; memory may run out only now.

    Returns:
        Timers and repeats under (case, scope) and (peak, "").
    """
    print("warming up", file=sys.stderr, flush=True)
    for case in cases:
        case.attempt(lambda case=case: case.warm(least))
    measured = [case for case in cases if not case.reason]
    if not measured:
        listed = "\n  ".join(f"{case.experiment.name}: {case.reason}" for case in cases)
        raise UserError(f"none of the experiments can be measured here:\n  {listed}")
    timers = {(case, scope): (timer, case.repeats[scope]) for case in measured for scope, timer in case.timers.items()}
    longer = PEAK_TIMES_LONGER * least
    return timers | {(peak, ""): (peak.timer, repeats(peak.timer, longer)) for peak in peaks.values()}


def _row(case: Case, cases: Sequence[Case], peak: Peak | None) -> dict[str, Any]:
    """One row of results; all that was measured, and so differs from run to run, is in "measured"."""
    one, macs, model = case.experiment, case.experiment.macs, case.experiment.model
    same = [other for other in cases if other.experiment.group == one.group]
    baseline = next((other for other in same if other.experiment.is_baseline), None)
    truncated = next(
        (o for o in same if o.experiment.truncated > one.truncated and o.experiment.reduction == one.reduction), None
    )
    mac_ratio = baseline.experiment.macs.total / macs.total if baseline else None
    by_scope = {}
    for scope, seconds in case.seconds.items():
        if not seconds:
            continue
        clips = case.clips[scope]
        per_clip = [value / clips for value in seconds]
        by_scope[scope] = found = {
            "seconds": list(seconds),
            "clips": clips,
            "repeats": case.repeats[scope],
            "ms_per_clip": spread([1e3 * value for value in per_clip]),
            "clips_per_s": spread([1 / value for value in per_clip]),
        }
        if baseline and mac_ratio and baseline.seconds.get(scope):
            reference = [value / baseline.clips[scope] for value in baseline.seconds[scope]]
            speedups = ratios(reference, per_clip)
            found["speedup"] = spread(speedups)
            found["percent_of_mac_ratio"] = spread([100 * value / mac_ratio for value in speedups])
    if forward := by_scope.get("forward"):
        seconds = case.seconds["forward"]
        if peak:
            # Of the rate of one large matrix product, taken in the same rounds.
            share = macs.total * case.clips["forward"] / peak.amount
            forward["share_of_peak"] = spread([share * value for value in ratios(peak.seconds, seconds)])
        if truncated and truncated.seconds.get("forward"):
            forward["merging_share"] = spread([1 - value for value in ratios(truncated.seconds["forward"], seconds)])
    return {
        "name": one.name,
        "status": "not measured" if case.reason else "measured",
        "reason": case.reason,
        "implementation": one.implementation,
        "batch": one.batch,
        "truncated": one.truncated,
        "model": one.fields,
        "reduction": dataclasses.asdict(one.reduction),
        "input_shape": list(model.input_shape),
        "tokens_per_layer": list(model.tokens_per_layer),
        "macs_per_clip": macs.total,
        "flop_per_clip": 2 * macs.total,
        "macs_by_part": dataclasses.asdict(macs),
        "baseline": baseline.experiment.name if baseline else None,
        "mac_ratio": mac_ratio,
        "chosen": dict(case.chosen),
        "measured": {**case.facts, "scopes": by_scope, "over_pytorch": _over_pytorch(case, cases)},
    }


def _over_pytorch(case: Case, cases: Sequence[Case]) -> dict[str, Any]:
    """Says of our own case how many times as fast it is as PyTorch at the same work, and if they say the same."""
    ours, found = case.seconds.get("forward"), {}
    for other in cases:
        theirs, implementation = other.seconds.get("forward"), other.experiment.implementation
        comparable = implementation != OURS == case.experiment.implementation
        if ours and theirs and comparable and other.experiment.task == case.experiment.task:
            # The largest difference of logits, over the largest of ours.
            differences = [np.abs(values - other.logits[head]).max() for head, values in case.logits.items()]
            largest = max(np.abs(values).max() for values in case.logits.values())
            found[implementation] = {
                "name": other.experiment.name,
                "times_as_fast": spread(ratios(theirs, ours)),
                "largest_difference": float(max(differences)) / float(largest),
            }
    return found
