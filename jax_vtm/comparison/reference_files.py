"""Reads predictions of the PyTorch reference and of EPIC-KITCHENS' tools."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from jax_vtm.comparison.pickles import LARGEST_FILE, read_pickled_arrays
from jax_vtm.comparison.predictions import Predictions, describe_value, head_from_scores
from jax_vtm.data.source import SINGLE_HEAD
from jax_vtm.data.tables import read_text
from jax_vtm.errors import UserError

# In the order of the reference's tuples.
_TWO_HEADS = ("verb", "noun")

_ID = "narration_id"
_OUTPUTS = {head: f"{head}_output" for head in _TWO_HEADS}


def read_pickle(path: epath.Path) -> Predictions:
    """Reads a pickle of the reference (`TEST.SAVE_RESULTS_PATH`) or of EPIC-KITCHENS' tools.

    The reference's is `[predictions, labels]`: [n, K] and [n], or tuples of both for verb and noun, in the order of its
    video list and without ids. Outputs are summed over a video's views. EPIC-KITCHENS' is a dict of `verb_output`
    [n, K], `noun_output` [n, K] and `narration_id` [n], or a list of such dicts, one per video.

    Raises:
        UserError: The file is damaged, has another form, or holds more than arrays and tensors.
    """
    content = read_pickled_arrays(path)
    first = content[0] if isinstance(content, list) and content else content
    if isinstance(first, Mapping) and _ID in first:
        return _epic_results(path, content)
    parts = [_by_head(part) for part in content] if isinstance(content, list | tuple) and len(content) == 2 else []
    predictions, labels = parts or ({}, {})
    fits = bool(predictions) and predictions.keys() == labels.keys()
    for head, values in predictions.items() if fits else ():
        fits &= values.ndim == 2 and values.dtype.kind == "f" and labels[head].shape == values.shape[:1]
        fits &= labels[head].dtype.kind in "iu"
    if not fits:
        raise UserError(
            f"{path}: holds {describe_value(content)}; expected [predictions, labels], floating point [n, classes] and "
            "whole numbers [n], or for verbs and nouns two of each; or a dict of verb_output, noun_output and "
            "narration_id"
        )
    heads = {head: head_from_scores(f"{path}: {head}", values) for head, values in predictions.items()}
    note = (
        f"{path}: the reference adds up the logits of a video's views; they are used as they are, right for one view."
    )
    notes = (note,) if any(head.kind == "logits" for head in heads.values()) else ()
    return Predictions(str(path), "pickle of the PyTorch reference", None, labels, {path.name: heads}, notes)


def _by_head(part: Any) -> dict[str, np.ndarray]:
    """Returns an array, or a pair for verbs and nouns, by head; empty for anything else."""
    if isinstance(part, np.ndarray):
        return {SINGLE_HEAD: part}
    if isinstance(part, list | tuple) and len(part) == 2 and all(isinstance(one, np.ndarray) for one in part):
        return dict(zip(_TWO_HEADS, part, strict=True))
    return {}


def _epic_results(path: epath.Path, content: Any) -> Predictions:
    def refused(found: str) -> UserError:
        return UserError(
            f"{path}: has {found}; expected EPIC-KITCHENS' results: verb_output [n, 97], noun_output [n, 300] and "
            "narration_id [n], or a list of one dict of these for each video"
        )

    columns: Any = content
    if isinstance(content, list):
        if not all(isinstance(row, Mapping) and {_ID, *_OUTPUTS.values()} <= row.keys() for row in content):
            raise refused("a list in which not every video is a dict of these")
        columns = {name: [row[name] for row in content] for name in (_ID, *_OUTPUTS.values())}
        for name in _OUTPUTS.values():
            rows = columns[name]
            if not all(isinstance(row, np.ndarray) and row.shape == rows[0].shape for row in rows):
                raise refused(f"`{name}` that is not of one shape in every video")
            # A small file may refer to one array many times.
            if sum(row.nbytes for row in rows) > LARGEST_FILE:
                raise refused(f"`{name}` of more than {LARGEST_FILE >> 30} GiB")
            columns[name] = np.stack(rows)
    if absent := [name for name in _OUTPUTS.values() if name not in columns]:
        raise refused(f"no {' and no '.join(absent)}")
    ids = tuple(map(str, columns[_ID])) if isinstance(columns[_ID], list | tuple | np.ndarray) else ()
    heads = {head: head_from_scores(f"{path}: `{name}`", columns[name]) for head, name in _OUTPUTS.items()}
    return Predictions(str(path), "results of EPIC-KITCHENS", ids, {}, {path.name: heads})


def read_epic_submission(path: epath.Path) -> Predictions:
    """Reads a submission to EPIC-KITCHENS' challenge, `{"results": {narration id: {"verb": {class: score}, ...}}}`.

    Its scores of actions are ignored: actions are ranked by the scores of verbs and nouns.

    Raises:
        UserError: The file has another form, or a video lacks a class.
    """
    try:
        # As floats, since Python refuses an int of thousands of digits.
        content = json.loads(read_text(path), parse_int=float)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no JSON ({error})") from error
    results = content.get("results") if isinstance(content, Mapping) else None
    if not isinstance(results, Mapping) or not results:
        raise UserError(
            f"{path}: has no `results`; expected a submission to EPIC-KITCHENS' challenge, "
            '{"results": {narration id: {"verb": {class: score}, "noun": {class: score}}}}'
        )
    heads = {head: head_from_scores(f"{path}: {head}", _submitted(path, results, head)) for head in _TWO_HEADS}
    return Predictions(str(path), "submission to EPIC-KITCHENS", tuple(results), {}, {path.name: heads})


def _submitted(path: epath.Path, results: Mapping[str, Any], head: str) -> np.ndarray:
    rows: dict[str, Any] = {k: entry.get(head) if isinstance(entry, Mapping) else 0 for k, entry in results.items()}
    first = next(iter(rows.values()))
    classes = [str(index) for index in range(len(first) if isinstance(first, Mapping) else 0)]
    for video, row in rows.items():
        if not isinstance(row, Mapping) or row.keys() != set(classes):
            raise UserError(
                f"{path}: {video!r} lacks {head} scores, or has them of other classes than 0, 1, 2 ... and than the "
                "other videos"
            )
        if wrong := [index for index in classes if type(row[index]) is not float]:
            raise UserError(f"{path}: {video!r}, {head} {wrong[0]}: {row[wrong[0]]!r} is no number")
    return np.array([[row[index] for index in classes] for row in rows.values()])
