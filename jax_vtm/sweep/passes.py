"""The passes of a sweep over the videos: several runs share one, and finished runs are kept.

Each pass is a folder with `resume`, which has its runs and their predictions, and, when it is complete,
`predictions.npz`.
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jax_vtm.errors import UserError
from jax_vtm.evaluation import Processes, ResumeState, Variant, build
from jax_vtm.evaluation.auto import with_fastest_backends
from jax_vtm.evaluation.results import summarise, without_details
from jax_vtm.evaluation.resume import read_fingerprint
from jax_vtm.evaluation.run_names import UNMERGED, run_name
from jax_vtm.evaluation.run_pass import check_readable, run_pass, write_predictions
from jax_vtm.files import AnyPath, found, read_files, remove_leftovers, set_aside
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.sweep.grid import Experiment

Results = dict[str, Any]


class Pass(NamedTuple):
    """Runs that are evaluated together with the unmerged model: their folder and reductions."""

    folder: AnyPath
    reductions: tuple[Reduction, ...]


def experiment_results(experiment: Experiment, folder: AnyPath, processes: Processes) -> Iterator[Results]:
    """Runs the passes of an experiment that are not done, and yields the results of all passes so far after each.

    Raises:
        UserError: The config, the checkpoint or the videos are invalid, or the folder is of other settings.
    """
    config = experiment.config
    if config.sweep.runs_per_pass < 1:
        raise UserError(f"config.sweep.runs_per_pass is {config.sweep.runs_per_pass}; expected at least 1.")
    unmerged = build.model(config, no_reduction())
    baseline = Variant(UNMERGED, unmerged, build.inference_params(config, unmerged))
    source = build.videos(config, unmerged)
    protocol = build.protocol(config, unmerged)
    all_settings = build.fingerprint(config, source, protocol)
    # Every pass has the reductions of its runs in its own fingerprint.
    fingerprint = {key: value for key, value in all_settings.items() if not key.startswith("reduction.")}
    # Has no predictions: it identifies the passes, and keeps a second sweep out.
    with ResumeState(folder / "resume", fingerprint, restart=config.restart):
        root = folder / "passes"
        if config.restart:
            set_aside(root)
        passes = plan_passes(root / _digest(fingerprint), experiment.reductions, config.sweep.runs_per_pass)
        done: list[Results] = []
        for number, one in enumerate(passes, 1):
            merged = [Variant(run_name(r), build.model(config, r), baseline.params) for r in one.reductions]
            variants = with_fastest_backends([baseline, *merged])
            names = "; ".join(variant.name for variant in variants)
            print(f"{experiment.name}, pass {number} of {len(passes)}: {names}", file=sys.stderr)
            remove_leftovers(one.folder)
            with ResumeState(
                one.folder / "resume", {**fingerprint, "runs": [*map(dataclasses.asdict, one.reductions)]}
            ) as state:
                evaluation = run_pass(config, variants, source, protocol, state, processes)
                assert evaluation is not None
                check_readable(evaluation, source)
                write_predictions(one.folder / "predictions.npz", evaluation)
            results = summarise(config, variants, evaluation, source, protocol)
            done.append(without_details(results, evaluation, protocol))
            yield _joined(done, experiment)


def plan_passes(root: AnyPath, wanted: Sequence[Reduction], size: int) -> list[Pass]:
    """Finds the passes that have wanted runs, and plans new ones for the rest.

    A pass that has begun keeps its runs, so that it can resume, even those that are no longer wanted.
    """
    folders = sorted({path.parents[1] for path in found(root, "*/resume/*") if path.parents[1].name.isdecimal()})
    existing = [one for folder in folders if (one := _read_pass(folder)) is not None]
    left = dict.fromkeys(wanted)
    passes = []
    for one in existing:
        if left.keys() & set(one.reductions):
            passes.append(one)
            for reduction in one.reductions:
                left.pop(reduction, None)
    groups = [tuple(left)[start : start + size] for start in range(0, len(left), size)]
    if not wanted:
        # Every pass has the unmerged model.
        passes, groups = existing[:1], [] if existing else [()]
    first = max((int(folder.name) + 1 for folder in folders), default=0)
    return [*passes, *(Pass(root / f"{number:03d}", group) for number, group in enumerate(groups, first))]


def _read_pass(folder: AnyPath) -> Pass | None:
    """Reads the runs of a pass; None if it has not begun or is damaged."""
    state = folder / "resume"
    try:
        fingerprint = read_fingerprint(state) or {}
        return Pass(folder, tuple(Reduction(**fields) for fields in fingerprint["runs"]))
    except (LookupError, TypeError, ValueError, UserError):
        if any(read_files(found(state, "*"))):
            print(f"warning: {state}: damaged; its runs are evaluated again.", file=sys.stderr)
        return None


def _digest(fingerprint: Mapping[str, Any]) -> str:
    """Returns a folder name, so that passes of other fingerprints are never reused."""
    text = json.dumps(fingerprint, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _joined(passes: Sequence[Results], experiment: Experiment) -> Results:
    """Joins the results of passes, with the runs in the config's order."""
    # The failures shown are those of the pass with the most.
    worst = max(passes, key=lambda results: results["dataset"]["n_failed"])
    by_name = {run["name"]: run for results in passes for run in reversed(results["runs"])}
    names = [UNMERGED, *(name for name in map(run_name, experiment.reductions) if name in by_name)]
    series = {run_name(run.effective): run.series for run in experiment.runs if run.series}
    compared = {entry["run"]: entry for results in passes for entry in results["comparison"]}
    measured = {name: values for one in reversed(passes) for name, values in one["measured"]["runs"].items()}
    wall_s = sum(results["measured"]["wall_s"] for results in passes)
    waited_s = sum(one["measured"]["wall_s"] * one["measured"]["device_wait_share"] for one in passes)
    return {
        **{key: worst[key] for key in ("dataset", "failures", "protocol", "model", "environment")},
        "name": experiment.name,
        "runs": [{**by_name[name], "series": series.get(name, "")} for name in names],
        "comparison": [compared[name] for name in names if name in compared],
        "measured": {
            "created": passes[-1]["measured"]["created"],
            "wall_s": wall_s,
            "device_wait_share": waited_s / wall_s if wall_s else 0.0,
            "runs": {name: measured[name] for name in names},
        },
    }
