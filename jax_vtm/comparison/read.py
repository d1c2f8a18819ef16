"""Reads predictions: those of a workdir, and files of arrays, tables, pickles and submissions, whatever wrote them."""

import json
import os
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from jax_vtm.comparison.predictions import MOST_CLASSES, Head, Predictions, described, scored, single_or_double
from jax_vtm.comparison.reference_files import read_epic_submission, read_pickle
from jax_vtm.data.source import SINGLE_HEAD
from jax_vtm.data.tables import BadRow, Table, class_index, read_table, read_text
from jax_vtm.errors import UserError
from jax_vtm.evaluation.views import VIEW_AVERAGES, combine_views
from jax_vtm.regular_file import check_regular_file

PREDICTIONS_FILE = "predictions.npz"

_LOGITS = "/logits/"
_ID, _LABEL, _PREDICTION = "id", "label", "prediction"

# A small archive may unpack to more than there is memory; numbers that differ do not shrink to a hundredth.
_SURELY_FITS, _MOST_UNPACKED = 2**30, 100


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Reads the predictions in a workdir of an evaluation, or in a file.

    Args:
        path: A folder with a `predictions.npz`; or a file `.npz`, `.csv`, `.json`, or `.pkl`, `.pickle`, `.pt`, `.pth`,
            `.pyth`.

    Raises:
        UserError: There is no such file, or it is none of these, damaged or refused.
    """
    found = epath.Path(path)
    if not found.exists():
        raise UserError(f"{path}: there is no such file or folder")
    if found.is_dir():
        found = found / PREDICTIONS_FILE
        if not found.exists():
            raise UserError(f"{path}: has no {PREDICTIONS_FILE}; python main.py evaluate writes one to its workdir")
    check_regular_file(found)
    readers = {".npz": _read_npz, ".csv": _read_csv, ".json": read_epic_submission}
    readers |= dict.fromkeys((".pkl", ".pickle", ".pyth", ".pth", ".pt"), read_pickle)
    if found.suffix not in readers:
        raise UserError(
            f"{path}: the suffix {found.suffix!r} says nothing; expected a workdir of an evaluation, or a file with "
            f"one of {', '.join(readers)}"
        )
    return readers[found.suffix](found)


def _read_npz(path: epath.Path) -> Predictions:
    """Reads `predictions.npz` of an evaluation, or a file of arrays.

    Ours has the logits of every view. How they become one prediction, and what classes are called, is in the
    `results.json` next to it; without that file, logits are averaged. Anybody's file has `ids` [n], `labels` [n] and
    `logits` or `scores` [n, K] or, per view, [n, V, K]; ids and labels may be missing. With several heads the names are
    `logits/HEAD` and `labels/HEAD`.
    """
    arrays = _arrays(path)
    ids = _ids(path, arrays["ids"]) if "ids" in arrays else None
    labels = _by_head(arrays, "labels")
    for head, values in labels.items():
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise UserError(f"{path}: `labels` of {head!r} are {described(values)}, expected whole numbers [n]")
    if not any(_LOGITS in name for name in arrays):
        heads = {
            head: scored(f"{path}: `{name}`", _one_per_video(values, "logits"), "logits" if name == "logits" else None)
            for name in ("logits", "scores")
            for head, values in _by_head(arrays, name).items()
        }
        if not heads:
            raise UserError(
                f"{path}: has the arrays {', '.join(arrays) or '(none)'}; expected `ids`, `labels` and `logits` or "
                "`scores`, each followed by /HEAD where there are several heads"
            )
        return Predictions(str(path), ".npz file", ids, labels, {path.name: heads})

    how, class_names = _how_evaluated(path.parent / "results.json")
    runs: dict[str, dict[str, Head]] = {}
    several_views = False
    for name, values in arrays.items():
        run, found, head = name.rpartition(_LOGITS)
        if found:
            several_views |= values.ndim == 3 and values.shape[1] > 1
            values, kind = _one_per_video(values, how or "logits"), "probabilities" if how == "softmax" else "logits"
            runs.setdefault(run, {})[head] = scored(f"{path}: `{name}`", values, kind, class_names.get((run, head), ()))
    note = f"{path}: no results.json next to it says how, so the logits of a video's views are averaged."
    notes = (note,) if how is None and several_views else ()
    return Predictions(str(path), "predictions of jax_vtm", ids, labels, runs, notes)


def _arrays(path: epath.Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > max(_SURELY_FITS, _MOST_UNPACKED * file.seek(0, os.SEEK_END)):
                raise ValueError(f"unpacked, it has {unpacked >> 20} MiB")
            file.seek(0)
            arrays = np.load(file, allow_pickle=False)
            return {name: np.asarray(arrays[name]) for name in arrays.files}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # whatever a damaged file leads to
        problem = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: is damaged, or no .npz file of plain arrays ({problem})") from error


def _ids(path: epath.Path, values: np.ndarray) -> tuple[str, ...]:
    if values.ndim != 1 or values.dtype.kind not in "USiu":
        raise UserError(f"{path}: `ids` are {described(values)}, expected text [n]")
    try:
        return tuple((np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values).astype(str).tolist())
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: `ids` are no UTF-8 text ({error})") from error


def _how_evaluated(path: epath.Path) -> tuple[str | None, dict[tuple[str, str], tuple[str, ...]]]:
    """Reads from `results.json` how views become one prediction, and the names of classes by run and head."""
    if not path.exists():
        return None, {}
    try:
        results = json.loads(read_text(path))
        names = {
            (run["name"], head): tuple(row["name"] for row in rows if row.get("name") is not None)
            for run in results.get("runs", [])
            for head, rows in run.get("classes", {}).items()
        }
        how = results.get("protocol", {}).get("view_average")
        if not all(isinstance(name, str) for of_head in names.values() for name in of_head):
            raise TypeError("names of classes that are no text")
        if how not in (None, *VIEW_AVERAGES):
            raise TypeError(f"the view average {how!r}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: is not what evaluate writes ({type(error).__name__}: {error}); it says how the views of "
            "predictions.npz are averaged. Restore it, or move predictions.npz to another folder"
        ) from error
    return how, names


def _one_per_video(values: np.ndarray, how: str) -> np.ndarray:
    """One prediction per video of scores [n, V, K]; anything else as it is."""
    if values.ndim == 3 and values.dtype.kind in "fiu" and values.size:
        return combine_views(single_or_double(values), how)
    return values


def _by_head(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The arrays called `name` or `name/HEAD`."""
    return {
        key.partition("/")[2] or SINGLE_HEAD: arrays[key] for key in sorted(arrays) if key.partition("/")[0] == name
    }


def _read_csv(path: epath.Path) -> Predictions:
    """Reads a table with a header.

    It has a column `id`, perhaps a column `label`, and either a column `prediction`, with indices or names of classes,
    or a column of scores for each class. Those are called by the class's index, from 0, or by its name.
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
    labelled = [_LABEL] if _LABEL in table.header else []
    if classes:
        ids, head, labels = _scores(path, table, classes, labelled)
    else:
        ids, head, labels = _classes(path, table, labelled)
    known = {SINGLE_HEAD: np.array(labels)} if labelled else {}
    return Predictions(str(path), ".csv file", tuple(ids), known, {path.name: {SINGLE_HEAD: head}})


def _classes(path: epath.Path, table: Table, labelled: Sequence[str]) -> tuple[Sequence[str], Head, Sequence[int]]:
    """Ids, predictions and labels of a table that names or numbers the predicted classes."""
    columns = [_PREDICTION, *labelled]
    words = table.by_id(lambda fields: (fields[_ID], [fields[column] for column in columns]))
    kinds = [all(word.isdecimal() for word in column if word) for column in zip(*words.values(), strict=True)]
    if len(set(kinds)) > 1:
        raise UserError(f"{path}: of {' and '.join(columns)} one names classes, the other numbers them")
    names = () if kinds[0] else tuple(sorted({word for row in words.values() for word in row if word}))
    index = {name: place for place, name in enumerate(names)}

    def class_of(fields: Mapping[str, str], column: str) -> int:
        place = index.get(fields[column])
        return class_index(fields[column], MOST_CLASSES, None, column) if place is None else place

    rows = table.by_id(lambda fields: (fields[_ID], [class_of(fields, column) for column in columns]))
    predicted, *labels = np.array(list(rows.values())).T
    return list(rows), Head(predicted, class_names=names), labels[0] if labels else ()


def _scores(
    path: epath.Path, table: Table, classes: Sequence[str], labelled: Sequence[str]
) -> tuple[Sequence[str], Head, Sequence[int]]:
    """Ids, scores and labels of a table with a column for each class."""
    names, order = tuple(classes), list(classes)
    if all(column.isdecimal() for column in classes):
        names, order = (), [str(index) for index in range(len(classes))]
        if set(order) != set(classes):
            by_size = sorted(classes, key=lambda column: (len(column), column))
            raise UserError(
                f"{path}: the columns of classes are {by_size[0]} to {by_size[-1]}, {len(order)} of them; expected "
                f"each index from 0 to {len(order) - 1} once"
            )

    def parse(fields: Mapping[str, str]) -> tuple[str, tuple[list[float], int]]:
        values = [_number(fields[column], column) for column in order]
        return fields[_ID], (values, class_index(fields[_LABEL], len(order), names, _LABEL) if labelled else 0)

    rows = table.by_id(parse)
    scores = np.array([values for values, _ in rows.values()])
    head = scored(f"{path}: the columns of classes", scores, class_names=names)
    return list(rows), head, [label for _, label in rows.values()]


def _number(text: str, column: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadRow(f"{text!r} is not a number", column) from None
