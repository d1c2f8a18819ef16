"""A ladder in sentences and as plain text: how far our model and PyTorch's lie apart, rung by rung."""

import textwrap
from collections.abc import Mapping
from typing import Any

from jax_vtm.reports import wording
from jax_vtm.reports.columns import WIDTH, Column, render

# Decisions that may differ where two scores are nearly equal.
KINDS = ("removed", "targets", "positions")

# Rounds whose ratios of speeds lie further apart than this factor do not say which side is faster by how much.
UNEVEN = 2

# Load per core from which other programs must have taken part: the threads of both sides, at rest, still count a while.
BUSY = 1.5


def ladder_headline(results: Mapping[str, Any]) -> str:
    """What the ladder says, in one sentence: decisions, logits, speed.

    Args:
        results: What `ladder.json` holds.
    """
    logits = results["rungs"][-1]
    apart = f"logits differ by at most {small(logits['own']['largest'])}"
    if differing(results):
        apart = f"{apart}, or {small(logits['replayed']['largest'])} with PyTorch's decisions replayed"
    return f"{decision_sentence(results)}; {apart}; {_ratio(results['measured'])}."


def decision_sentence(results: Mapping[str, Any]) -> str:
    """How many decisions differ, given the same tokens; without a full stop."""
    who = f"JAX and PyTorch ({results['model']['library_class']})"
    decided = _decided(results)
    if not decided:
        merges = results["reduction"]["mode"] != "none"
        return f"{who}: {'no tokens are merged by similarity' if merges else 'nothing is merged'}"
    of = sum(matching["removed"]["of"] for matching in decided)
    same = sum(matching["targets"]["alike"] for matching in decided)
    moved = sum(_moved(matching) for matching in decided)
    how_many = f"all {grouped(of)}" if same == of else f"{grouped(same)} of {grouped(of)}"
    said = f"{who} take {how_many} merging decisions alike"
    if moved:
        said = f"{said} and put {grouped(moved)} kept tokens in another order"
    if not differing(results):
        return said
    return f"{said}, differing in {'near ties only' if near_ties(results) else 'more than near ties'}"


def differing(results: Mapping[str, Any]) -> bool:
    """Whether any decision differs, given the same tokens: another token removed, another target, or another order."""
    return any(
        matching["targets"]["alike"] < matching["removed"]["of"] or _moved(matching) for matching in _decided(results)
    )


def _decided(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [rung["matching"] for rung in results["rungs"] if rung["matching"]]


def _moved(matching: Mapping[str, Any]) -> int:
    """Output positions with another token. Where other tokens are removed, that alone moves those between."""
    removed, positions = matching["removed"], matching["positions"]
    return positions["of"] - positions["alike"] if removed["alike"] == removed["of"] else 0


def near_ties(results: Mapping[str, Any]) -> bool:
    """Whether every decision that differs was between scores no further apart than rounding moves two of them."""
    return all(matching["gap"] is None or matching["gap"] <= 2 * matching["scores"] for matching in _decided(results))


def format_ladder(results: Mapping[str, Any]) -> str:
    """The ladder for a terminal: a row for every rung, the answer below.

    Args:
        results: What `ladder.json` holds.
    """
    rungs = results["rungs"]
    columns = [
        Column("rung", [[rung["name"]] for rung in rungs], left=True),
        Column("tokens", [[tokens(rung)] for rung in rungs]),
        Column("differ by", [[small(rung["own"]["largest"])] for rung in rungs]),
        Column("relative", [[small(rung["own"]["relative"])] for rung in rungs]),
        Column("replayed", [[small(rung["replayed"]["largest"])] for rung in rungs]),
        Column("relative", [[small(rung["replayed"]["relative"])] for rung in rungs]),
        Column("groups alike", [[share(rung["own"].get("groups_alike"))] for rung in rungs]),
        Column("removed", [[alike(rung, "removed")] for rung in rungs]),
        Column("targets", [[alike(rung, "targets")] for rung in rungs]),
        Column("order", [[alike(rung, "positions")] for rung in rungs]),
        Column("gap", [[gap(rung)] for rung in rungs]),
    ]
    sentences = [
        ladder_headline(results),
        class_sentence(results),
        yardstick_sentence(results),
        speed_sentence(results),
    ]
    lines = [line for sentence in [*sentences, busy_note(results)] for line in textwrap.wrap(sentence, WIDTH)]
    return "\n".join([*render(columns), "", *lines]) + "\n"


def class_sentence(results: Mapping[str, Any]) -> str:
    """For how many clips both predict the same class."""
    clips = len(results["clips"])
    return f"Both predict the same class for {results['same_class']} of {clips} clip{'s' if clips > 1 else ''}."


def yardstick_sentence(results: Mapping[str, Any]) -> str:
    """What differences PyTorch has with itself."""
    attention, last = results["attention"], results["rungs"][-2]
    largest = results["rungs"][-1]["yardstick"]["largest"]
    return (
        f"For comparison, PyTorch with {attention['yardstick']} instead of {attention['pytorch']} attention: logits "
        f"{small(largest)} apart from its own, {share(last['yardstick']['groups_alike'])} of tokens in the same groups."
    )


def speed_sentence(results: Mapping[str, Any]) -> str:
    """Clips per second of both, and their ratio."""
    measured = results["measured"]
    rounds = len(measured["rounds"])
    clips_per_s = measured["clips_per_s"]
    return (
        f"Clips/s: JAX {wording.number(clips_per_s['jax'])}, PyTorch ({results['attention']['pytorch']}, "
        f"{threads(results)}) {wording.number(clips_per_s['pytorch'])}; ratio "
        f"{wording.times(measured['ratio'])}, the median of {rounds} round{'s' if rounds > 1 else ''} in turn."
    )


def threads(results: Mapping[str, Any]) -> str:
    """How many threads PyTorch had."""
    count = results["environment"]["threads"]
    return f"{count} thread{'s' if count > 1 else ''}"


def busy_note(results: Mapping[str, Any]) -> str:
    """A warning where the machine had more to do than this; empty where it had not."""
    load, environment = results["measured"]["load_average"], results["environment"]
    if load is None or load <= environment["cores"] * BUSY:
        return ""
    cores = environment["cores"]
    busy = f"The machine was busy with other things (load {load:.1f} on {cores} cores), so the speeds say little"
    if environment["threads"] == 1:
        return f"{busy}."
    return f"{busy}. PyTorch's threads wait for each other then: --config.ladder.threads=1 may be fairer."


def _ratio(measured: Mapping[str, Any]) -> str:
    """The speeds' ratio, unless its rounds lie too far apart to say it, as on a busy machine."""
    rounds = len(measured["rounds"])
    low, high = (wording.times(measured[key]) for key in ("ratio_lowest", "ratio_highest"))
    span = f"{low} to {high} in {rounds} rounds" if rounds > 1 else "one round"
    if measured["ratio_highest"] > UNEVEN * measured["ratio_lowest"]:
        return f"JAX classifies {low} to {high} as many clips per second, too uneven in {rounds} rounds to say more"
    return f"JAX classifies {wording.times(measured['ratio'])} as many clips per second ({span})"


def small(value: float) -> str:
    """A difference, with two significant digits."""
    return "0" if value == 0 else f"{value:.1e}"


def share(value: float | None) -> str:
    """A share of 1 in percent; 100 % only where nothing is missing."""
    if value is None:
        return ""
    return "100 %" if value == 1 else f"{min(100 * value, 99.99):.2f} %"


def tokens(rung: Mapping[str, Any]) -> str:
    """Tokens of a rung, if it has any."""
    return "" if rung["tokens"] is None else str(rung["tokens"])


def alike(rung: Mapping[str, Any], kind: str) -> str:
    """How many decisions of a kind are the same: a share of a layer's."""
    matching = rung["matching"]
    return "" if matching is None else share(matching[kind]["alike"] / (matching[kind]["of"] or 1))


def gap(rung: Mapping[str, Any]) -> str:
    """How far the two choices of a decision that differs lie apart."""
    matching = rung["matching"]
    return "" if matching is None or matching["gap"] is None else small(matching["gap"])


def grouped(count: int) -> str:
    """A count with its thousands apart."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
