"""Predictions in a `.npz` file: ours, of one or several runs, and anybody's."""

import json
import os
import zipfile
from collections.abc import Mapping

import numpy as np
from etils import epath

from jax_vtm.data.tables import read_text
from jax_vtm.errors import UserError
from jax_vtm.evaluation.saved.predictions import Head, SavedPredictions, ScoreKind, described, scored
from jax_vtm.evaluation.step import SINGLE_HEAD
from jax_vtm.evaluation.views import VIEW_AVERAGES, combine_views
from jax_vtm.regular_file import check_regular_file

_LOGITS = "/logits/"
# A small archive may unpack to more than there is memory; numbers that differ do not shrink to a hundredth.
_SURELY_FITS, _MOST_UNPACKED = 2**30, 100
_EXPECTED = "expected `ids`, `labels` and `logits` or `scores`, each followed by /HEAD where there are several heads"


def read_npz(path: epath.Path) -> SavedPredictions:
    """Reads `predictions.npz` of an evaluation, or a file of arrays.

    Ours has the logits of every view. How they become one prediction, and what classes are called, is in the
    `results.json` beside it; without that file, logits are averaged. Anybody's file has `ids` [n], `labels` [n] and
    `logits` or `scores` [n, K] or, per view, [n, V, K]; ids and labels may be missing. With several heads the names are
    `logits/HEAD` and `labels/HEAD`.

    Raises:
        UserError: The file is damaged, holds Python objects, or does not have these arrays.
    """
    arrays = _arrays(path)
    ids = _ids(path, arrays["ids"]) if "ids" in arrays else None
    labels = _by_head(arrays, "labels")
    for head, values in labels.items():
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise UserError(f"{path}: `labels` of {head!r} are {described(values)}, expected whole numbers [n]")
    if any(_LOGITS in name for name in arrays):
        return _ours(path, arrays, ids, labels)
    heads = {}
    for name in ("logits", "scores"):
        for head, values in _by_head(arrays, name).items():
            heads[head] = _head(path, name, values, "logits", "logits" if name == "logits" else None)
    if not heads:
        raise UserError(f"{path}: has the arrays {', '.join(arrays) or '(none)'}; {_EXPECTED}")
    return SavedPredictions(str(path), ".npz file", ids, labels, {path.name: heads})


def _arrays(path: epath.Path) -> dict[str, np.ndarray]:
    check_regular_file(path)
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
        raise UserError(
            f"{path}: is damaged, or no .npz file of plain arrays ({type(error).__name__}: {error})"
        ) from error


def _ids(path: epath.Path, values: np.ndarray) -> tuple[str, ...]:
    if values.ndim != 1 or values.dtype.kind not in "USiu":
        raise UserError(f"{path}: `ids` are {described(values)}, expected text [n]")
    try:
        return tuple((np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values).astype(str).tolist())
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: `ids` are no UTF-8 text ({error})") from error


def _ours(
    path: epath.Path, arrays: Mapping[str, np.ndarray], ids: tuple[str, ...] | None, labels: Mapping[str, np.ndarray]
) -> SavedPredictions:
    how, names = _how_evaluated(path.parent / "results.json")
    notes = []
    runs: dict[str, dict[str, Head]] = {}
    for name, values in arrays.items():
        run, found, head = name.rpartition(_LOGITS)
        if not found:
            continue
        if how is None and values.ndim == 3 and values.shape[1] > 1 and not notes:
            notes.append(f"{path}: no results.json beside it says how, so the logits of a video's views are averaged.")
        kind = "probabilities" if how == "softmax" else "logits"
        class_names = names.get(run, {}).get(head, ())
        runs.setdefault(run, {})[head] = _head(path, name, values, how or "logits", kind, class_names)
    return SavedPredictions(str(path), "predictions of jax_vtm", ids, labels, runs, tuple(notes))


def _how_evaluated(path: epath.Path) -> tuple[str | None, dict[str, dict[str, tuple[str, ...]]]]:
    """Reads from `results.json` how views become one prediction, and each run's names of classes by head.

    Raises:
        UserError: It is there and is not what `evaluate` writes.
    """
    if not path.exists():
        return None, {}
    try:
        results = json.loads(read_text(path))
        names = {
            run["name"]: {
                head: tuple(row["name"] for row in rows if row.get("name") is not None)
                for head, rows in run.get("classes", {}).items()
            }
            for run in results.get("runs", [])
        }
        how = results.get("protocol", {}).get("view_average")
        texts = [*names, *(name for heads in names.values() for known in heads.values() for name in known)]
        if not all(isinstance(text, str) for text in texts) or how not in (None, *VIEW_AVERAGES):
            raise TypeError(f"the view average {how!r}, or names that are no text")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: is not what evaluate writes ({type(error).__name__}: {error}); it says how the views of "
            "predictions.npz are averaged. Restore it, or move predictions.npz to another folder"
        ) from error
    return how, names


def _head(
    path: epath.Path,
    name: str,
    values: np.ndarray,
    how: str,
    kind: ScoreKind | None,
    class_names: tuple[str, ...] = (),
) -> Head:
    """Makes one prediction per video of scores [n, K] or [n, V, K]."""
    where = f"{path}: `{name}`"
    if values.ndim == 3 and values.dtype.kind in "fiu" and values.size:
        values = combine_views(values.astype(np.float64 if values.dtype == np.float64 else np.float32), how)
    return scored(where, values, kind, class_names)


def _by_head(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The arrays called `name` or `name/HEAD`."""
    found = {
        key.partition("/")[2] or SINGLE_HEAD: values for key, values in arrays.items() if key.split("/")[0] == name
    }
    return dict(sorted(found.items()))
