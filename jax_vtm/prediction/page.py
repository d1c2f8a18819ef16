"""The page of predictions, and their tables for the terminal."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from jax_vtm.config import Config
from jax_vtm.data import ClipProtocol, Failure
from jax_vtm.errors import shown
from jax_vtm.prediction.predict import ranked
from jax_vtm.reports import Column, Page, Picture, Table, contact_sheet
from jax_vtm.reports.formatting import head_label, percent, plural
from jax_vtm.reports.page import Section, sections_page
from jax_vtm.reports.runs import failures_table

IN_FULL = 4  # videos whose classes are printed; of more, the most likely class
LINES = 20  # videos that are printed

Names = Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction of one video.

    Attributes:
        id: Path as given, or below the given folder.
        probabilities: Of the classes, by run and head.
        frames: RGB frames of the first view; None for all but the first videos.
    """

    id: str
    probabilities: Mapping[str, Mapping[str, Float32[np.ndarray, " K"]]]
    frames: UInt8[np.ndarray, "n H W 3"] | None


def print_predictions(predictions: Sequence[Prediction], names: Names, top: int) -> None:
    """Prints the most likely classes of a few videos, or the most likely class of each of many."""
    if len(predictions) > IN_FULL:
        _overview(predictions[:LINES], names).print()
        if len(predictions) > LINES:
            print(f"... and {len(predictions) - LINES} more in predictions.csv and report.html")
    for one in predictions if len(predictions) <= IN_FULL else ():
        print(shown(one.id))
        _classes(one, names, top).print()
    print(_changes(predictions))


def _overview(predictions: Sequence[Prediction], names: Names) -> Table:
    """Makes the table of the most likely class per video, head and run; "same" if it is that of the first run."""
    first, *others = predictions[0].probabilities
    columns = [Column("video", "video"), *_head_column(predictions[0])]
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


def _classes(one: Prediction, names: Names, top: int) -> Table:
    """Makes the table of the `top` classes of every run of a video, with their probabilities in all runs."""
    first, *_ = one.probabilities
    rows = []
    for head, values in one.probabilities[first].items():
        likely = [np.argsort(-heads[head], kind="stable")[:top] for heads in one.probabilities.values()]
        for index in sorted(set(np.concatenate(likely).tolist()), key=lambda index: (-values[index], index)):
            name = names[head][index] if names.get(head) else str(index)
            probabilities = {run: float(heads[head][index]) for run, heads in one.probabilities.items()}
            rows.append({"head": head, "class": name, **probabilities})
    columns = [*_head_column(one), Column("class", "class")]
    columns += [Column(run, run, "%", percent) for run in one.probabilities]
    return Table(one.id, columns, rows)


def _changes(predictions: Sequence[Prediction]) -> str:
    first, *others = predictions[0].probabilities
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
    """Makes the page: frames and most likely classes of every video."""
    unnamed = [head for head in next(iter(predictions[0].probabilities.values())) if not names.get(head)]
    facts = [
        ("Clips", protocol.describe()),
        ("Class names", f"not known for {', '.join(unnamed)}: numbers, from 0" if unnamed else ""),
    ]
    sections = [
        Section("Most likely classes", table=_overview(predictions, names) if len(predictions) > 1 else None),
        *(
            Section(
                shown(one.id),
                picture=Picture.from_array(shown(one.id), "", contact_sheet(one.frames, len(one.frames))),
                table=_classes(one, names, config.predict.top),
            )
            for one in predictions
            if one.frames is not None
        ),
        Section("Videos that could not be read", table=failures_table([vars(one) for one in failures])),
        Section("How it was predicted", facts=facts),
    ]
    about = config.data.description
    return sections_page({"name": config.name}, "predictions", about, _changes(predictions), [], sections)


def _head_column(one: Prediction) -> list[Column]:
    return [Column("head", "head")] if len(next(iter(one.probabilities.values()))) > 1 else []
