"""Predictions as EPIC-KITCHENS' own tools keep them: results with narration ids, and the challenge's submissions."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from jax_vtm.data.tables import read_text
from jax_vtm.errors import UserError
from jax_vtm.evaluation.saved.pickled_arrays import LARGEST_FILE, plain
from jax_vtm.evaluation.saved.predictions import SavedPredictions, scored

_ID = "narration_id"
_OUTPUTS = {"verb": "verb_output", "noun": "noun_output"}


def is_epic(content: Any) -> bool:
    """Whether a pickle holds EPIC-KITCHENS' results: a dict of arrays, or a list of one dict per video."""
    first = content[0] if isinstance(content, list) and content else content
    return isinstance(first, Mapping) and _ID in first


def epic_results(path: epath.Path, content: Any) -> SavedPredictions:
    """Takes narration ids and the scores of verbs and nouns from `verb_output`, `noun_output` and `narration_id`.

    Args:
        path: Where the content is from.
        content: A dict of [n, K], [n, K] and [n]; or a list of n dicts of [K], [K] and an id.

    Raises:
        UserError: It is anything else.
    """
    columns: Any = content
    if isinstance(content, list):
        if not all(isinstance(row, Mapping) and {_ID, *_OUTPUTS.values()} <= row.keys() for row in content):
            raise _other(path, "a list in which not every video is a dict of these")
        columns = {_ID: [row[_ID] for row in content]}
        columns |= {name: _stacked(path, name, [row[name] for row in content]) for name in _OUTPUTS.values()}
    if absent := [key for key in _OUTPUTS.values() if key not in columns]:
        raise _other(path, f"no {' and no '.join(absent)}")
    ids = [str(one) for one in columns[_ID]] if isinstance(columns[_ID], list | tuple | np.ndarray) else []
    heads = {head: scored(f"{path}: `{name}`", plain(columns[name])) for head, name in _OUTPUTS.items()}
    return SavedPredictions(str(path), "results of EPIC-KITCHENS", tuple(ids), {}, {path.name: heads})


def read_epic_submission(path: epath.Path) -> SavedPredictions:
    """Reads a submission to EPIC-KITCHENS' challenge, `{"results": {narration id: {"verb": {class: score}, ...}}}`.

    What it says about actions is left out: their order follows from verbs and nouns here.

    Raises:
        UserError: It is anything else, or a video lacks a class that another has.
    """
    try:
        content = json.loads(read_text(path), parse_int=float)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no JSON ({error})") from error
    results = content.get("results") if isinstance(content, Mapping) else None
    if not isinstance(results, Mapping) or not results:
        raise UserError(
            f"{path}: has no `results`; expected a submission to EPIC-KITCHENS' challenge, "
            '{"results": {narration id: {"verb": {class: score}, "noun": {class: score}}}}'
        )
    heads = {head: scored(f"{path}: {head}", _submitted(path, results, head)) for head in _OUTPUTS}
    return SavedPredictions(str(path), "submission to EPIC-KITCHENS", tuple(results), {}, {path.name: heads})


def _submitted(path: epath.Path, results: Mapping[str, Any], head: str) -> np.ndarray:
    rows: dict[str, Any] = {
        video: said.get(head) if isinstance(said, Mapping) else 0 for video, said in results.items()
    }
    num_classes = next((len(row) for row in rows.values() if isinstance(row, Mapping)), 0)
    classes = [str(index) for index in range(num_classes)]
    for video, row in rows.items():
        if not isinstance(row, Mapping) or row.keys() != set(classes):
            raise UserError(
                f"{path}: {video!r} lacks {head} scores, or has them of other classes than 0, 1, 2 ... and than the "
                "other videos"
            )
        if wrong := [index for index in classes if type(row[index]) is not float]:
            raise UserError(f"{path}: {video!r}, {head} {wrong[0]}: {row[wrong[0]]!r} is no number")
    return np.array([[row[index] for index in classes] for row in rows.values()])


def _stacked(path: epath.Path, name: str, rows: Sequence[Any]) -> np.ndarray:
    if not all(isinstance(row, np.ndarray) and row.shape == rows[0].shape for row in rows):
        raise _other(path, f"`{name}` that is not of one shape in every video")
    if sum(row.nbytes for row in rows) > LARGEST_FILE:
        raise _other(path, f"`{name}` of more than {LARGEST_FILE >> 30} GiB")
    return np.stack([plain(row) for row in rows])


def _other(path: epath.Path, found: str) -> UserError:
    return UserError(
        f"{path}: has {found}; expected EPIC-KITCHENS' results: verb_output [n, 97], noun_output [n, 300] and "
        "narration_id [n], or a list of one dict of these for each video"
    )
