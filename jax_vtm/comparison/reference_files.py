"""Predictions as the PyTorch reference pickles them, and as EPIC-KITCHENS' own tools keep and submit them."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from jax_vtm.comparison.pickles import LARGEST_FILE, read_pickled_arrays
from jax_vtm.comparison.predictions import Predictions, described, scored
from jax_vtm.data.source import SINGLE_HEAD
from jax_vtm.data.tables import read_text
from jax_vtm.errors import UserError

# In the order of the reference's tuples.
_TWO_HEADS = ("verb", "noun")

_ID = "narration_id"
_OUTPUTS = {head: f"{head}_output" for head in _TWO_HEADS}


def read_pickle(path: epath.Path) -> Predictions:
    """Reads a pickle of the reference (`TEST.SAVE_RESULTS_PATH`) or of EPIC-KITCHENS' tools.

    The reference's is `[predictions, labels]`: [n, K] and [n], or tuples of both for verb and noun. A row is a video,
    in the order of its list; the file has no ids. What the model puts out is added up over a video's views.
    EPIC-KITCHENS' is a dict of `verb_output` [n, K], `noun_output` [n, K] and `narration_id` [n], or a list of such
    dicts, one a video.

    Raises:
        UserError: The file is damaged, asks for more than arrays and tensors, or has another shape.
    """
    content = read_pickled_arrays(path)
    first = content[0] if isinstance(content, list) and content else content
    if isinstance(first, Mapping) and _ID in first:
        return _epic_results(path, content)
    parts = [_by_head(part) for part in content] if isinstance(content, list | tuple) and len(content) == 2 else []
    if not parts or not parts[0] or parts[0].keys() != parts[1].keys():
        raise _other(path, content)
    predictions, labels = parts
    for head, values in predictions.items():
        fits = values.ndim == 2 and values.dtype.kind == "f" and labels[head].shape == values.shape[:1]
        if not fits or labels[head].dtype.kind not in "iu":
            raise _other(path, content)
    heads = {head: scored(f"{path}: {head}", values) for head, values in predictions.items()}
    note = (
        f"{path}: the reference adds up the logits of a video's views; they are taken as they are, right for one view."
    )
    notes = (note,) if any(head.kind == "logits" for head in heads.values()) else ()
    return Predictions(str(path), "pickle of the PyTorch reference", None, labels, {path.name: heads}, notes)


def _by_head(part: Any) -> dict[str, np.ndarray]:
    """An array, or one for verbs and one for nouns; empty where it is neither."""
    if isinstance(part, np.ndarray):
        return {SINGLE_HEAD: part}
    if isinstance(part, list | tuple) and len(part) == 2 and all(isinstance(one, np.ndarray) for one in part):
        return dict(zip(_TWO_HEADS, part, strict=True))
    return {}


def _other(path: epath.Path, content: Any) -> UserError:
    return UserError(
        f"{path}: holds {described(content)}; expected [predictions, labels], floating point [n, classes] and whole "
        "numbers [n], or for verbs and nouns two of each; or a dict of verb_output, noun_output and narration_id"
    )


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
            # A small file may name one array many times.
            if sum(row.nbytes for row in rows) > LARGEST_FILE:
                raise refused(f"`{name}` of more than {LARGEST_FILE >> 30} GiB")
            columns[name] = np.stack(rows)
    if absent := [name for name in _OUTPUTS.values() if name not in columns]:
        raise refused(f"no {' and no '.join(absent)}")
    ids = tuple(map(str, columns[_ID])) if isinstance(columns[_ID], list | tuple | np.ndarray) else ()
    heads = {head: scored(f"{path}: `{name}`", columns[name]) for head, name in _OUTPUTS.items()}
    return Predictions(str(path), "results of EPIC-KITCHENS", ids, {}, {path.name: heads})


def read_epic_submission(path: epath.Path) -> Predictions:
    """Reads a submission to EPIC-KITCHENS' challenge, `{"results": {narration id: {"verb": {class: score}, ...}}}`.

    What it says about actions is left out: their order follows from verbs and nouns here.

    Raises:
        UserError: It is anything else, or a video lacks a class that another has.
    """
    try:
        # A whole number of thousands of digits is refused as an int, and is infinity as a float.
        content = json.loads(read_text(path), parse_int=float)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no JSON ({error})") from error
    results = content.get("results") if isinstance(content, Mapping) else None
    if not isinstance(results, Mapping) or not results:
        raise UserError(
            f"{path}: has no `results`; expected a submission to EPIC-KITCHENS' challenge, "
            '{"results": {narration id: {"verb": {class: score}, "noun": {class: score}}}}'
        )
    heads = {head: scored(f"{path}: {head}", _submitted(path, results, head)) for head in _TWO_HEADS}
    return Predictions(str(path), "submission to EPIC-KITCHENS", tuple(results), {}, {path.name: heads})


def _submitted(path: epath.Path, results: Mapping[str, Any], head: str) -> np.ndarray:
    rows: dict[str, Any] = {k: said.get(head) if isinstance(said, Mapping) else 0 for k, said in results.items()}
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
