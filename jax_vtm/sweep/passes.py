"""A sweep's passes over the videos, on disk: which runs share one, and what is done already.

Each pass is a folder with the runs it is of (`runs.json`), the journal of its predictions, and, once it is complete,
`predictions.npz` and `results.json`, much as `evaluate` writes them.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, VideoSource
from jax_vtm.errors import UserError, shown
from jax_vtm.evaluation import Candidate, Evaluation, Journal, Processes, agreement, build, combine_heads
from jax_vtm.evaluation.journal import read_fingerprint
from jax_vtm.evaluation.results import summarise
from jax_vtm.evaluation.run_names import UNMERGED, run_name
from jax_vtm.evaluation.run_pass import check_readable, run_pass, write_predictions
from jax_vtm.files import remove_leftovers, write_text, writing
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.regular_file import check_regular_file, file_problem
from jax_vtm.sweep.grid import Cell
from jax_vtm.sweep.what_merged import trace_one_layer

Results = dict[str, Any]

# What reading damaged JSON may raise, and making what it describes.
_DAMAGED = (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)

# In the folder of a pass, for `what_merged.layers_picture`.
PICTURES = "one_layer.npz"


@dataclasses.dataclass(frozen=True)
class Pass:
    """Runs that are evaluated side by side, the unmerged model with them.

    Attributes:
        folder: Where its files are.
        reductions: Of the runs.
    """

    folder: pathlib.Path
    reductions: tuple[Reduction, ...]


def cell_results(cell: Cell, folder: pathlib.Path, processes: Processes) -> Iterator[Results]:
    """Runs what of a cell is not done yet, and yields all results there are after every pass.

    Args:
        cell: What to run.
        folder: Holds the passes. Predictions in it that depend on other settings are refused, as `evaluate` does.
        processes: The sweep's, which is this one alone.

    Raises:
        UserError: Something of the config, the checkpoint, the videos or the folder is not as it has to be.
    """
    config = cell.config
    if config.sweep.runs_per_pass < 1:
        raise UserError(f"config.sweep.runs_per_pass is {config.sweep.runs_per_pass}; expected at least 1.")
    unmerged = build.model(config, no_reduction())
    baseline = Candidate(UNMERGED, unmerged, build.inference_params(config, unmerged))
    source = build.videos(config, unmerged, folder)
    protocol = build.protocol(config, unmerged)
    fingerprint = {
        # Every pass says the reductions of its runs.
        key: value
        for key, value in build.fingerprint(config, source, protocol).items()
        if not key.startswith("reduction.")
    }
    # Without any predictions: it says what the passes are of, and keeps a second sweep out until the end.
    with Journal(folder / "journal", fingerprint, restart=config.restart):
        root = folder / "passes"
        if config.restart:
            _set_aside(root)
        passes = plan_passes(root / _digest(fingerprint), cell.reductions, config.sweep.runs_per_pass)
        complete = [complete_results(one) for one in passes]
        done: list[Results] = []
        for number, (one, results) in enumerate(zip(passes, complete, strict=True), 1):
            if results is None:
                names = "; ".join(_names(one.reductions))
                print(f"{cell.name}, pass {number} of {len(passes)}: {names}", file=sys.stderr)
                results = _run(config, one, baseline, source, protocol, fingerprint, processes)
            done.append(results)
            yield _together(done, cell)


def plan_passes(root: pathlib.Path, wanted: Sequence[Reduction], size: int) -> list[Pass]:
    """Finds the passes that have what is wanted, and makes up new ones for the rest.

    A pass keeps its runs once it has begun, so that it can go on; with other lists in the config, it may have runs
    that are not wanted any more.
    """
    folders = sorted(path for path in root.glob("*") if path.name.isdecimal())
    existing = [one for folder in folders if (one := _read_pass(folder, wanted)) is not None]
    left = dict.fromkeys(wanted)
    passes = []
    for one in existing:
        if left.keys() & set(one.reductions):
            passes.append(one)
            for reduction in one.reductions:
                left.pop(reduction, None)
    groups = [tuple(left)[start : start + size] for start in range(0, len(left), size)]
    if not wanted:
        # Any pass has the unmerged model.
        passes, groups = existing[:1], [] if existing else [()]
    first = max((int(folder.name) + 1 for folder in folders), default=0)
    passes += [Pass(root / f"{number:03d}", group) for number, group in enumerate(groups, first)]
    return passes


def _read_pass(folder: pathlib.Path, wanted: Sequence[Reduction]) -> Pass | None:
    """Reads which runs a pass is of; where the file that says it is damaged, the journal's names of them do.

    Returns:
        The pass; None if it was not begun, or if nothing says any more what all of its runs are.
    """
    path = folder / "runs.json"
    names = (read_fingerprint(folder / "journal") or {}).get("runs")
    if names is None and not os.path.lexists(path):
        return None
    try:
        reductions = tuple(Reduction(**fields) for fields in _read_json(path))
        hash(reductions)
        if names in (None, _names(reductions)):
            return Pass(folder, reductions)
        reason = f"other runs than in the journal, where they are {'; '.join(names)}"
    except _DAMAGED as error:
        reason = str(error)
    known = {run_name(reduction): reduction for reduction in wanted}
    if names is None or not known.keys() >= set(names[1:]):
        _warn(path, reason, "what is wanted of it is evaluated anew")
        return None
    _warn(path, reason, "written anew from the journal beside it")
    one = Pass(folder, tuple(known[name] for name in names[1:]))
    write_runs(one)
    return one


def _read_json(path: pathlib.Path) -> Any:
    check_regular_file(path)
    return json.loads(path.read_bytes())


def _warn(path: pathlib.Path, reason: str, remedy: str) -> None:
    print(f"warning: {shown(path)}: damaged ({shown(reason)}); {remedy}.", file=sys.stderr)


def _names(reductions: Sequence[Reduction]) -> list[str]:
    return [UNMERGED, *map(run_name, reductions)]


def write_runs(one: Pass) -> None:
    """Writes which runs a pass is of."""
    write_text(one.folder / "runs.json", f"{json.dumps([dataclasses.asdict(r) for r in one.reductions], indent=2)}\n")


def _set_aside(root: pathlib.Path) -> None:
    if root.exists():
        old = root.with_name(f"{root.name}.old")
        with writing(old):
            shutil.rmtree(old, ignore_errors=True)
            root.rename(old)


def _digest(fingerprint: Mapping[str, Any]) -> str:
    """A name for a fingerprint: passes of others are never taken for this one's, whatever stopped a restart."""
    text = json.dumps(fingerprint, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def complete_results(one: Pass) -> Results | None:
    """Reads the results of a pass that is done; one in which videos failed is not, for they may be repaired."""
    path = one.folder / "results.json"
    if not os.path.lexists(path):
        return None
    try:
        results = _read_json(path)
        if results.pop("seal") == _seal(one, results):
            return results if not results["dataset"]["n_failed"] else None
        reason = "not as it was written"
    except _DAMAGED as error:
        reason = str(error)
    _warn(path, reason, "made anew from the journal beside it")
    with writing(path):
        # It may be what is damaged.
        (one.folder / PICTURES).unlink(missing_ok=True)
    return None


def write_results(one: Pass, results: Results) -> None:
    """Writes the results of a pass, with a digest by which `complete_results` sees that they are as they were."""
    sealed = {**results, "seal": _seal(one, results)}
    write_text(one.folder / "results.json", f"{json.dumps(sealed, indent=2)}\n")


def _seal(one: Pass, results: Results) -> str:
    """The SHA-256 of a pass's runs, of its results as JSON, and of the picture that belongs to them."""
    digest = hashlib.sha256(json.dumps([_names(one.reductions), results]).encode())
    picture = one.folder / PICTURES
    if file_problem(picture) is None:
        digest.update(picture.read_bytes())
    return digest.hexdigest()


def _run(
    config: Config,
    one: Pass,
    baseline: Candidate,
    source: VideoSource,
    protocol: ClipProtocol,
    fingerprint: Mapping[str, Any],
    processes: Processes,
) -> Results:
    remove_leftovers(one.folder)
    write_runs(one)
    merged = [Candidate(run_name(r), build.model(config, r), baseline.params) for r in one.reductions]
    candidates = [baseline, *merged]
    with Journal(one.folder / "journal", {**fingerprint, "runs": _names(one.reductions)}) as journal:
        outcome = run_pass(config, candidates, source, protocol, journal, processes)
        assert outcome is not None
        check_readable(outcome, source)
        results = summarise(config, candidates, outcome, source, protocol)
        _trim(results, outcome, protocol)
        looked_at = trace_one_layer(merged, source, protocol, outcome.indices, one.folder / PICTURES)
        for run in results["runs"]:
            run |= {"one_layer": looked_at[run["name"]]} if run["name"] in looked_at else {}
        write_predictions(one.folder / "predictions.npz", outcome)
        write_results(one, results)
    return results


def _trim(results: Results, outcome: Evaluation, protocol: ClipProtocol) -> None:
    """Leaves single classes and videos out, and says how many predictions agree where there are no labels, too."""
    for run in results["runs"]:
        for key in ("classes", "predictions"):
            run.pop(key, None)
    if results["comparison"]:
        return
    scores = {name: combine_heads(one.logits, protocol.view_average) for name, one in outcome.predictions.items()}
    results["comparison"] = [
        {
            "run": name,
            "baseline": UNMERGED,
            "metric": None,
            "difference": None,
            "agreement": agreement(one, scores[UNMERGED]),
        }
        for name, one in scores.items()
        if name != UNMERGED
    ]


def _together(passes: Sequence[Results], cell: Cell) -> Results:
    """Joins the results of passes into one of the same form, with the runs in the config's order."""
    # What could not be read in any pass is to be seen.
    worst = max(passes, key=lambda results: results["dataset"]["n_failed"])
    by_name = {run["name"]: run for results in passes for run in reversed(results["runs"])}
    names = [UNMERGED, *(name for name in map(run_name, cell.reductions) if name in by_name)]
    compared = {entry["run"]: entry for results in passes for entry in results["comparison"]}
    measured = {name: values for one in reversed(passes) for name, values in one["measured"]["runs"].items()}
    wall_s = sum(results["measured"]["wall_s"] for results in passes)
    waited_s = sum(one["measured"]["wall_s"] * one["measured"]["device_wait_share"] for one in passes)
    return {
        **{key: worst[key] for key in ("dataset", "failures", "protocol", "model", "environment")},
        "name": cell.name,
        "runs": [by_name[name] for name in names],
        "comparison": [compared[name] for name in names if name in compared],
        "measured": {
            "created": passes[-1]["measured"]["created"],
            "wall_s": wall_s,
            "device_wait_share": waited_s / wall_s if wall_s else 0.0,
            "runs": {name: measured[name] for name in names},
        },
    }
