"""Comparisons of predictions as the command makes them."""

from collections.abc import Sequence

import numpy as np

from jax_vtm.comparison.comparison import compare
from jax_vtm.comparison.predictions import Predictions, head_from_scores

CLASSES = {"noun": 4, "verb": 3}
VIDEOS = 120


def predictions(
    path: str,
    runs: Sequence[str],
    *,
    heads: Sequence[str] = ("noun", "verb"),
    labelled: bool = True,
    ids: Sequence[str] = tuple(f"{number}.mp4" for number in range(VIDEOS)),
    names: str = "class",
) -> Predictions:
    """Made-up logits, each run 1.5 standard deviations further off; a head "label" is like the nouns."""
    labels, found = {}, {run: {} for run in runs}
    for head in heads:
        count = CLASSES.get(head, 4)
        rng = np.random.default_rng(count)
        labels[head] = rng.integers(count, size=len(ids))
        first = rng.normal(size=(len(ids), count)) + 3 * np.eye(count)[labels[head]]
        class_names = tuple(f"{names} {head} {index}" for index in range(count))
        for place, run in enumerate(runs):
            scores = first + 1.5 * place * rng.normal(size=first.shape)
            found[run][head] = head_from_scores(path, scores, "logits", class_names)
    return Predictions(path, "predictions of jax_vtm", tuple(ids), labels if labelled else {}, found)


def two_runs(**options):
    return compare(predictions("runs/x/predictions.npz", ["unmerged", "merge r=9"], **options), None, name="x")


def three_runs(**options):
    return compare(
        predictions("runs/x/predictions.npz", ["unmerged", "merge r=9", "drop r=9"], **options), None, name="x"
    )


def two_files(**options):
    """Each has two videos that the other does not."""
    ids = [f"{number}.mp4" for number in range(VIDEOS)]
    ours = predictions("ours.npz", ["merge r=9"], ids=ids[:-2], labelled=False, **options)
    theirs = predictions("theirs.pkl", ["theirs.pkl"], ids=[*ids[2:-2], "y", "z"], labelled=False, **options)
    return compare(ours, theirs, name="x")
