"""Predictions in a `.csv` file: a row for every video."""

from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from jax_vtm.data.tables import BadRow, class_index, read_table
from jax_vtm.errors import UserError
from jax_vtm.evaluation.saved.predictions import MOST_CLASSES, Head, SavedPredictions, scored
from jax_vtm.evaluation.step import SINGLE_HEAD

_ID, _LABEL, _PREDICTION = "id", "label", "prediction"


def read_csv(path: epath.Path) -> SavedPredictions:
    """Reads a table with a header.

    It has a column `id`, perhaps a column `label`, and either a column `prediction`, with indices or names of classes,
    or a column of scores for each class. Those are called by the class's index, from 0, or by its name.

    Raises:
        UserError: The file cannot be read, or rows are wrong; the message says which.
    """
    table = read_table(path, [_ID], "id,prediction")
    classes = [column for column in table.header if column not in (_ID, _LABEL, _PREDICTION)]
    if bool(classes) == (_PREDICTION in table.header):
        raise UserError(
            f"{path}: found the columns {', '.join(table.header)}; expected id, perhaps label, and either prediction "
            "or a column of scores for each class"
        )
    if not table.rows:
        raise UserError(f"{path}: has no rows")
    labelled = _LABEL in table.header
    if not classes:
        columns = [_PREDICTION, _LABEL] if labelled else [_PREDICTION]
        names = _names(path, columns, table.by_id(lambda fields: (fields[_ID], [fields[column] for column in columns])))
        index = {name: place for place, name in enumerate(names)}

        def of_class(fields: Mapping[str, str], column: str) -> int:
            if names and fields[column]:
                return index[fields[column]]
            return class_index(fields[column], MOST_CLASSES, None, column)

        def parse_class(fields: Mapping[str, str]) -> tuple[str, tuple[int, int]]:
            return fields[_ID], (of_class(fields, _PREDICTION), of_class(fields, _LABEL) if labelled else 0)

        rows = table.by_id(parse_class)
        head = Head(np.array([predicted for predicted, _ in rows.values()]), class_names=names)
        labels = [label for _, label in rows.values()]
        return _saved(path, list(rows), head, labels if labelled else None)

    order, names = _order(path, classes)

    def parse_scores(fields: Mapping[str, str]) -> tuple[str, tuple[list[float], int]]:
        values = [_number(fields[column], column) for column in order]
        return fields[_ID], (values, class_index(fields[_LABEL], len(order), names, _LABEL) if labelled else 0)

    scores = table.by_id(parse_scores)
    head = scored(
        f"{path}: the columns of classes", np.array([values for values, _ in scores.values()]), class_names=names
    )
    return _saved(path, list(scores), head, [label for _, label in scores.values()] if labelled else None)


def _saved(path: epath.Path, ids: Sequence[str], head: Head, labels: Sequence[int] | None) -> SavedPredictions:
    known = {} if labels is None else {SINGLE_HEAD: np.array(labels)}
    return SavedPredictions(str(path), ".csv file", tuple(ids), known, {path.name: {SINGLE_HEAD: head}})


def _names(path: epath.Path, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The names of classes in the rows, in alphabetical order; none where all are indices."""
    words = [{word for word in column if word} for column in zip(*rows.values(), strict=True)]
    numbered = [all(word.isdecimal() for word in of_column) for of_column in words]
    if len(set(numbered)) > 1:
        raise UserError(
            f"{path}: of {' and '.join(columns)} one names classes, the other numbers them; expected the same"
        )
    return () if all(numbered) else tuple(sorted(set().union(*words)))


def _order(path: epath.Path, classes: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """The columns by class index, and the classes' names if they have any."""
    if not all(column.isdecimal() for column in classes):
        return list(classes), tuple(classes)
    order = [str(index) for index in range(len(classes))]
    if set(order) != set(classes):
        by_size = sorted(classes, key=lambda column: (len(column), column))
        raise UserError(
            f"{path}: the columns of classes are {by_size[0]} to {by_size[-1]}, {len(order)} of them; expected each "
            f"index from 0 to {len(order) - 1} once"
        )
    return order, ()


def _number(text: str, column: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadRow(f"{text!r} is not a number", column) from None
