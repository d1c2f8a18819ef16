"""Reads predictions from a workdir, or from a file of arrays, a table, a pickle or a submission."""

import dataclasses
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from jax_vtm.comparison.predictions import MOST_CLASSES, Head, Predictions, as_float, describe_value, head_from_scores
from jax_vtm.comparison.reference_files import read_epic_submission, read_pickle
from jax_vtm.data.source import SINGLE_HEAD
from jax_vtm.data.tables import BadRow, Table, class_index, read_table, read_text
from jax_vtm.errors import UserError
from jax_vtm.evaluation.run_names import mode_name
from jax_vtm.evaluation.views import VIEW_AVERAGES, combine_views
from jax_vtm.regular_file import check_regular_file
from jax_vtm.reports.equal_cost import series_name
from jax_vtm.reports.formatting import is_known

PREDICTIONS_FILE = "predictions.npz"

_LOGITS = "/logits/"
_ID, _LABEL, _PREDICTION = "id", "label", "prediction"

# A small archive may unpack to more than the memory: above 1 GiB, at most a ratio of 100 is accepted.
_SURELY_FITS, _MOST_UNPACKED = 2**30, 100


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Reads the predictions of an evaluation's or a sweep's workdir, or of a file.

    Args:
        path: A folder with a `predictions.npz`, or with the passes of a sweep; or a file `.npz`, `.csv`, `.json`, or
            `.pkl`, `.pickle`, `.pt`, `.pth`, `.pyth`.

    Raises:
        UserError: The file is missing, of another kind, damaged or refused.
    """
    found = epath.Path(path)
    if not found.exists():
        raise UserError(f"{path}: there is no such file or folder")
    if found.is_dir():
        folder, found = found, found / PREDICTIONS_FILE
        if not found.exists():
            return _read_passes(folder)
    check_regular_file(found)
    readers = {".npz": _read_npz, ".csv": _read_csv, ".json": read_epic_submission}
    readers |= dict.fromkeys((".pkl", ".pickle", ".pyth", ".pth", ".pt"), read_pickle)
    if found.suffix not in readers:
        raise UserError(
            f"{path}: the suffix {found.suffix!r} is unknown; expected the workdir of an evaluation, or a file with "
            f"one of {', '.join(readers)}"
        )
    return readers[found.suffix](found)


def _read_passes(folder: epath.Path) -> Predictions:
    """Reads the predictions of a sweep, whose `results.json` is in the same folder."""
    passes = sorted(folder.glob(f"passes/*/*/{PREDICTIONS_FILE}"))
    if not passes:
        raise UserError(f"{folder}: has no {PREDICTIONS_FILE}; evaluate writes one to its workdir, sweep one per pass")
    if len({path.parents[1] for path in passes}) > 1:
        raise UserError(
            f"{folder}: has passes of sweeps with several settings; give one pass, such as {passes[0].parent}, or "
            "sweep into another --workdir."
        )
    read = [_read_npz(path, folder / "results.json") for path in passes]
    if any(one.ids != read[0].ids for one in read):
        raise UserError(f"{folder}: its passes are not of the same videos; sweep again, so that all are tried again.")
    runs = {run: heads for one in reversed(read) for run, heads in one.runs.items()}
    first = next(iter(read[0].runs))
    in_order = {run: runs[run] for run in (first, *(run for one in read for run in one.runs if run != first))}
    return dataclasses.replace(read[0], path=str(folder), kind="passes of a sweep", runs=in_order)


def _read_npz(path: epath.Path, results: epath.Path | None = None) -> Predictions:
    """Reads `predictions.npz` of an evaluation, or a file of arrays.

    `predictions.npz` has the logits of every view. The `results.json` next to it, or given, has the view average, the
    class names and what runs cost; without it, logits are averaged. Other files have `ids` [n], `labels` [n] and
    `logits` or `scores`, [n, K] or per view [n, V, K]; ids and labels may be missing. With several heads the names are
    `logits/HEAD`, `labels/HEAD`.
    """
    arrays = _arrays(path)
    ids = _ids(path, arrays["ids"]) if "ids" in arrays else None
    labels = _by_head(arrays, "labels")
    for head, values in labels.items():
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise UserError(f"{path}: `labels` of {head!r} are {describe_value(values)}, expected whole numbers [n]")
    if not any(_LOGITS in name for name in arrays):
        heads = {
            head: head_from_scores(
                f"{path}: `{name}`", _average_views(values, "logits"), "logits" if name == "logits" else None
            )
            for name in ("logits", "scores")
            for head, values in _by_head(arrays, name).items()
        }
        if not heads:
            raise UserError(
                f"{path}: has the arrays {', '.join(arrays) or '(none)'}; expected `ids`, `labels` and `logits` or "
                "`scores`, each followed by /HEAD where there are several heads"
            )
        return Predictions(str(path), ".npz file", ids, labels, {path.name: heads})

    view_average, class_names, costs = _evaluation_facts(results or path.parent / "results.json")
    runs: dict[str, dict[str, Head]] = {}
    several_views = False
    for name, values in arrays.items():
        run, found, head = name.rpartition(_LOGITS)
        if found:
            several_views |= values.ndim == 3 and values.shape[1] > 1
            values = _average_views(values, view_average or "logits")
            kind, names = "probabilities" if view_average == "softmax" else "logits", class_names.get((run, head), ())
            runs.setdefault(run, {})[head] = head_from_scores(f"{path}: `{name}`", values, kind, names)
    note = f"{path}: has no results.json next to it, so the logits of a video's views are averaged."
    notes = (note,) if view_average is None and several_views else ()
    return Predictions(str(path), "predictions of jax_vtm", ids, labels, runs, notes, costs)


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
    except Exception as error:  # a damaged file may raise anything
        problem = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: is damaged, or no .npz file of plain arrays ({problem})") from error


def _ids(path: epath.Path, values: np.ndarray) -> tuple[str, ...]:
    if values.ndim != 1 or values.dtype.kind not in "USiu":
        raise UserError(f"{path}: `ids` are {describe_value(values)}, expected text [n]")
    try:
        return tuple((np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values).astype(str).tolist())
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: `ids` are no UTF-8 text ({error})") from error


def _evaluation_facts(
    path: epath.Path,
) -> tuple[str | None, dict[tuple[str, str], tuple[str, ...]], dict[str, dict[str, Any]]]:
    """Reads the view average, class names by run and head, and costs by run, from `results.json`."""
    if not path.exists():
        return None, {}, {}
    try:
        results = json.loads(read_text(path))
        if results.get("command") == "sweep":
            (results,) = results["experiments"]
        names = {
            (run["name"], head): tuple(row["name"] for row in rows if row.get("name") is not None)
            for run in results.get("runs", [])
            for head, rows in run.get("classes", {}).items()
        }
        view_average = results.get("protocol", {}).get("view_average")
        if not all(isinstance(name, str) for of_head in names.values() for name in of_head):
            raise TypeError("class names that are no text")
        if view_average not in (None, *VIEW_AVERAGES):
            raise TypeError(f"the view average {view_average!r}")
        costs = {run["name"]: _cost(run, results) for run in results.get("runs", []) if "macs_per_clip" in run}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: is not a results.json of evaluate ({type(error).__name__}: {error}), whose view average "
            "predictions.npz needs. Restore it, or move predictions.npz to another folder"
        ) from error
    return view_average, names, costs


def _cost(run: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    reduction, macs = run["reduction"], run["macs_per_clip"]
    speed = results.get("measured", {}).get("runs", {}).get(run["name"], {}).get("speedup")
    series = run.get("series", "")
    # Fails where they are of another structure than names of runs, modes and series are made of.
    named = mode_name(reduction["mode"]), series_name({"name": run["name"], "reduction": reduction, "series": series})
    known = isinstance(macs, int) and macs > 0 and (speed is None or (is_known(speed) and speed > 0))
    if not all(named) or not known or not isinstance(series, str):
        raise TypeError(f"the costs {macs!r} and {speed!r}, or the series {series!r}")
    return {"reduction": reduction, "series": series, "macs_per_clip": macs, "speedup": speed}


def _average_views(values: np.ndarray, view_average: str) -> np.ndarray:
    """Averages scores [n, V, K] over views; returns other arrays unchanged."""
    if values.ndim == 3 and values.dtype.kind in "fiu" and values.size:
        return combine_views(as_float(values), view_average)
    return values


def _by_head(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Returns the arrays called `name` or `name/HEAD` by head."""
    return {
        key.partition("/")[2] or SINGLE_HEAD: arrays[key] for key in sorted(arrays) if key.partition("/")[0] == name
    }


def _read_csv(path: epath.Path) -> Predictions:
    """Reads a table with a header.

    Its columns are `id`, optionally `label`, and either `prediction` with class indices or names, or one column of
    scores per class, named by the class's index (from 0) or name.
    """
    table = read_table(path, [_ID], "id,prediction")
    classes = [column for column in table.header if column not in (_ID, _LABEL, _PREDICTION)]
    if bool(classes) == (_PREDICTION in table.header):
        raise UserError(
            f"{path}: found the columns {', '.join(table.header)}; expected id, optionally label, and either "
            "prediction or a column of scores for each class"
        )
    if not table.rows:
        raise UserError(f"{path}: has no rows")
    labelled = [_LABEL] if _LABEL in table.header else []
    if classes:
        ids, head, labels = _scores(path, table, classes, labelled)
    else:
        ids, head, labels = _classes(path, table, labelled)
    by_head = {SINGLE_HEAD: np.array(labels)} if labelled else {}
    return Predictions(str(path), ".csv file", tuple(ids), by_head, {path.name: {SINGLE_HEAD: head}})


def _classes(path: epath.Path, table: Table, labelled: Sequence[str]) -> tuple[Sequence[str], Head, Sequence[int]]:
    """Reads ids, predictions and labels of a table with a column `prediction`."""
    columns = [_PREDICTION, *labelled]
    words = table.by_id(lambda fields: (fields[_ID], [fields[column] for column in columns]))
    kinds = [all(word.isdecimal() for word in column if word) for column in zip(*words.values(), strict=True)]
    if len(set(kinds)) > 1:
        raise UserError(f"{path}: one of {' and '.join(columns)} has class names, the other indices")
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
    """Reads ids, scores and labels of a table with a column for each class."""
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
    head = head_from_scores(f"{path}: the columns of classes", scores, class_names=names)
    return list(rows), head, [label for _, label in rows.values()]


def _number(text: str, column: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadRow(f"{text!r} is not a number", column) from None
