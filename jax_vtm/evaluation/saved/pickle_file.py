"""Predictions as the PyTorch reference pickles them (`TEST.SAVE_RESULTS_PATH`), and EPIC-KITCHENS' tools."""

from typing import Any

import numpy as np
from etils import epath

from jax_vtm.errors import UserError
from jax_vtm.evaluation.saved.epic_file import epic_results, is_epic
from jax_vtm.evaluation.saved.pickled_arrays import plain, read_pickled_arrays
from jax_vtm.evaluation.saved.predictions import SavedPredictions, described, scored
from jax_vtm.evaluation.step import SINGLE_HEAD

# In the order of the reference's tuples, for EPIC-KITCHENS.
_TWO_HEADS = ("verb", "noun")


def read_pickle(path: epath.Path) -> SavedPredictions:
    """Reads `[predictions, labels]`: [n, K] and [n], or tuples of both for verb and noun; or `epic_results`.

    A row of the reference is a video, in the order of its list; the file has no ids. What the model puts out is added
    up over a video's views.

    Raises:
        UserError: The file is damaged, asks for more than arrays and tensors, or has another shape.
    """
    content = read_pickled_arrays(path)
    if is_epic(content):
        return epic_results(path, content)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise _other(path, content)
    predictions, labels = (_heads(path, part, content) for part in content)
    if predictions.keys() != labels.keys():
        raise _other(path, content)
    for head, values in predictions.items():
        fits = values.ndim == 2 and values.dtype.kind == "f" and labels[head].shape == values.shape[:1]
        if not fits or labels[head].dtype.kind not in "iu":
            raise _other(path, content)
    heads = {head: scored(f"{path}: {head}", values) for head, values in predictions.items()}
    notes = ()
    if any(head.kind == "logits" for head in heads.values()):
        notes = (
            f"{path}: the reference adds up the logits of a video's views; they are taken as they are, which is right "
            "for one view.",
        )
    return SavedPredictions(str(path), "pickle of the PyTorch reference", None, labels, {path.name: heads}, notes)


def _heads(path: epath.Path, part: Any, content: Any) -> dict[str, np.ndarray]:
    if isinstance(part, np.ndarray):
        return {SINGLE_HEAD: plain(part)}
    two = isinstance(part, list | tuple) and len(part) == 2 and all(isinstance(one, np.ndarray) for one in part)
    if not two:
        raise _other(path, content)
    return dict(zip(_TWO_HEADS, map(plain, part), strict=True))


def _other(path: epath.Path, content: Any) -> UserError:
    return UserError(
        f"{path}: holds {described(content)}; expected [predictions, labels], floating point [n, classes] and whole "
        "numbers [n], or for verbs and nouns two of each; or a dict of verb_output, noun_output and narration_id"
    )
