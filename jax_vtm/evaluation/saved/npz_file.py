"""Predictions in a `.npz` file: ours, of one or several runs, and anybody's."""

import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from jax_vtm.errors import UserError
from jax_vtm.evaluation.saved.predictions import Head, SavedPredictions, scored
from jax_vtm.evaluation.step import SINGLE_HEAD
from jax_vtm.evaluation.views import combine_views

_LOGITS = "/logits/"
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
    ids = tuple(map(str, arrays["ids"].tolist())) if "ids" in arrays else None
    labels = _by_head(arrays, "labels")
    for head, values in labels.items():
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise UserError(f"{path}: `labels` of {head!r} are {_described(values)}, expected whole numbers [n]")
    if any(_LOGITS in name for name in arrays):
        return _ours(path, arrays, ids, labels)
    heads = {}
    for name in ("logits", "scores"):
        for head, values in _by_head(arrays, name).items():
            heads[head] = scored(_one_per_video(path, name, values, "logits"), "logits" if name == "logits" else None)
    if not heads:
        raise UserError(f"{path}: has the arrays {', '.join(arrays) or '(none)'}; {_EXPECTED}")
    return SavedPredictions(str(path), ".npz file", ids, labels, {path.name: heads})


def _arrays(path: epath.Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: is damaged, or no .npz file of plain arrays ({error})") from error


def _ours(
    path: epath.Path, arrays: Mapping[str, np.ndarray], ids: tuple[str, ...] | None, labels: Mapping[str, np.ndarray]
) -> SavedPredictions:
    results = _results(path.parent / "results.json")
    notes = []
    how = (results.get("protocol") or {}).get("view_average")
    names = {
        run["name"]: {
            head: tuple(row["name"] for row in rows if "name" in row)
            for head, rows in (run.get("classes") or {}).items()
        }
        for run in results.get("runs") or []
    }
    runs: dict[str, dict[str, Head]] = {}
    for name, values in arrays.items():
        run, found, head = name.rpartition(_LOGITS)
        if not found:
            continue
        if how is None and values.ndim == 3 and values.shape[1] > 1 and not notes:
            notes.append(f"{path}: there is no results.json beside it, so the logits of a video's views are averaged.")
        scores = _one_per_video(path, name, values, how or "logits")
        kind = "probabilities" if how == "softmax" else "logits"
        runs.setdefault(run, {})[head] = scored(scores, kind, names.get(run, {}).get(head, ()))
    return SavedPredictions(str(path), "predictions of jax_vtm", ids, labels, runs, tuple(notes))


def _results(path: epath.Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def _one_per_video(path: epath.Path, name: str, values: np.ndarray, how: str) -> np.ndarray:
    if values.ndim not in (2, 3) or values.dtype.kind not in "fiu":
        raise UserError(
            f"{path}: `{name}` is {_described(values)}, expected numbers [n, classes] or [n, views, classes]"
        )
    values = values.astype(np.float64 if values.dtype == np.float64 else np.float32)
    return combine_views(values, how) if values.ndim == 3 else values


def _by_head(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The arrays called `name` or `name/HEAD`."""
    found = {
        key.partition("/")[2] or SINGLE_HEAD: values for key, values in arrays.items() if key.split("/")[0] == name
    }
    return dict(sorted(found.items()))


def _described(values: np.ndarray) -> str:
    return f"{values.dtype} {list(values.shape)}"
