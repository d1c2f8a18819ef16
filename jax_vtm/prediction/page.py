"""What was predicted, as tables in a terminal and on a page."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, Failure
from jax_vtm.errors import shown
from jax_vtm.prediction.predict import ranked
from jax_vtm.reports import Column, Page, Picture, Table, contact_sheet, render_page
from jax_vtm.reports.formatting import head_label, percent, plural

# More videos than this have a line each in a terminal, and only so many lines.
IN_FULL, LINES = 4, 20

Names = Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the models see in one video.

    Attributes:
        id: As it was given, or below the folder that was given.
        probabilities: Of the classes, by run and head.
        frames: Some of the first view's, RGB; None for all but the first videos.
    """

    id: str
    probabilities: Mapping[str, Mapping[str, Float32[np.ndarray, " K"]]]
    frames: UInt8[np.ndarray, "n H W 3"] | None


def print_predictions(predictions: Sequence[Prediction], names: Names, top: int) -> None:
    """Prints the most likely classes of a few videos, or the most likely one of each of many."""
    if len(predictions) > IN_FULL:
        overview(predictions[:LINES], names).print()
        if len(predictions) > LINES:
            print(f"... and {len(predictions) - LINES} more in predictions.csv and report.html")
    for one in predictions if len(predictions) <= IN_FULL else ():
        print(shown(one.id))
        classes(one, names, top).print()
    print(changes(predictions))


def overview(predictions: Sequence[Prediction], names: Names) -> Table:
    """One row for each video and head: the most likely class of every run; "same" where merging changes none."""
    first, *others = _runs(predictions)
    columns = [Column("video", "video"), *_head_column(predictions)]
    for run in (first, *others):
        columns += [Column(run, run), Column(f"{run} (%)", "", "%", percent)]
    rows = []
    for one in predictions:
        for head in one.probabilities[first]:
            row: dict[str, Any] = {"video": one.id, "head": head}
            for run in (first, *others):
                ((name, probability),) = ranked(one.probabilities[run][head], names.get(head, ()), 1)
                row |= {run: "same" if run != first and name == row[first] else name, f"{run} (%)": probability}
            rows.append(row)
    return Table("Most likely classes", columns, rows)


def classes(one: Prediction, names: Names, top: int) -> Table:
    """The most likely classes of one video: the first of every run, with the probability in each."""
    first, *_ = one.probabilities
    rows = []
    for head, values in one.probabilities[first].items():
        likely = [np.argsort(-heads[head], kind="stable")[:top] for heads in one.probabilities.values()]
        for index in sorted(set(np.concatenate(likely).tolist()), key=lambda index: (-values[index], index)):
            name = names[head][index] if names.get(head) else str(index)
            probabilities = {run: float(heads[head][index]) for run, heads in one.probabilities.items()}
            rows.append({"head": head, "class": name, **probabilities})
    columns = [*_head_column([one]), Column("class", "class")]
    columns += [Column(run, run, "%", percent) for run in one.probabilities]
    return Table(one.id, columns, rows)


def changes(predictions: Sequence[Prediction]) -> str:
    """Says how often merging changes the most likely class."""
    first, *others = _runs(predictions)
    if not others:
        return f"The most likely classes of {plural(len(predictions), 'video')}, without merging"
    parts = []
    for head in predictions[0].probabilities[first]:
        changed = sum(
            len({int(np.argmax(heads[head])) for heads in one.probabilities.values()}) > 1 for one in predictions
        )
        if changed:
            parts.append(f"the {head_label(head) or 'class '}of {changed}")
    if not parts:
        return f"Merging changes the most likely class of none of {plural(len(predictions), 'video')}"
    return f"Merging changes {' and '.join(parts)} of {plural(len(predictions), 'video')}"


def page(
    config: Config,
    predictions: Sequence[Prediction],
    names: Names,
    failures: Sequence[Failure],
    protocol: ClipProtocol,
) -> Page:
    """Makes the page: for every video some frames and its most likely classes."""
    sections = [
        (
            Picture.from_array(shown(one.id), "", contact_sheet(one.frames, len(one.frames))),
            classes(one, names, config.predict.top),
        )
        for one in predictions
        if one.frames is not None
    ]
    columns = [Column("id", "video"), Column("reason", "what is wrong")]
    return render_page(
        "prediction/page.html.j2",
        title=config.name,
        kind="predictions",
        eyebrow=[config.name, config.data.description],
        headline=changes(predictions),
        warnings=[],
        overview=overview(predictions, names) if len(predictions) > 1 else None,
        sections=sections,
        failures=Table("Videos that could not be read", columns, [vars(one) for one in failures]) if failures else None,
        facts=[("Clips", protocol.describe()), ("Class names", _names_known(predictions, names))],
    )


def _names_known(predictions: Sequence[Prediction], names: Names) -> str:
    heads = next(iter(predictions[0].probabilities.values()))
    unnamed = [head for head in heads if not names.get(head)]
    return f"not known for {', '.join(unnamed)}: numbers, from 0" if unnamed else ""


def _runs(predictions: Sequence[Prediction]) -> list[str]:
    return list(predictions[0].probabilities)


def _head_column(predictions: Sequence[Prediction]) -> list[Column]:
    """Said only where there are several."""
    heads = next(iter(predictions[0].probabilities.values()))
    return [Column("head", "head")] if len(heads) > 1 else []
