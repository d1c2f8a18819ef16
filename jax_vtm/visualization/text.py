"""What merging did to a few clips, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import wording

_DONE = {
    "merge": "Merging made {after} tokens of {before}",
    "random_merge": "Random merging made {after} tokens of {before}",
    "hybrid": "Hybrid merging made {after} tokens of {before}",
    "drop": "Dropping left {after} of {before} tokens",
    "random_drop": "Random dropping left {after} of {before} tokens",
}


def visualisation_headline(results: Mapping[str, Any]) -> str:
    """What merging did to the tokens, the arithmetic and the predictions, in one sentence.

    Args:
        results: What `visualize.json` holds.
    """
    run = results["run"]
    tokens = run["tokens_per_layer"]
    done = _DONE[run["reduction"]["mode"]].format(before=tokens[0], after=tokens[-1])
    where = " in each time step" if run["tokens_per_time_step"] else ""
    cost = f", with {wording.share_of_arithmetic(run['mac_ratio'])} of the arithmetic"
    return f"{done}{where}{cost}{_outcome(results['clips'])}."


def _outcome(clips: Sequence[Mapping[str, Any]]) -> str:
    """Whether predictions are still the same; nothing where there are none."""
    if not clips[0]["predictions"]:
        return ""
    if len(clips) > 1:
        same = sum(prediction_is_unchanged(clip["predictions"]) for clip in clips)
        return f"; the prediction is unchanged in {same} of {len(clips)} clips"
    predictions = clips[0]["predictions"]
    changes = [f"{wording.head_label(head)}{_change(classes)}" for head, classes in predictions.items()]
    word = "unchanged" if prediction_is_unchanged(predictions) else "changed"
    return f"; prediction {word}: {', '.join(changes)}"


def _change(classes: Sequence[Mapping[str, Any]]) -> str:
    before, after = (_first(classes, which) for which in ("unmerged", "merged"))
    if before is after:
        return f"{before['name']} ({percent(before['unmerged'])} → {percent(before['merged'])})"
    return f"{before['name']} ({percent(before['unmerged'])}) → {after['name']} ({percent(after['merged'])})"


def percent(share: float) -> str:
    """A probability, `99.4 %`; what is neither 0 nor 1 is not written as if it were."""
    if 0.9995 <= share < 1:
        return "above 99.9 %"
    return "below 0.1 %" if 0 < share < 0.0005 else wording.percent(share)


def prediction_is_unchanged(predictions: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
    """Whether the most likely class of every head is the same with and without merging."""
    return all(_first(classes, "unmerged") is _first(classes, "merged") for classes in predictions.values())


def _first(classes: Sequence[Mapping[str, Any]], which: str) -> Mapping[str, Any]:
    return max(classes, key=lambda one: one[which])
