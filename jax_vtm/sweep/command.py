"""`python main.py sweep`: many reductions of a model on its videos, and what accuracy each costs and saves."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.config import Config
from jax_vtm.errors import SUCCESS, UserError, exit_code
from jax_vtm.evaluation import Processes, build
from jax_vtm.evaluation.run_pass import code_of_failures
from jax_vtm.evaluation.trackers import open_trackers
from jax_vtm.files import remove_leftovers, write_text
from jax_vtm.lock import held
from jax_vtm.reports import Picture, print_runs
from jax_vtm.sweep.grid import Cell, read_cells
from jax_vtm.sweep.listing import listing
from jax_vtm.sweep.page import cell_headline, sweep_page
from jax_vtm.sweep.passes import PICTURES, cell_results
from jax_vtm.sweep.table import table
from jax_vtm.sweep.what_merged import layers_picture

SCHEMA_VERSION = 2


def run(config: Config, workdir: pathlib.Path) -> int:
    """Lists the runs, or runs those that are not done and writes the results of all to the workdir.

    With cells, each has a folder there; the results of one that is chosen are in its folder, too.

    Returns:
        The exit code.
    """
    cells = read_cells(config)
    if config.sweep.dry_run:
        print(listing(cells))
        return SUCCESS
    _check_checkpoints(cells)
    build.use_compilation_cache(config.compilation_cache)
    done: dict[str, dict[str, Any]] = {}
    pictures: dict[str, Picture] = {}
    written_to = workdir / config.sweep.cell
    with (
        held(written_to / ".lock"),
        Processes(config.host_timeout_s, exit_code) as processes,
        open_trackers(config, workdir) as trackers,
    ):
        remove_leftovers(written_to)
        for cell in cells:
            folder = workdir / cell.name if len(config.sweep.cells) else workdir
            for results in cell_results(cell, folder, processes):
                done[cell.name] = results
                pictures |= _pictures(results, folder)
                _write(config, written_to, cells, list(done.values()), pictures)
            trackers.evaluated(done[cell.name], f"{cell.name}: " if len(cells) > 1 else "")
    for results in done.values():
        print_runs(results)
        print(cell_headline(results))
    print(f"results in {written_to}: report.html, figures, sweep.csv, results.json, config.json")
    failed = max(results["dataset"]["n_failed"] for results in done.values())
    return code_of_failures(failed, config.data.max_failures, "the report")


def _check_checkpoints(cells: Sequence[Cell]) -> None:
    without = [cell.name for cell in cells if not cell.config.checkpoint]
    if len(cells) > 1 and without:
        raise UserError(
            f"no checkpoint is given for {', '.join(without)}. Choose one with --config.sweep.cell=NAME, and give its "
            "--config.checkpoint=FILE and --config.data.path=FOLDER."
        )


def _pictures(results: dict[str, Any], folder: pathlib.Path) -> dict[str, Picture]:
    """Draws what layers do, by the cell's name, if the cell has runs in which one layer alone reduces."""
    found = {run["name"]: run["one_layer"] for run in results["runs"] if "one_layer" in run}
    picture = layers_picture(found, sorted(folder.glob(f"passes/*/*/{PICTURES}"))) if found else None
    return {} if picture is None else {results["name"]: picture}


def _write(
    config: Config,
    workdir: pathlib.Path,
    cells: Sequence[Cell],
    done: Sequence[dict[str, Any]],
    pictures: Mapping[str, Picture],
) -> None:
    """Writes every file anew, each at once; `results.json` comes last, so that it stands for them all."""
    results = {"schema_version": SCHEMA_VERSION, "command": "sweep", "name": config.name, "cells": done}
    write_text(workdir / "config.json", f"{config.to_json_best_effort(indent=2)}\n")
    write_text(workdir / "sweep.csv", table({cell.name: cell for cell in cells}, done))
    sweep_page(results, pictures).write(workdir)
    write_text(workdir / "results.json", f"{json.dumps(results, indent=2)}\n")
