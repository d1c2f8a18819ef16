"""`sweep`: evaluates many reductions of a model."""

import json
from collections.abc import Sequence
from typing import Any

from jax_vtm.config import Config
from jax_vtm.errors import SUCCESS, UserError
from jax_vtm.evaluation import Processes, build
from jax_vtm.evaluation.results import SCHEMA_VERSION
from jax_vtm.evaluation.run_pass import code_of_failures
from jax_vtm.evaluation.trackers import open_trackers
from jax_vtm.files import AnyPath, remove_leftovers, write_text
from jax_vtm.lock import held
from jax_vtm.reports import headline, print_runs
from jax_vtm.sweep.grid import Experiment, read_experiments
from jax_vtm.sweep.page import at_equal_macs, sweep_page
from jax_vtm.sweep.passes import experiment_results
from jax_vtm.sweep.tables import listing, sweep_csv


def run(config: Config, workdir: AnyPath) -> int:
    """Lists the runs, or runs those that are missing and writes the results of all; returns the exit code.

    With several experiments, each has a folder in the workdir; a single chosen one has its results there too.
    """
    experiments = read_experiments(config)
    if config.sweep.dry_run:
        print(listing(experiments))
        return SUCCESS
    without = [one.name for one in experiments if not one.config.checkpoint]
    if len(experiments) > 1 and without:
        raise UserError(
            f"no checkpoint is given for {', '.join(without)}. Choose one with --config.sweep.experiment=NAME, and "
            "give its --config.checkpoint=FILE and --config.data.path=FOLDER."
        )
    build.use_compilation_cache(config.compilation_cache)
    done: dict[str, dict[str, Any]] = {}
    results_folder = workdir / config.sweep.experiment
    with (
        held(results_folder / ".lock"),
        Processes(config.host_timeout_s) as processes,
        open_trackers(config, workdir) as trackers,
    ):
        remove_leftovers(results_folder)
        for one in experiments:
            folder = workdir / one.name if len(config.sweep.experiments) else workdir
            for results in experiment_results(one, folder, processes):
                done[one.name] = results
                _write(config, results_folder, experiments, list(done.values()))
            trackers.evaluated(done[one.name], f"{one.name}: " if len(experiments) > 1 else "")
    for results in done.values():
        print_runs(results)
        if (table := at_equal_macs(results)).rows:
            print(f"{table.title}:\n")
            table.print()
        print(headline(results))
    print(f"results in {results_folder}: report.html, figures, sweep.csv, results.json, config.json")
    failed = max(results["dataset"]["n_failed"] for results in done.values())
    return code_of_failures(failed, config.data.max_failures, "the report")


def _write(config: Config, workdir: AnyPath, experiments: Sequence[Experiment], done: Sequence[dict[str, Any]]) -> None:
    """Writes all files; `results.json` comes last, as the sign that all are complete."""
    results = {"schema_version": SCHEMA_VERSION, "command": "sweep", "name": config.name, "experiments": done}
    write_text(workdir / "config.json", f"{config.to_json_best_effort(indent=2)}\n")
    write_text(workdir / "sweep.csv", sweep_csv(experiments, done))
    sweep_page(results).write(workdir)
    write_text(workdir / "results.json", f"{json.dumps(results, indent=2)}\n")
