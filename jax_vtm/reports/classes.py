"""Sections on classes: largest changes, most frequent mistakes, confusion matrices, accuracies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jax_vtm.reports import plots
from jax_vtm.reports.formatting import percent, signed
from jax_vtm.reports.page import Section
from jax_vtm.reports.runs import Run
from jax_vtm.reports.table import Column, Table

CHANGES_SHOWN = 10
PAIRS_SHOWN = 10
MAX_CLASSES = 20  # of a confusion matrix whose cells can be read

Confusions = Mapping[str, Mapping[str, Int[np.ndarray, "K K"]]]

_CLASS = Column("class", "class")


def class_sections(runs: Sequence[Run], confusions: Confusions, suffix: str = "") -> list[Section]:
    """Makes a section for each labelled head.

    Args:
        runs: The runs of `results.json`; changes are those of the second from the first.
        confusions: {run: {head: counts [true, predicted]}}; runs and heads may be missing.
        suffix: Of the titles.
    """
    sections = []
    for head in runs[0]["classes"]:
        found = {run["name"]: confusions[run["name"]][head] for run in runs if head in confusions.get(run["name"], {})}
        names = [_name(row) for row in runs[0]["classes"][head]]
        draws = len(names) <= MAX_CLASSES
        maps = [
            plots.heat_map(f"confusion {head} {name}", f"{head}, {name}", matrix, names)
            for name, matrix in (found if draws else {}).items()
        ]
        summary, changes = _changes(head, *runs[:2]) if len(runs) > 1 else ("", None)
        folded = [
            Section("Most frequent mistakes", table=_mistakes(head, names, {} if draws else found)),
            Section(
                f"All {len(names)} classes{', with confusion matrices' if maps else ''}",
                figures=maps,
                table=_accuracies(head, runs),
            ),
        ]
        sections.append(Section(f"Class by class, {head}{suffix}", summary, table=changes, folded=folded))
    return sections


def _changes(head: str, baseline: Run, run: Run) -> tuple[str, Table | None]:
    """Returns in how many classes a run loses and gains, and the table of the largest changes."""
    rows = [
        {
            "class": _name(before),
            "change": after["correct"] - before["correct"],
            "videos": before["count"],
            "before": before["correct"],
            "after": after["correct"],
        }
        for before, after in zip(baseline["classes"][head], run["classes"][head], strict=True)
    ]
    # By videos, not by share, which one video changes much in a rare class.
    lost = sorted((row for row in rows if row["change"] < 0), key=lambda row: row["change"])
    gained = sorted((row for row in rows if row["change"] > 0), key=lambda row: -row["change"])
    shown = [*lost[:CHANGES_SHOWN], *gained[:CHANGES_SHOWN]]
    if not shown:
        return f"{run['name']}: the same number of correct videos in every class.", None
    columns = [
        _CLASS,
        Column("change", "change", "videos", signed),
        Column("videos", "videos", "", str),
        Column("before", f"correct, {baseline['name']}", "", str),
        Column("after", f"correct, {run['name']}", "", str),
    ]
    left_out = len(lost) + len(gained) - len(shown)
    more = f"; {left_out} smaller changes are left out" if left_out else ""
    summary = f"{run['name']}: fewer correct videos in {len(lost)} of {len(rows)} classes, more in {len(gained)}{more}."
    return summary, Table(f"Largest changes of {head}, {run['name']}", columns, shown)


def _mistakes(head: str, names: Sequence[str], matrices: Mapping[str, Int[np.ndarray, "K K"]]) -> Table:
    """Makes the table of the most frequent mistakes, counted over all runs."""
    total = sum(matrices.values(), np.zeros((len(names), len(names)), int))
    np.fill_diagonal(total, 0)
    order = np.argsort(-total, axis=None, kind="stable")[:PAIRS_SHOWN]
    rows = [
        {"class": names[true], "predicted": names[predicted]}
        | {f"run {name}": int(matrix[true, predicted]) for name, matrix in matrices.items()}
        for true, predicted in (divmod(int(place), len(names)) for place in order if total.flat[place])
    ]
    columns = [Column("class", "true class"), Column("predicted", "predicted as")]
    columns += [Column(f"run {name}", name, "videos", str) for name in matrices]
    return Table(f"Most frequent mistakes of {head}", columns, rows)


def _accuracies(head: str, runs: Sequence[Run]) -> Table:
    rows = [
        {"class": _name(entries[0]), "videos": entries[0]["count"]}
        | {f"run {run['name']}": entry["accuracy"] for run, entry in zip(runs, entries, strict=True)}
        for entries in zip(*(run["classes"][head] for run in runs), strict=True)
    ]
    columns = [Column(f"run {run['name']}", run["name"], "%", percent) for run in runs]
    return Table(f"Accuracy of every class of {head}", [_CLASS, Column("videos", "videos", "", str), *columns], rows)


def _name(row: Mapping[str, Any]) -> str:
    return str(row.get("name", row["class"]))
