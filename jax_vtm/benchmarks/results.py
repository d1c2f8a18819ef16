"""One row per experiment: what it is, what it computes, how fast it was, how much of the arithmetic's gain arrives."""

import dataclasses
import datetime
import os
import pathlib
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax
import jax
import numpy as np

import jax_vtm
from jax_vtm.benchmarks.cases import Case
from jax_vtm.benchmarks.grid import OURS
from jax_vtm.benchmarks.program import Peak
from jax_vtm.timing import ratios, spread

# What changes how fast programs are.
VARIABLES = ("XLA_FLAGS", "OMP_NUM_THREADS", "NPROC", "JAX_DEFAULT_MATMUL_PRECISION", "XLA_PYTHON_CLIENT_PREALLOCATE")


def rows(cases: Sequence[Case], peaks: Mapping[str, tuple[Peak, Sequence[float]]]) -> list[dict[str, Any]]:
    """Returns a row per case, in their order; all that was measured, and so differs from run to run, is in "measured".

    Args:
        cases: Of all experiments, after the same rounds.
        peaks: The matrix products by dtype, with seconds of the same rounds.
    """
    return [_row(case, cases, peaks.get(case.experiment.fields["dtype"])) for case in cases]


def peak_rows(peaks: Mapping[str, tuple[Peak, Sequence[float]]]) -> list[dict[str, Any]]:
    """Returns what the machine's peaks came to, per second."""
    return [
        {
            "name": name,
            "description": peak.description,
            "unit": peak.unit,
            "per_s": spread([peak.amount / one for one in seconds]),
        }
        for name, (peak, seconds) in peaks.items()
    ]


def machine() -> dict[str, Any]:
    """Says machine, device, versions and settings of the environment."""
    device = jax.local_devices()[0]
    return {
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "processor": _processor(),
        "cores": num_cores(),
        "platform": device.platform,
        "device_kind": device.device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "jax_vtm": jax_vtm.__version__,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def num_cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """The processor's name; Linux has it in a file."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _row(case: Case, cases: Sequence[Case], peak: tuple[Peak, Sequence[float]] | None) -> dict[str, Any]:
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
        found: dict[str, Any] = {
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
        by_scope[scope] = found
    if forward := by_scope.get("forward"):
        seconds = case.seconds["forward"]
        if peak:
            # Of the rate of one large matrix product, taken in the same rounds.
            share = macs.total * case.clips["forward"] / peak[0].amount
            forward["share_of_peak"] = spread([share * value for value in ratios(peak[1], seconds)])
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
            found[implementation] = {
                "name": other.experiment.name,
                "times_as_fast": spread(ratios(theirs, ours)),
                "largest_difference": _largest_difference(case.logits, other.logits),
            }
    return found


def _largest_difference(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """Returns the largest difference of logits, over the largest of ours."""

    def largest(read: Callable[[str], np.ndarray]) -> float:
        return max(float(np.abs(read(head)).max()) for head in ours)

    return largest(lambda head: ours[head] - theirs[head]) / largest(lambda head: ours[head])
