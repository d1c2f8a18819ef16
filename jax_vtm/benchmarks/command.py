"""`python main.py benchmark`: models timed side by side, and how much of the arithmetic's gain arrives.

Every setting is compiled ahead of time and run before anything is timed. Then come rounds: in each, every setting has
its turn, in an order that rotates, and so have a large matrix product and a large copy, which say what the machine can
do at that time. What is compared is compared within rounds.
"""

import importlib
import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jax_vtm.benchmarks.environment import environment, num_cores
from jax_vtm.benchmarks.grid import OURS, Setting, read_settings
from jax_vtm.benchmarks.inputs import Inputs
from jax_vtm.benchmarks.levels import LEVELS
from jax_vtm.benchmarks.listing import listing
from jax_vtm.benchmarks.page import render_benchmark
from jax_vtm.benchmarks.peaks import Peak, copy, matrix_product
from jax_vtm.benchmarks.pytorch import prepare_pytorch, share_weights
from jax_vtm.benchmarks.pytorch_process import PytorchProcess
from jax_vtm.benchmarks.rounds import Measured, interleaved, repeats_for
from jax_vtm.benchmarks.rows import Measurement, PeakSeconds, peak_rows, rows
from jax_vtm.benchmarks.subject import CannotRun, Subject, cannot_run, prepare
from jax_vtm.benchmarks.table import format_benchmark
from jax_vtm.config import Config
from jax_vtm.errors import SUCCESS, UserError
from jax_vtm.evaluation.progress import Progress
from jax_vtm.files import atomic_write, write_text
from jax_vtm.models.video import check_choice

SCHEMA_VERSION = 1

# What else there is to measure than models.
OTHERS = {what: f"jax_vtm.benchmarks.{what}" for what in ("parts", "data", "scaling")}

# Large enough to reach the machine's peak, small enough not to be waited for.
MATRIX_SIZE = {"cpu": 2048}
COPIED_BYTES = {"cpu": 256 * 2**20}
LARGE_MATRIX_SIZE, LARGE_COPIED_BYTES = 8192, 2**30

# Every setting is compared with the peaks: a moment in which the machine is busy shall not move them.
PEAK_TIMES_LONGER = 5

COPY = "copy"


def run(config: Config, workdir: pathlib.Path) -> int:
    """Measures the settings of `config.benchmark`, prints a table and writes results.

    The workdir gets `benchmark.jsonl` (one row per setting), `benchmark.json` (the same, the machine and its peaks),
    `benchmark.html` and `config.json`; they are written anew after every round.

    Returns:
        The exit code.

    Raises:
        UserError: A value that cannot be, or nothing that can be measured here.
    """
    what = config.benchmark.what
    check_choice("benchmark.what", what, ("model", *OTHERS))
    if what in OTHERS:
        return importlib.import_module(OTHERS[what]).run(config, workdir)
    settings = read_settings(config)
    if config.benchmark.dry_run:
        print(listing(settings))
        return SUCCESS
    _check(config)
    load_before = os.getloadavg()[0]
    _leave_memory_for_pytorch(settings)
    with PytorchProcess(num_cores(), accelerator=jax.default_backend() != "cpu") as pytorch:
        subjects, reasons = _prepared(config, settings, workdir, pytorch)
        peaks = _peaks(settings)
        actions = _warm(config, subjects, reasons, peaks)
        if not any(isinstance(name, tuple) for name in actions):
            listed = "\n  ".join(f"{setting.name}: {reason}" for setting, reason in reasons.items())
            raise UserError(f"none of the settings can be measured here:\n  {listed}")
        seconds: dict[Any, list[float]] = {name: [] for name in actions}
        results: dict[str, Any] = {}
        with Progress(config.benchmark.rounds, "rounds") as progress:
            for _, of_round in interleaved(actions, config.benchmark.rounds):
                for name, value in of_round.items():
                    seconds[name].append(value)
                load = [load_before, os.getloadavg()[0]]
                machine = {**environment(), **pytorch.environment, "load": load, "idle": pytorch.idle}
                results = _results(config, settings, subjects, reasons, actions, seconds, peaks, machine)
                _write(workdir, config, results)
                progress.advance(1)
    print(format_benchmark(results))
    print(f"results in {workdir}: benchmark.html, benchmark.jsonl, benchmark.json, config.json")
    return SUCCESS


def _check(config: Config) -> None:
    for level in config.benchmark.levels:
        check_choice("benchmark.levels", level, LEVELS)
    if "model" not in config.benchmark.levels:
        raise UserError(f"benchmark.levels is {config.benchmark.levels}; 'model' has to be among them.")
    for key, least in (("rounds", 1), ("videos", 1), ("min_seconds", 0)):
        if config.benchmark[key] < least:
            raise UserError(f"benchmark.{key} is {config.benchmark[key]}; expected at least {least}.")


def _leave_memory_for_pytorch(settings: Sequence[Setting]) -> None:
    """Keeps JAX from taking most of an accelerator's memory at once, where PyTorch computes there, too."""
    if any(setting.implementation != OURS for setting in settings):
        # JAX reads it when it first looks at the device, which is after this.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _prepared(
    config: Config, settings: Sequence[Setting], workdir: pathlib.Path, pytorch: PytorchProcess
) -> tuple[dict[Setting, Subject], dict[Setting, str]]:
    """Compiles every setting and runs it once; says of those that cannot be why not."""
    inputs = Inputs(jax.local_devices()[0])
    subjects, reasons = {}, {}
    # First, since our own settings take these weights, too.
    for setting in settings:
        if setting.implementation != OURS:
            try:
                share_weights(setting, inputs, pytorch)
            except CannotRun as error:
                reasons[setting] = str(error)
    for number, setting in enumerate(settings, 1):
        if setting in reasons:
            print(f"{setting.name} is not measured: {reasons[setting]}", file=sys.stderr, flush=True)
            continue
        print(f"preparing {number} of {len(settings)}: {setting.name}", file=sys.stderr, flush=True)
        try:
            if setting.implementation == OURS:
                subjects[setting] = prepare(config, setting, inputs, workdir)
            else:
                subjects[setting] = prepare_pytorch(setting, inputs, pytorch)
        except CannotRun as error:
            reasons[setting] = str(error)
            print(f"  not measured: {error}", file=sys.stderr, flush=True)
    return subjects, reasons


def _peaks(settings: Sequence[Setting]) -> dict[str, Peak]:
    """What the device can do: a product for every type that models compute in, and a copy."""
    platform = jax.local_devices()[0].platform
    dtypes = dict.fromkeys(setting.fields["dtype"] for setting in settings)
    size = MATRIX_SIZE.get(platform, LARGE_MATRIX_SIZE)
    products = {dtype: matrix_product(size, dtype) for dtype in dtypes}
    return {**products, COPY: copy(COPIED_BYTES.get(platform, LARGE_COPIED_BYTES))}


def _warm(
    config: Config,
    subjects: dict[Setting, Subject],
    reasons: dict[Setting, str],
    peaks: Mapping[str, Peak],
) -> dict[Any, tuple[Measured, int]]:
    """Runs everything once more, now that all inputs are where they stay, and sees how often a round has to do it.

    A setting that runs out of memory only now is taken out.

    Returns:
        Actions under (setting, level), and under the names of peaks.
    """
    print("warming up", file=sys.stderr, flush=True)
    least = config.benchmark.min_seconds
    actions: dict[Any, tuple[Measured, int]] = {}
    for setting, subject in list(subjects.items()):
        try:
            warmed = {
                (setting, level): (measured, repeats_for(measured(1), least))
                for level, (measured, _) in subject.actions.items()
            }
        except Exception as error:
            reason = cannot_run(error)
            if not isinstance(reason, CannotRun):
                raise
            reasons[setting] = str(reason)
            del subjects[setting]
        else:
            actions |= warmed
    for name, peak in peaks.items():
        peak.measured(1)
        actions[name] = (peak.measured, repeats_for(peak.measured(1), PEAK_TIMES_LONGER * least))
    return actions


def _results(
    config: Config,
    settings: Sequence[Setting],
    subjects: Mapping[Setting, Subject],
    reasons: Mapping[Setting, str],
    actions: Mapping[Any, tuple[Measured, int]],
    seconds: Mapping[Any, Sequence[float]],
    peaks: Mapping[str, Peak],
    machine: Mapping[str, Any],
) -> dict[str, Any]:
    measurements = []
    for setting in settings:
        if setting in reasons:
            measurements.append(Measurement(setting, reason=reasons[setting]))
            continue
        subject = subjects[setting]
        measurements.append(
            Measurement(
                setting,
                subject.facts,
                {level: seconds[setting, level] for level in subject.actions},
                {level: clips for level, (_, clips) in subject.actions.items()},
                {level: actions[setting, level][1] for level in subject.actions},
                logits=subject.logits,
            )
        )
    peak_seconds = {
        name: PeakSeconds(peak.description, peak.amount, peak.unit, seconds[name]) for name, peak in peaks.items()
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "benchmark",
        "name": config.name,
        "rounds": len(seconds[COPY]),
        "min_seconds": config.benchmark.min_seconds,
        "machine": dict(machine),
        "peaks": peak_rows(peak_seconds),
        "rows": rows(measurements, peak_seconds),
    }


def _write(workdir: pathlib.Path, config: Config, results: Mapping[str, Any]) -> None:
    """Writes every file, each at once; `benchmark.json` comes last, so that it stands for them all."""
    write_text(workdir / "config.json", f"{config.to_json_best_effort(indent=2)}\n")
    with atomic_write(workdir / "benchmark.jsonl") as file:
        file.writelines(f"{json.dumps(row)}\n".encode() for row in results["rows"])
    write_text(workdir / "benchmark.html", render_benchmark(results))
    write_text(workdir / "benchmark.json", f"{json.dumps(results, indent=2)}\n")
