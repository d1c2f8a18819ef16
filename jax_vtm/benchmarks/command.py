"""`python main.py benchmark`: how fast models, their parts, loading and data-parallel steps are, each side by side.

Of models, every experiment is compiled ahead of time and run before anything is timed. Then come rounds: in each, every
experiment has its turn, and so have a large matrix product and a large copy, which say what the machine can do at that
time. What is compared is compared within rounds.
"""

import importlib
import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jax_vtm.benchmarks.cases import Case, cannot_run, prepare
from jax_vtm.benchmarks.grid import OURS, Experiment, read_experiments
from jax_vtm.benchmarks.inputs import Inputs
from jax_vtm.benchmarks.page import arithmetic, benchmark_page, benchmark_text, table_of_all
from jax_vtm.benchmarks.program import Peak, copy, matrix_product
from jax_vtm.benchmarks.pytorch import PytorchProcess
from jax_vtm.benchmarks.results import machine, num_cores, peak_rows, rows
from jax_vtm.benchmarks.scopes import SCOPES
from jax_vtm.config import Config
from jax_vtm.errors import SUCCESS, UserError
from jax_vtm.evaluation.progress import Progress
from jax_vtm.evaluation.results import SCHEMA_VERSION
from jax_vtm.files import write_text
from jax_vtm.models.video import check_choice
from jax_vtm.reports.formatting import counted
from jax_vtm.timing import Timer, interleaved, repeats

# What else there is to measure than models.
OTHERS = {what: f"jax_vtm.benchmarks.{what}" for what in ("parts", "data", "scaling")}

# Large enough to reach the machine's peak, small enough not to be waited for.
MATRIX_SIZE = {"cpu": 2048}
COPIED_BYTES = {"cpu": 256 * 2**20}
LARGE_MATRIX_SIZE, LARGE_COPIED_BYTES = 8192, 2**30

# Every experiment is compared with the peaks: a moment in which the machine is busy shall not move them.
PEAK_TIMES_LONGER = 5

COPY = "copy"


def run(config: Config, workdir: pathlib.Path) -> int:
    """Measures what `config.benchmark` says, prints tables and writes results.

    Of models the workdir gets `benchmark.jsonl` (one row per experiment), `benchmark.csv`, `benchmark.json` (the rows,
    the machine and its peaks) and `config.json`, written anew after every round, and at last `report.html` and
    `figures/` in its folder `benchmark`. Of others it gets `benchmark_WHAT.json` and `.csv`.

    Returns:
        The exit code.

    Raises:
        UserError: A value that cannot be, or nothing that can be measured here.
    """
    what = config.benchmark.what
    check_choice("benchmark.what", what, ("model", *OTHERS))
    if what in OTHERS:
        return importlib.import_module(OTHERS[what]).run(config, workdir)
    experiments = read_experiments(config)
    if config.benchmark.dry_run:
        print(arithmetic(experiments).text())
        print(f"{counted(len(experiments), 'experiment')}. Of one clip, matrix products only; 1 MAC is 2 FLOP.")
        return SUCCESS
    _check(config)
    results = _measured(config, experiments, workdir)
    benchmark_page(results).write(workdir, "benchmark")
    print(benchmark_text(results))
    print(f"results in {workdir}: benchmark/report.html, benchmark.jsonl, benchmark.csv, benchmark.json, config.json")
    return SUCCESS


def _check(config: Config) -> None:
    for scope in config.benchmark.scopes:
        check_choice("benchmark.scopes", scope, SCOPES)
    if "forward" not in config.benchmark.scopes:
        raise UserError(f"benchmark.scopes is {config.benchmark.scopes}; 'forward' has to be among them.")
    for key, least in (("rounds", 1), ("videos", 1), ("min_seconds", 0)):
        if config.benchmark[key] < least:
            raise UserError(f"benchmark.{key} is {config.benchmark[key]}; expected at least {least}.")


def _measured(config: Config, experiments: Sequence[Experiment], workdir: pathlib.Path) -> dict[str, Any]:
    """Measures all experiments, writes the results after every round, and returns the last."""
    load_before = os.getloadavg()[0]
    if any(one.implementation != OURS for one in experiments):
        # Keeps JAX from taking most of an accelerator's memory, where PyTorch computes, too. JAX reads it when it first
        # looks at the device, which is after this.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    results: dict[str, Any] = {}
    with PytorchProcess(num_cores(), accelerator=jax.default_backend() != "cpu") as pytorch:
        cases = _prepared(config, experiments, workdir, pytorch)
        peaks = {name: (peak, []) for name, peak in _peaks(experiments).items()}
        timers = _warm(config, cases, {name: peak for name, (peak, _) in peaks.items()})
        with Progress(config.benchmark.rounds, "rounds") as progress:
            for number, seconds in enumerate(interleaved(timers, config.benchmark.rounds), 1):
                for (name, scope), taken in seconds.items():
                    (name.seconds[scope] if isinstance(name, Case) else peaks[name][1]).append(taken.wall)
                load = [load_before, os.getloadavg()[0]]
                results = {
                    "schema_version": SCHEMA_VERSION,
                    "command": "benchmark",
                    "name": config.name,
                    "rounds": number,
                    "min_seconds": config.benchmark.min_seconds,
                    "rows": rows(cases, peaks),
                    "measured": {
                        "machine": {**machine(), **pytorch.environment, "load": load, "idle": pytorch.idle},
                        "peaks": peak_rows(peaks),
                    },
                }
                _write(workdir, config, results)
                progress.advance(1)
    return results


def _prepared(
    config: Config, experiments: Sequence[Experiment], workdir: pathlib.Path, pytorch: PytorchProcess
) -> list[Case]:
    """Compiles every experiment and runs it once; says of those that cannot be why not."""
    inputs, cases = Inputs(jax.local_devices()[0]), [Case(one) for one in experiments]
    theirs = [case for case in cases if case.experiment.implementation != OURS]
    # First, since our own experiments take these weights, too.
    for case in theirs:
        _attempt(case, lambda case=case: pytorch.share_weights(case.experiment, inputs))
    for number, case in enumerate(cases, 1):
        print(f"preparing {number} of {len(cases)}: {case.experiment.name}", file=sys.stderr, flush=True)
        if case in theirs:
            _attempt(case, lambda case=case: pytorch.prepare(case, inputs))
        else:
            _attempt(case, lambda case=case: prepare(config, case, inputs, workdir))
    return cases


def _attempt(case: Case, step: Any) -> None:
    """Does a step of a case that can still be measured; where the device cannot, the case has that as its reason."""
    if case.reason:
        return
    try:
        step()
    except Exception as error:
        case.reason = cannot_run(error)
        if not case.reason:
            raise
        case.timers = {}
        print(f"  not measured: {case.experiment.name}: {case.reason}", file=sys.stderr, flush=True)


def _peaks(experiments: Sequence[Experiment]) -> dict[str, Peak]:
    """What the device can do: a product for every type that models compute in, and a copy."""
    platform = jax.local_devices()[0].platform
    size = MATRIX_SIZE.get(platform, LARGE_MATRIX_SIZE)
    dtypes = dict.fromkeys(one.fields["dtype"] for one in experiments)
    dtypes = dict.fromkeys(one.fields["dtype"] for one in experiments)
    dtypes = dict.fromkeys(one.fields["dtype"] for one in experiments)
    products = {dtype: matrix_product(size, dtype) for dtype in dtypes}
    return {**products, COPY: copy(COPIED_BYTES.get(platform, LARGE_COPIED_BYTES))}


def _warm(config: Config, cases: Sequence[Case], peaks: Mapping[str, Peak]) -> dict[Any, tuple[Timer, int]]:
    """Runs everything once more, and sees how often a round has to do it; memory may run out only now.

    Returns:
        Timers and repeats under (case, scope) and (name of the peak, "").
    """
    print("warming up", file=sys.stderr, flush=True)
    least = config.benchmark.min_seconds
    for case in cases:
        _attempt(case, lambda case=case: case.warm(least))
    measured = [case for case in cases if not case.reason]
    if not measured:
        listed = "\n  ".join(f"{case.experiment.name}: {case.reason}" for case in cases)
        raise UserError(f"none of the experiments can be measured here:\n  {listed}")
    timers = {(case, scope): (timer, case.repeats[scope]) for case in measured for scope, timer in case.timers.items()}
    longer = PEAK_TIMES_LONGER * least
    return timers | {(name, ""): (peak.timer, repeats(peak.timer, longer)) for name, peak in peaks.items()}


def _write(workdir: pathlib.Path, config: Config, results: Mapping[str, Any]) -> None:
    """Writes every file, each at once; `benchmark.json` comes last, so that it stands for them all."""
    write_text(workdir / "config.json", f"{config.to_json_best_effort(indent=2)}\n")
    write_text(workdir / "benchmark.jsonl", "".join(f"{json.dumps(row)}\n" for row in results["rows"]))
    write_text(workdir / "benchmark.csv", table_of_all(results["rows"]).csv())
    write_text(workdir / "benchmark.json", f"{json.dumps(results, indent=2)}\n")
