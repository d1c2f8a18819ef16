"""`python main.py benchmark`: how fast models, training, parts, loading and data-parallel steps are, side by side."""

import importlib
import json
import os

from jax_vtm.benchmarks.experiments import read_experiments
from jax_vtm.benchmarks.model_report import arithmetic
from jax_vtm.benchmarks.report import Report, machine
from jax_vtm.config import Config
from jax_vtm.errors import FAILURE, SUCCESS, UserError
from jax_vtm.evaluation.results import SCHEMA_VERSION
from jax_vtm.files import AnyPath, write_text
from jax_vtm.models.video import check_choice
from jax_vtm.reports.formatting import plural

# What there is to measure: modules, each with `measure(config, workdir)`, which yields results so far. What a module
# shows is the `REPORT` of the module that is named.
WHATS = {"model": "model_report", "training": "training", "parts": "parts", "data": "data", "scaling": "scaling"}
WHATS |= {"device": "device", "compile": "compile_report"}


def run(config: Config, workdir: AnyPath) -> int:
    """Measures what `config.benchmark` says, prints tables and writes results.

    The workdir gets `STEM.jsonl` (a row per line), `STEM.csv`, `STEM.json` (the rows, the machine, and more) and
    `config.json`, written anew after every step, and at last `report.html` and `figures/` in its folder `STEM`, which
    is `benchmark`, of other things than models `benchmark_WHAT`.

    Returns:
        The exit code.

    Raises:
        UserError: A value that cannot be, or nothing that can be measured here.
    """
    what = config.benchmark.what
    check_choice("benchmark.what", what, tuple(WHATS))
    for key, least in (("rounds", 1), ("videos", 1), ("min_seconds", 0)):
        if config.benchmark[key] < least:
            raise UserError(f"benchmark.{key} is {config.benchmark[key]}; expected at least {least}.")
    if what in ("model", "training", "compile") and config.benchmark.dry_run:
        experiments = read_experiments(config)
        print(arithmetic(experiments).text())
        print(f"{plural(len(experiments), 'experiment')}. Of one clip, matrix products only; 1 MAC is 2 FLOP.")
        return SUCCESS
    stem = "benchmark" if what == "model" else f"benchmark_{what}"
    report: Report = importlib.import_module(f"jax_vtm.benchmarks.{WHATS[what]}").REPORT
    load, results = os.getloadavg()[0], {}
    for found in importlib.import_module(f"jax_vtm.benchmarks.{what}").measure(config, workdir):
        about = {**machine(), **found["measured"].get("machine", {}), "load": [load, os.getloadavg()[0]]}
        results = {
            "schema_version": SCHEMA_VERSION,
            "command": "benchmark",
            "what": what,
            "name": config.name,
            **found,
            "measured": {**found["measured"], "machine": about},
        }
        files = {
            "config.json": f"{config.to_json_best_effort(indent=2)}\n",
            f"{stem}.jsonl": "".join(f"{json.dumps(row)}\n" for row in results["rows"]),
            f"{stem}.csv": report.csv(results),
            # Last, so that it stands for them all.
            f"{stem}.json": f"{json.dumps(results, indent=2)}\n",
        }
        for name, text in files.items():
            write_text(workdir / name, text)
    report.page(results).write(workdir, stem)
    print(report.text(results))
    print(f"results in {workdir}: {stem}/report.html, {stem}.jsonl, {stem}.csv, {stem}.json, config.json")
    # A machine that is not certified is no success.
    return SUCCESS if all(row.get("ok", True) for row in results["rows"]) else FAILURE
