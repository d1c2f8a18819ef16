"""Matches the videos, heads and classes of two files of predictions."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import Int

from jax_vtm.comparison.lists import ListedLabels
from jax_vtm.comparison.predictions import Head, Predictions
from jax_vtm.data.source import SINGLE_HEAD
from jax_vtm.errors import UserError, listed

_SHOWN = 5

Labels = Mapping[str, Int[np.ndarray, " n"]]


@dataclasses.dataclass(frozen=True)
class Match:
    """The videos of both files, in the order of the first.

    Attributes:
        ids: In the first file.
        ours: Rows in the first file.
        theirs: Rows in the second file.
        only_ours: Ids that only the first file has.
        only_theirs: Ids that only the second file has.
        note: Says how videos were matched, unless by equal ids.
    """

    ids: tuple[str, ...]
    ours: Int[np.ndarray, " n"]
    theirs: Int[np.ndarray, " n"]
    only_ours: tuple[str, ...] = ()
    only_theirs: tuple[str, ...] = ()
    note: str = ""


def complete(predictions: Predictions, video_list: ListedLabels | None) -> Predictions:
    """Adds ids or labels that predictions lack from a list; without ids, rows are in the list's order.

    Raises:
        UserError: The list has another number of videos, lacks one, or has other labels than the predictions.
    """
    if video_list is None or (predictions.ids is not None and predictions.labels):
        return predictions
    path, ids = video_list.path, video_list.ids
    rows = np.arange(len(ids))
    if predictions.ids is not None:
        places = {video: place for place, video in enumerate(ids)}
        if absent := [video for video in predictions.ids if video not in places]:
            raise UserError(
                f"{path}: lacks {listed(map(repr, absent), _SHOWN)}, of which {predictions.path} has predictions"
            )
        rows = np.array([places[video] for video in predictions.ids])
    elif len(ids) != predictions.num_videos:
        raise UserError(
            f"{predictions.path} has {predictions.num_videos} rows and {path} {len(ids)} videos; "
            "expected a row for each video. Is it the list that the predictions were made with?"
        )
    heads = next(iter(predictions.runs.values()))
    names = {head: head for head in heads if head in video_list.labels}
    if len(heads) == 1 and SINGLE_HEAD in video_list.labels:
        names = dict.fromkeys(heads, SINGLE_HEAD)
    labels = {head: video_list.labels[name][rows] for head, name in names.items()}
    _check_labels(f"{predictions.path} and {path}", ids, predictions.labels, labels)
    return dataclasses.replace(predictions, ids=predictions.ids or ids, labels=predictions.labels or labels)


def match_videos(ours: Predictions, theirs: Predictions) -> Match:
    """Matches videos by equal ids, else by unique file names without folder and suffix, else (without ids) by order.

    Matching by order needs as many videos in both and, if one file has ids, the same labels.

    Raises:
        UserError: No video is in both.
    """
    if ours.ids is None or theirs.ids is None:
        return _by_order(ours, theirs)
    keys, note = (ours.ids, theirs.ids), ""
    if set(ours.ids).isdisjoint(theirs.ids):
        stems = tuple(tuple(PurePosixPath(video).stem for video in ids) for ids in keys)
        if all(len(set(names)) == len(names) for names in stems):
            keys, note = stems, "Videos are matched by the names of their files, without folders and suffixes."
    mine, others = ({key: place for place, key in enumerate(names)} for names in keys)
    common = [key for key in mine if key in others]
    if not common:
        raise UserError(
            f"{ours.path} and {theirs.path} have no video in common: the first are "
            f"{', '.join(map(repr, ours.ids[:_SHOWN]))} and {', '.join(map(repr, theirs.ids[:_SHOWN]))}; expected "
            "the same ids, or at least the same file names"
        )
    return Match(
        tuple(ours.ids[mine[key]] for key in common),
        np.array([mine[key] for key in common]),
        np.array([others[key] for key in common]),
        tuple(ours.ids[place] for key, place in mine.items() if key not in others),
        tuple(theirs.ids[place] for key, place in others.items() if key not in mine),
        note,
    )


def _by_order(ours: Predictions, theirs: Predictions) -> Match:
    bare = ours if ours.ids is None else theirs
    advice = (
        f"{bare.path} does not say which videos it has; give the list it was made with, --config.compare.labels=FILE"
    )
    if ours.num_videos != theirs.num_videos:
        raise UserError(f"{advice}. By order {ours.num_videos} and {theirs.num_videos} videos cannot be matched.")
    note = "Videos are matched by their order, and numbered: neither file says which they are."
    if ours.ids is not None or theirs.ids is not None:
        pairs = [(ours.labels[head], theirs.labels[head]) for head in ours.labels if head in theirs.labels]
        if not pairs or not all(np.array_equal(one, other) for one, other in pairs):
            raise UserError(f"{advice}. Its labels do not show that its order is that of the other file.")
        note = "Videos are matched by their order, in which all their labels are the same."
    ids = ours.ids or theirs.ids or tuple(f"row {number}" for number in range(ours.num_videos))
    rows = np.arange(ours.num_videos)
    return Match(ids, rows, rows, note=note)


def match_heads(
    ours: Predictions, our_run: str, theirs: Predictions, their_run: str, match: Match
) -> tuple[dict[str, Head], dict[str, Head], dict[str, np.ndarray]]:
    """Selects the matched videos of two runs, and brings their heads and classes to the same order.

    Heads are matched by name, single heads whatever their names; classes by name if both files have names, else by
    index.

    Returns:
        Our heads, theirs under our names, and the labels of either file.

    Raises:
        UserError: The heads, classes or labels differ.
    """
    one, other = ours.runs[our_run], theirs.runs[their_run]
    if one.keys() != other.keys() and not len(one) == len(other) == 1:
        raise UserError(
            f"{ours.path} has the heads {', '.join(one)}, {theirs.path} {', '.join(other)}; expected the same"
        )
    where = f"{ours.path} and {theirs.path}"
    our_heads, their_heads, our_labels, their_labels = {}, {}, {}, {}
    for head, their_name in zip(one, other if len(one) == 1 else one, strict=True):
        ours_here, theirs_here = one[head].rows(match.ours), other[their_name].rows(match.theirs)
        places, names = _our_classes(f"{where}, {head}", one[head], theirs_here), one[head].class_names
        their_heads[head] = _reordered(theirs_here, places, names or theirs_here.class_names)
        our_heads[head] = dataclasses.replace(ours_here, class_names=names or theirs_here.class_names)
        if head in ours.labels:
            our_labels[head] = ours.labels[head][match.ours]
        if their_name in theirs.labels:
            labels = theirs.labels[their_name][match.theirs]
            their_labels[head] = labels if places is None else places[labels]
    _check_labels(where, match.ids, our_labels, their_labels)
    labels = {**their_labels, **our_labels}
    for head, values in labels.items():
        for scores in (our_heads[head].scores, their_heads[head].scores):
            if scores is not None and values.max() >= scores.shape[1]:
                raise UserError(f"{where}: {head!r} has labels up to {values.max()}, but {scores.shape[1]} classes")
    return our_heads, their_heads, labels


def _our_classes(where: str, ours: Head, theirs: Head) -> Int[np.ndarray, " K"] | None:
    """Returns our index of each of their classes, or None if they are the same."""
    if ours.class_names and theirs.class_names:
        if ours.class_names == theirs.class_names:
            return None
        whole = theirs.scores is not None
        for names, others, file in (
            (theirs.class_names, ours.class_names, "first"),
            (ours.class_names if whole else (), theirs.class_names, "second"),
        ):
            if unknown := sorted(set(names) - set(others)):
                raise UserError(
                    f"{where}: the classes have other names: the {file} file lacks {listed(map(repr, unknown), _SHOWN)}"
                )
        lengths = {len(ours.class_names), len(set(ours.class_names)), len(theirs.class_names) if whole else 0}
        if len(lengths - {0}) > 1:
            raise UserError(f"{where}: several classes have one name, in another order; give indices")
        index = {name: place for place, name in enumerate(ours.class_names)}
        return np.array([index[name] for name in theirs.class_names])
    for named, indexed in ((ours, theirs), (theirs, ours)):
        if named.class_names and named.scores is None and not indexed.class_names:
            raise UserError(f"{where}: one has class names, the other indices; give indices, or scores of every class")
    if ours.scores is not None and theirs.scores is not None and ours.scores.shape[1] != theirs.scores.shape[1]:
        raise UserError(f"{where}: {ours.scores.shape[1]} and {theirs.scores.shape[1]} classes; expected as many")
    return None


def _reordered(head: Head, places: Int[np.ndarray, " K"] | None, class_names: tuple[str, ...]) -> Head:
    if places is None:
        return dataclasses.replace(head, class_names=class_names)
    predicted = np.where(head.predicted < 0, -1, places[head.predicted])
    scores = None if head.scores is None else np.empty_like(head.scores)
    if scores is not None:
        scores[:, places] = head.scores
    return dataclasses.replace(head, predicted=predicted, scores=scores, class_names=class_names)


def _check_labels(where: str, ids: Sequence[str], ours: Labels, theirs: Labels) -> None:
    for head in ours.keys() & theirs.keys():
        wrong = np.flatnonzero(ours[head] != theirs[head])
        if len(wrong):
            shown = ", ".join(f"{ids[i]} is {ours[head][i]} and {theirs[head][i]}" for i in wrong[:_SHOWN])
            raise UserError(
                f"{where}: the labels of {head!r} differ for {len(wrong)} of {len(ids)} videos ({shown}). Either the "
                "videos are matched wrongly, or the classes are in another order."
            )
