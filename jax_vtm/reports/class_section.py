"""The page's section on single classes: what merging loses and gains, what is taken for what, every accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jax_vtm.reports import wording
from jax_vtm.reports.heat_map import MAX_CLASSES, heat_map
from jax_vtm.reports.markup import cell, details, figure, nonbreaking, row_head, safe, table

CHANGES_SHOWN = 10
PAIRS_SHOWN = 10

_HEAT_MAP_CAPTION = (
    "Videos by true class (down) and predicted class (across). Blue is right, orange wrong; the shade says which share "
    "of the true class's videos it is."
)

Confusions = Mapping[str, Mapping[str, Int[np.ndarray, "K K"]]]


def class_section(results: Mapping[str, Any], confusions: Confusions) -> str:
    """What becomes of the classes of every labelled head; empty where nothing is labelled.

    Args:
        results: What `results.json` holds.
        confusions: {run: {head: matrix}}, rows the true class; runs and heads may be missing.
    """
    runs = [run for run in results["runs"] if run.get("classes")]
    if not runs:
        return ""
    heads = list(runs[0]["classes"])
    return "".join(
        (f"<h3>{safe(head)}</h3>\n" if len(heads) > 1 else "")
        + _changes(head, runs, wording.baseline_run(results))
        + _confusion(head, runs, confusions)
        + _every_class(head, runs)
        for head in heads
    )


def _changes(head: str, runs: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any] | None) -> str:
    """The classes that each run loses and gains most against the baseline."""
    if baseline is None or not baseline.get("classes"):
        return ""
    others = [run for run in runs if run is not baseline]
    parts = []
    for run in others:
        sentence, content = _change(head, run, baseline)
        whole = len(others) == 1 or not content
        parts.append(f"<p>{nonbreaking(sentence)}</p>\n{content}" if whole else details(sentence, content))
    return "".join(parts)


def _change(head: str, run: Mapping[str, Any], baseline: Mapping[str, Any]) -> tuple[str, str]:
    """One run in a sentence, and the table of its largest changes."""
    pairs = list(zip(baseline["classes"][head], run["classes"][head], strict=True))
    # By videos, not by share: of a rare class, one video more or less says nothing.
    lost = sorted((pair for pair in pairs if _gain(pair) < 0), key=_gain)
    gained = sorted((pair for pair in pairs if _gain(pair) > 0), key=lambda pair: -_gain(pair))
    changed = [*lost, *gained]
    if not changed:
        return f"{run['name']} against {baseline['name']}: as many videos right in every class.", ""
    sentence = (
        f"{run['name']} against {baseline['name']}: fewer videos right in {len(lost)} of {len(pairs)} classes, "
        f"more in {len(gained)}."
    )
    heads = [("class", "text"), *((text, "number") for text in ("change", "videos", baseline["name"], run["name"]))]
    rows = [_change_row(*pair) for pair in (*lost[:CHANGES_SHOWN], *gained[:CHANGES_SHOWN])]
    label = f"Largest changes of {head}, {run['name']}"
    left_out = len(changed) - len(rows)
    note = f"<p>The largest changes; {left_out} others are left out.</p>\n" if left_out else ""
    return sentence, note + table(label, heads, rows, "sortable fitted")


def _gain(pair: tuple[Mapping[str, Any], Mapping[str, Any]]) -> int:
    return pair[1]["correct"] - pair[0]["correct"]


def _change_row(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    gain = _gain((before, after))
    counts = "".join(cell(str(value), value) for value in (before["count"], before["correct"], after["correct"]))
    return f"<tr>{row_head(_name(before))}{cell(wording.signed(gain), gain)}{counts}</tr>\n"


def _confusion(head: str, runs: Sequence[Mapping[str, Any]], confusions: Confusions) -> str:
    """What is taken for what: pictures of few classes, a list of the most frequent mistakes of many."""
    matrices = {run["name"]: confusions[run["name"]][head] for run in runs if head in confusions.get(run["name"], {})}
    if not matrices:
        return ""
    names = [_name(row) for row in runs[0]["classes"][head]]
    if len(names) > MAX_CLASSES:
        return _confused_pairs(head, names, matrices)
    figures = "".join(
        figure(name, heat_map(f"Confusion of {head}, {name}", matrix, names)) for name, matrix in matrices.items()
    )
    drawn = f'<div class="plots">{figures}</div>\n<p class="caption">{_HEAT_MAP_CAPTION}</p>\n'
    return drawn if len(matrices) <= 2 else details(f"What is taken for what, in each of {len(matrices)} runs", drawn)


def _confused_pairs(head: str, names: Sequence[str], matrices: Mapping[str, Int[np.ndarray, "K K"]]) -> str:
    total = np.sum(list(matrices.values()), axis=0)
    np.fill_diagonal(total, 0)
    # Stable, so that equal pairs stand in the order of their classes.
    order = np.argsort(-total, axis=None, kind="stable")[:PAIRS_SHOWN]
    pairs = [divmod(int(place), len(names)) for place in order if total.flat[place]]
    if not pairs:
        return "<p>No video is taken for another class.</p>\n"
    rows = [
        f"<tr>{row_head(names[true])}{cell(names[predicted], names[predicted], 'text')}"
        + "".join(cell(str(matrix[true, predicted]), matrix[true, predicted]) for matrix in matrices.values())
        + "</tr>\n"
        for true, predicted in pairs
    ]
    heads = [("true class", "text"), ("predicted as", "text"), *((name, "number") for name in matrices)]
    shown = table(f"Most frequent mistakes of {head}", heads, rows, "sortable fitted")
    return f"<p>The most frequent mistakes, in videos:</p>\n{shown}"


def _every_class(head: str, runs: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for entries in zip(*(run["classes"][head] for run in runs), strict=True):
        cells = "".join(
            cell(wording.percent(entry["accuracy"]), entry["accuracy"], hint=f"{entry['correct']} of {entry['count']}")
            for entry in entries
        )
        first = entries[0]
        rows.append(
            f"<tr>{row_head(_name(first), first['class'])}{cell(str(first['count']), first['count'])}{cells}</tr>\n"
        )
    heads = [("class", "text"), ("videos", "number"), *((run["name"], "number") for run in runs)]
    shown = table(f"Accuracy of every class of {head}", heads, rows, "sortable fitted")
    return details(f"All {len(rows)} classes", shown)


def _name(row: Mapping[str, Any]) -> str:
    return str(row.get("name", row["class"]))
