"""Reads lists of videos and labels, for predictions without ids or labels."""

import dataclasses
import json
from collections.abc import Mapping

import numpy as np
from etils import epath
from jaxtyping import Int

from jax_vtm.data.source import SINGLE_HEAD
from jax_vtm.data.tables import BadRow, by_id, class_index, read_annotations, read_table, read_text
from jax_vtm.errors import UserError

_EPIC_ID = "narration_id"
_EPIC_LABELS = {"verb": "verb_class", "noun": "noun_class"}
_EXPECTED = (
    "expected a csv file with a column 'video' and one per head, one of EPIC-KITCHENS (narration_id, verb_class, "
    "noun_class), lines such as 'abseiling/xyz.mp4 0', or a .json list of Something-Something"
)


@dataclasses.dataclass(frozen=True)
class ListedLabels:
    """Videos in the list's order, and their classes per head (empty if the list has none)."""

    path: str
    ids: tuple[str, ...]
    labels: Mapping[str, Int[np.ndarray, " n"]]


def read_list(path: epath.Path) -> ListedLabels:
    """Reads an annotation list: ours, or one that the PyTorch reference reads.

    Raises:
        UserError: The list cannot be read, is empty or has another form; the message names the wrong lines.
    """
    text = read_text(path)
    if path.suffix == ".json":
        return _something_something(path, text)
    header = [word.strip() for word in next(iter(text.splitlines()), "").split(",")]
    if _EPIC_ID in header:
        columns = {head: column for head, column in _EPIC_LABELS.items() if column in header}
        rows = read_table(path, [_EPIC_ID]).by_id(
            lambda fields: (
                fields[_EPIC_ID],
                {head: class_index(fields[column], None, None, column) for head, column in columns.items()},
            )
        )
    elif "video" in header:
        rows = read_annotations(path)
    else:
        lines = enumerate(text.splitlines(), start=1)
        rows = by_id(
            path, ((f"line {number}", line.strip()) for number, line in lines if line.strip()), _path_and_label
        )
    if not rows:
        raise UserError(f"{path}: the list is empty; {_EXPECTED}")
    heads = next(iter(rows.values()))
    labels = {head: np.array([row[head] for row in rows.values()]) for head in heads}
    return ListedLabels(str(path), tuple(rows), labels)


def _path_and_label(line: str) -> tuple[str, dict[str, int]]:
    for separator in (",", "\t", " "):
        video, found, label = line.rpartition(separator)
        if found and label.strip().isdecimal():
            return video.strip(), {SINGLE_HEAD: class_index(label.strip(), None, None)}
    raise BadRow(f"{line!r} is no path and class index; {_EXPECTED}")


def _something_something(path: epath.Path, text: str) -> ListedLabels:
    try:
        ids = tuple(str(entry["id"]) for entry in json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError):
        ids = ()
    if not ids:
        raise UserError(f"{path}: is no JSON list of entries with an 'id'; {_EXPECTED}")
    return ListedLabels(str(path), ids, {})
