"""`compare`: compares two sets of predictions of the same videos."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from etils import epath

from jax_vtm.comparison.comparison import compare
from jax_vtm.comparison.lists import read_list
from jax_vtm.comparison.matching import complete
from jax_vtm.comparison.page import comparison_page, comparison_text
from jax_vtm.comparison.read import PREDICTIONS_FILE, read_predictions
from jax_vtm.config import Config
from jax_vtm.errors import SUCCESS, VIDEOS_MISSING, UserError, listed, shown
from jax_vtm.files import AnyPath, csv_text, write_table, write_text

MISSING_PRINTED = 5
FLIP_COLUMNS = ("run", "baseline", "id", "change", "head", "label", "run_prediction", "baseline_prediction")


def run(config: Config, workdir: AnyPath) -> int:
    """Compares, prints the result and writes it to `workdir/compare`; returns the exit code."""
    keys = config.compare
    if not keys.ours and not (workdir / PREDICTIONS_FILE).exists() and not (workdir / "passes").exists():
        raise UserError(
            f"{workdir}: has no {PREDICTIONS_FILE} to compare. Run evaluate first, with the same flags, or give the "
            "--workdir of an evaluation."
        )
    labels = read_list(epath.Path(keys.labels)) if keys.labels else None
    ours = complete(read_predictions(keys.ours or workdir), labels)
    theirs = complete(read_predictions(keys.theirs), labels) if keys.theirs else None
    results, flips, match = compare(
        ours, theirs, our_run=keys.ours_run, their_run=keys.theirs_run, name=config.name, seed=config.seed
    )
    folder = workdir / "compare"
    only_in = {"ours": match.only_ours, "theirs": match.only_theirs}
    write_table(folder / "missing.csv", [{"id": id, "only_in": side} for side, ids in only_in.items() for id in ids])
    write_text(folder / "flips.csv", csv_text(_flip_rows(flips), FLIP_COLUMNS))
    comparison_page(results, flips).write(workdir, "compare")
    write_text(folder / "compare.json", f"{json.dumps(results, indent=2, allow_nan=False)}\n")
    print(comparison_text(results))
    print(f"results in {folder}: report.html, figures, compare.json, flips.csv")
    for side, ids in only_in.items():
        if ids:
            first = shown(listed(ids, MISSING_PRINTED))
            print(f"only in {side}: {first}; {folder / 'missing.csv'} has all", file=sys.stderr)
    missing = sum(map(len, only_in.values()))
    if missing and not keys.allow_missing:
        print(
            f"error: {missing} video{'s are' if missing > 1 else ' is'} in only one of the two; to accept that, give "
            "--config.compare.allow_missing=True.",
            file=sys.stderr,
        )
        return VIDEOS_MISSING
    return SUCCESS


def _flip_rows(flips: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: flip[key] for key in ("run", "baseline", "id", "change")}
        | {"head": head, "label": classes["label"]}
        | {f"{side}_prediction": classes[side] for side in ("run", "baseline")}
        for flip in flips
        for head, classes in flip["heads"].items()
        if classes["run"] != classes["baseline"]
    ]
