"""Compares two sets of predictions: the content of `compare.json`."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

import jax_vtm
from jax_vtm.comparison.equal_cost import equal_cost
from jax_vtm.comparison.matching import Match, match_heads, match_videos
from jax_vtm.comparison.predictions import Head, Predictions
from jax_vtm.comparison.statistics import RESAMPLES, bootstrap_difference, mcnemar_exact, score_difference
from jax_vtm.errors import UserError
from jax_vtm.evaluation import as_probabilities, class_counts, correct_predictions, main_metric, proportion
from jax_vtm.evaluation.results import SCHEMA_VERSION

LOST, GAINED, CHANGED = "lost", "gained", "changed"


def compare(
    ours: Predictions,
    theirs: Predictions | None,
    *,
    our_run: str = "",
    their_run: str = "",
    name: str = "",
    seed: int = 0,
) -> tuple[dict[str, Any], list[dict[str, Any]], Match]:
    """Compares runs of one file with each other, or with those of another.

    Args:
        ours: Our predictions.
        theirs: The baseline of all differences; None compares our first run with all the rest.
        our_run: A run's name; all if empty.
        their_run: Likewise.
        name: Of the results.
        seed: Of the bootstrap intervals.

    Returns:
        The content of `compare.json`; the videos whose predictions differ, for each pair of runs; the matched videos.

    Raises:
        UserError: There is no such run, or nothing to compare; or videos, heads, classes or labels do not match.
    """
    pairs = _pairs(ours, theirs, our_run, their_run)
    other = theirs or ours
    match = match_videos(ours, other)
    comparisons, flips = [], []
    for one, baseline in pairs:
        entry, changed = _compare_pair(ours, one, other, baseline, match, seed)
        names = {"run": one, "baseline": baseline}
        if one == baseline:
            names = {"run": f"{one} ({ours.path})", "baseline": f"{one} ({other.path})"}
        comparisons.append(names | entry)
        flips += [names | flip for flip in changed]
    notes = dict.fromkeys([*ours.notes, *other.notes, match.note])
    results = {
        "schema_version": SCHEMA_VERSION,
        "command": "compare",
        "name": name,
        "ours": _summary(ours),
        "theirs": _summary(theirs) if theirs else None,
        "videos": {
            "compared": len(match.ids),
            "only_ours": len(match.only_ours),
            "only_theirs": len(match.only_theirs),
        },
        "notes": [note for note in notes if note],
        "bootstrap": {"resamples": RESAMPLES, "seed": seed},
        "comparisons": comparisons,
        "equal_cost": equal_cost(comparisons[0]["metric"], _sides(ours, our_run, theirs, their_run, match)),
        "environment": {"jax": jax.__version__, "numpy": np.__version__, "jax_vtm": jax_vtm.__version__},
    }
    return results, flips, match


def _pairs(ours: Predictions, theirs: Predictions | None, our_run: str, their_run: str) -> list[tuple[str, str]]:
    if theirs is None:
        (baseline,) = _chosen(ours, their_run or next(iter(ours.runs)))
        pairs = [(run, baseline) for run in _chosen(ours, our_run) if run != baseline]
        if not pairs:
            raise UserError(
                f"{ours.path}: there is nothing to compare {baseline!r} with; give another run as "
                "--config.compare.ours_run, or another file as --config.compare.theirs"
            )
        return pairs
    mine, others = _chosen(ours, our_run), _chosen(theirs, their_run)
    if len(mine) == 1 or len(others) == 1:
        return [(one, other) for one in mine for other in others]
    common = [(run, run) for run in mine if run in others]
    if not common:
        raise UserError(
            f"{ours.path} ({', '.join(mine)}) and {theirs.path} ({', '.join(others)}) have no run of the same name; "
            "choose with --config.compare.ours_run and --config.compare.theirs_run"
        )
    return common


def _chosen(predictions: Predictions, run: str) -> list[str]:
    if run and run not in predictions.runs:
        names = ", ".join(map(repr, predictions.runs))
        raise UserError(f"{predictions.path}: has no run {run!r}; its runs are {names}")
    return [run] if run else list(predictions.runs)


def _sides(
    ours: Predictions, our_run: str, theirs: Predictions | None, their_run: str, match: Match
) -> list[tuple[str, Predictions, dict[str, dict[str, Any]]]]:
    """Returns each file with the accuracies of its chosen runs, where costs are known on either side."""
    other = theirs or ours
    our_runs = [run for run in _chosen(ours, our_run) if run in ours.costs]
    their_runs = [run for run in _chosen(other, their_run) if run in other.costs]
    if not our_runs or not their_runs:
        return []
    accuracies: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    for one, baseline in [*((run, their_runs[0]) for run in our_runs), *((our_runs[0], run) for run in their_runs)]:
        *heads, labels = match_heads(ours, one, other, baseline, match)
        for run, side, values in zip((one, baseline), accuracies, heads, strict=True):
            correct = _correct_videos(values, labels)
            if run not in side and correct:
                right = correct[main_metric(correct)]
                side[run] = proportion(int(right.sum()), len(right))
    if theirs is None:
        return [("", ours, accuracies[1] | accuracies[0])]
    return [(" (run)", ours, accuracies[0]), (" (baseline)", theirs, accuracies[1])]


def _summary(predictions: Predictions) -> dict[str, Any]:
    path, kind, runs = predictions.path, predictions.kind, list(predictions.runs)
    return {"path": path, "kind": kind, "runs": runs, "videos": predictions.num_videos}


def _compare_pair(
    ours: Predictions, run: str, theirs: Predictions, baseline: str, match: Match, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    one, other, labels = match_heads(ours, run, theirs, baseline, match)
    correct, baseline_correct = (_correct_videos(heads, labels) for heads in (one, other))
    metrics = {
        key: _compare_metric(correct[key], baseline_correct[key], seed) for key in correct if key in baseline_correct
    }
    main = main_metric(metrics) if metrics else None
    same = np.all([one[head].predicted == other[head].predicted for head in one], axis=0)
    flips = []
    for video in np.flatnonzero(~same).tolist():
        is_correct, was_correct = (bool(side[main][video]) if main else False for side in (correct, baseline_correct))
        change = CHANGED if is_correct == was_correct else GAINED if is_correct else LOST
        flips.append({"id": match.ids[video], "change": change, "heads": _classes_of(video, one, other, labels)})
    counts = collections.Counter(flip["change"] for flip in flips)
    entry = {
        "metric": main,
        **({key: metrics[main][key] for key in ("difference", "low", "high")} if main else {}),
        "agreement": float(np.mean(same)),
        "agreement_counts": proportion(int(same.sum()), len(same)),
        "metrics": metrics,
        "scores": {head: _score_difference(one[head], other[head], match.ids) for head in one},
        "classes": {head: _class_counts(one[head], other[head], labels[head]) for head in one if head in labels},
        "flips": {kind: counts[kind] for kind in (LOST, GAINED, CHANGED)},
    }
    return entry, flips


def _correct_videos(heads: Mapping[str, Head], labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns {metric: bool [n]}; only top-1 where a file has classes without scores."""
    scores = {head: values.scores for head, values in heads.items() if values.scores is not None}
    if len(scores) == len(heads):
        probabilities = {
            head: as_probabilities(values, "softmax" if heads[head].kind == "probabilities" else "logits")
            for head, values in scores.items()
        }
        return correct_predictions(scores, probabilities, labels)
    correct = {f"{head}/top1": values.predicted == labels[head] for head, values in heads.items() if head in labels}
    if len(correct) == len(heads) > 1:
        correct["action/top1"] = np.all(list(correct.values()), axis=0)
    return correct


def _compare_metric(correct: np.ndarray, baseline_correct: np.ndarray, seed: int) -> dict[str, Any]:
    only_ours, only_theirs = int(np.sum(correct & ~baseline_correct)), int(np.sum(~correct & baseline_correct))
    sides = {"run": correct, "baseline": baseline_correct}
    return {
        **{side: proportion(int(values.sum()), len(values)) for side, values in sides.items()},
        **bootstrap_difference(only_ours, only_theirs, len(correct), seed=seed),
        "only_run": only_ours,
        "only_baseline": only_theirs,
        "mcnemar_p": mcnemar_exact(only_ours, only_theirs),
    }


def _classes_of(
    video: int, one: Mapping[str, Head], other: Mapping[str, Head], labels: Mapping[str, np.ndarray]
) -> dict[str, dict[str, int | str | None]]:
    """Returns a video's label and both predictions per head, by name where classes have names."""
    found = {}
    for head, values in one.items():
        names = values.class_names
        classes = {
            "label": int(labels[head][video]) if head in labels else -1,
            "run": int(values.predicted[video]),
            "baseline": int(other[head].predicted[video]),
        }
        found[head] = {
            key: None if index < 0 else names[index] if index < len(names) else index for key, index in classes.items()
        }
    return found


def _score_difference(one: Head, other: Head, ids: Sequence[str]) -> dict[str, Any]:
    """Returns how much the scores differ, or the reason why they cannot be compared."""
    if one.scores is None or other.scores is None:
        return {"kind": None, "reason": "not both have scores"}
    if one.kind != other.kind:
        return {"kind": None, "reason": f"one has {one.kind}, the other {other.kind}"}
    found = score_difference(one.scores, other.scores)
    video, index = int(found.pop("video")), int(found.pop("class"))
    if video < 0:
        return {"kind": None, "reason": "no video has a score that is a number in both"}
    class_ = one.class_names[index] if one.class_names else index
    return {"kind": one.kind, **found, "video": ids[video], "class": class_}


def _class_counts(one: Head, other: Head, labels: np.ndarray) -> dict[str, list[dict[str, Any]]]:
    sizes = [values.scores.shape[1] for values in (one, other) if values.scores is not None]
    largest = (int(values.max(initial=-1)) + 1 for values in (labels, one.predicted, other.predicted))
    count = max([len(one.class_names), *sizes, *largest])
    names = one.class_names if len(one.class_names) == count else ()
    sides = {"run": one.predicted, "baseline": other.predicted}
    return {side: class_counts(predicted, labels, count, names) for side, predicted in sides.items()}
