"""`python main.py compare`: two sets of predictions of the same videos."""

import csv
import io
import json
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from etils import epath

from jax_vtm.comparison.comparison import compare
from jax_vtm.comparison.page import render_comparison
from jax_vtm.comparison.text import format_comparison
from jax_vtm.config import Config
from jax_vtm.evaluation.saved import Match, complete, read_list, read_predictions
from jax_vtm.files import write_text
from jax_vtm.running.exit_codes import SUCCESS, VIDEOS_MISSING

MISSING_PRINTED = 5


def run(config: Config, workdir: pathlib.Path) -> int:
    """Compares, prints the answer and writes the results to the workdir's folder `compare`.

    A folder of its own, since the workdir may be that of the evaluation which is compared, with a report of its own.

    Returns:
        The exit code.
    """
    keys = config.compare
    listed = read_list(epath.Path(keys.labels)) if keys.labels else None
    ours = complete(read_predictions(keys.ours or workdir), listed)
    theirs = complete(read_predictions(keys.theirs), listed) if keys.theirs else None
    comparison = compare(
        ours, theirs, our_run=keys.ours_run, their_run=keys.theirs_run, name=config.name, seed=config.seed
    )
    folder = workdir / "compare"
    match = comparison.match
    _write_missing(folder / "missing.csv", match)
    _write_flips(folder / "flips.csv", comparison.flips)
    write_text(folder / "report.html", render_comparison(comparison.results, comparison.flips))
    write_text(folder / "compare.json", f"{json.dumps(comparison.results, indent=2, allow_nan=False)}\n")
    print(format_comparison(comparison.results))
    print(f"results in {folder}: report.html, compare.json, flips.csv")
    missing = len(match.only_ours) + len(match.only_theirs)
    if missing:
        _say_what_is_missing(match, folder / "missing.csv")
    if missing and not keys.allow_missing:
        print(
            f"error: {missing} video{'s are' if missing > 1 else ' is'} in only one of the two; give "
            "--config.compare.allow_missing=True if that is as it should be.",
            file=sys.stderr,
        )
        return VIDEOS_MISSING
    return SUCCESS


def _say_what_is_missing(match: Match, path: pathlib.Path) -> None:
    for whose, ids in (("ours", match.only_ours), ("theirs", match.only_theirs)):
        if ids:
            more = f" and {len(ids) - MISSING_PRINTED} more" if len(ids) > MISSING_PRINTED else ""
            print(f"only in {whose}: {', '.join(ids[:MISSING_PRINTED])}{more}; {path} has all", file=sys.stderr)


def _write_missing(path: pathlib.Path, match: Match) -> None:
    rows = [*((video, "ours") for video in match.only_ours), *((video, "theirs") for video in match.only_theirs)]
    if not rows:
        # What was missing in an earlier comparison is no longer said.
        path.unlink(missing_ok=True)
        return
    _write_table(path, [("id", "only_in"), *rows])


def _write_flips(path: pathlib.Path, flips: Sequence[dict[str, Any]]) -> None:
    """One row for every video, pair of runs and head whose prediction is not the same."""
    rows = [
        (flip["run"], flip["baseline"], flip["id"], flip["change"], head, said["label"], said["run"], said["baseline"])
        for flip in flips
        for head, said in flip["heads"].items()
        if said["run"] != said["baseline"]
    ]
    head = ("run", "baseline", "id", "change", "head", "label", "run_prediction", "baseline_prediction")
    _write_table(path, [head, *rows])


def _write_table(path: pathlib.Path, rows: Iterable[Sequence[object]]) -> None:
    table = io.StringIO()
    csv.writer(table).writerows(rows)
    write_text(path, table.getvalue())
