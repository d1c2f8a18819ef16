"""How far two computations of the same model lie apart, rung by rung: arrays, decisions, groups.

"Theirs" is what is compared with. Everything is numpy, and nothing here knows where the numbers come from.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped


@dataclasses.dataclass(frozen=True)
class Decision:
    """A matching of B clips and the scores that it was decided by; fields as of `jax_vtm.merging.Matching`."""

    scores: Float[np.ndarray, "B S T"]
    survivors: Int[np.ndarray, "B K"]
    removed: Int[np.ndarray, "B R"]
    target: Int[np.ndarray, "B R"]


@dataclasses.dataclass(frozen=True)
class Climb:
    """What one side computes for B clips, rung by rung.

    Attributes:
        embedding: Tokens entering the first layer.
        blocks: Tokens leaving each layer.
        groups: After each layer, the group of every initial token, -1 if discarded.
        decisions: Of each layer; None where nothing is removed.
        logits: Of each class.
    """

    embedding: Float[np.ndarray, "B N C"]
    blocks: tuple[Float[np.ndarray, "B K C"], ...]
    groups: tuple[Int[np.ndarray, "B N"], ...]
    decisions: tuple[Decision | None, ...]
    logits: Float[np.ndarray, "B classes"]


def rungs(
    own: Climb, replayed: Climb, yardstick: Climb, theirs: Climb, *, order_by_score: bool
) -> list[dict[str, Any]]:
    """Compares three climbs with theirs: embedding, every layer, logits.

    Args:
        own: Ours, merging as it decides.
        replayed: Ours, merging as they decided: every token is at the same place, so differences are of arithmetic
            alone, and decisions are of the very same tokens.
        yardstick: Theirs again, by another way of the same arithmetic: what differences are usual.
        theirs: What is compared with.
        order_by_score: As of `decisions_alike`.

    Returns:
        For each rung {"name", "tokens", "own", "replayed", "yardstick", "matching"}; differences as of `difference`,
        with "groups_alike" for a layer of the two that merge by themselves; "matching" as of `decisions_alike`, None
        without one.
    """
    free = {"own": own, "yardstick": yardstick}

    def rung(name: str, part: Callable[[Climb], np.ndarray], tokens: int | None) -> dict[str, Any]:
        apart = {key: difference(part(climb), part(theirs)) for key, climb in free.items()}
        compared = {**apart, "replayed": difference(part(replayed), part(theirs))}
        return {"name": name, "tokens": tokens, **compared, "matching": None}

    found = [rung("embedding", lambda climb: climb.embedding, theirs.embedding.shape[1])]
    for layer, (block, groups, decision) in enumerate(zip(theirs.blocks, theirs.groups, theirs.decisions, strict=True)):
        entry: dict[str, Any] = {"name": f"layer {layer + 1}", "tokens": block.shape[1]}
        for key, climb in free.items():
            entry[key] = content_difference(climb.blocks[layer], block, climb.groups[layer], groups)
            entry[key]["groups_alike"] = groups_alike(climb.groups[layer], groups)
        entry["replayed"] = content_difference(replayed.blocks[layer], block, groups, groups)
        decided = replayed.decisions[layer]
        entry["matching"] = None
        if decision is not None and decided is not None:
            entry["matching"] = decisions_alike(decided, decision, order_by_score=order_by_score)
        found.append(entry)
    return [*found, rung("logits", lambda climb: climb.logits, None)]


def difference(ours: Shaped[np.ndarray, "*shape"], theirs: Shaped[np.ndarray, "*shape"]) -> dict[str, float]:
    """Returns the largest absolute difference, and the root mean square of all relative to that of theirs."""
    apart = ours.astype(np.float64) - theirs
    scale = np.sqrt(np.mean(np.square(theirs, dtype=np.float64)))
    return {
        "largest": float(np.abs(apart).max(initial=0.0)),
        "relative": float(np.sqrt(np.mean(apart * apart)) / scale) if scale else 0.0,
    }


def content_difference(
    ours: Float[np.ndarray, "B K C"],
    theirs: Float[np.ndarray, "B K C"],
    our_groups: Int[np.ndarray, "B N"],
    their_groups: Int[np.ndarray, "B N"],
) -> dict[str, float]:
    """Compares what each initial token has become, wherever its group lies; -1 marks one that was discarded.

    Tokens that only one of the two discarded have nothing to be compared with, and count in `groups_alike` alone.
    """
    kept = (our_groups >= 0) & (their_groups >= 0)
    pairs = zip(ours, our_groups, theirs, their_groups, kept, strict=True)
    found = [(x[groups[here]], y[others[here]]) for x, groups, y, others, here in pairs]
    return difference(np.concatenate([x for x, _ in found]), np.concatenate([y for _, y in found]))


def groups_alike(ours: Int[np.ndarray, "B N"], theirs: Int[np.ndarray, "B N"]) -> float:
    """Returns the share of initial tokens that are together with exactly the same others, or discarded, in both.

    Args:
        ours: Group of each initial token, -1 for one that was discarded. Groups may be numbered in any way.
        theirs: The same of the other.
    """
    alike = 0
    for a, b in zip(ours, theirs, strict=True):
        together = a.astype(np.int64) * (b.max() + 2) + b
        sizes = [np.unique(numbers, return_inverse=True, return_counts=True) for numbers in (a, b, together)]
        of_a, of_b, of_both = (counts[inverse] for _, inverse, counts in sizes)
        same_others = (of_a == of_both) & (of_b == of_both)
        alike += int(np.where((a < 0) | (b < 0), a == b, same_others).sum())
    return alike / ours.size


def decisions_alike(ours: Decision, theirs: Decision, *, order_by_score: bool) -> dict[str, Any]:
    """Compares two matchings of the same tokens.

    Args:
        ours: Decided by our scores.
        theirs: Decided by theirs.
        order_by_score: Kept sources are in order of their scores, so that this order is a decision too.

    Returns:
        "removed": how many of the removed tokens are the same; "targets": of these, how many join the same token;
        "positions": at how many of the output positions is the same token; each as {"alike", "of"}. "scores": the
        largest difference of a score. "gap": how far, in their scores, the two choices of a decision that differs lie
        apart at most; None where none differs. A gap no larger than twice "scores" is a tie that rounding decided.
    """
    clips = [_clip_alike(_clip(ours, i), _clip(theirs, i), order_by_score) for i in range(len(ours.scores))]
    counted = {
        key: {part: sum(clip[key][part] for clip in clips) for part in ("alike", "of")}
        for key in ("removed", "targets", "positions")
    }
    gaps = [clip["gap"] for clip in clips if clip["gap"] is not None]
    apart = np.abs(np.subtract(ours.scores, theirs.scores, dtype=np.float64)).max()
    return {**counted, "scores": float(apart), "gap": max(gaps, default=None)}


class _Clip(NamedTuple):
    """The decision of one clip; `target_of` has the input position that each removed token joins."""

    scores: Float[np.ndarray, "S T"]
    survivors: Int[np.ndarray, " K"]
    target_of: dict[int, int]


def _clip(decision: Decision, clip: int) -> _Clip:
    survivors = decision.survivors[clip]
    edges = zip(decision.removed[clip].tolist(), survivors[decision.target[clip]].tolist(), strict=True)
    return _Clip(decision.scores[clip], survivors, dict(edges))


def _clip_alike(ours: _Clip, theirs: _Clip, order_by_score: bool) -> dict[str, Any]:
    both = ours.target_of.keys() & theirs.target_of.keys()
    elsewhere = [token for token in both if ours.target_of[token] != theirs.target_of[token]]
    # Sources are at even positions and destinations at odd ones; both are counted apart in the scores.
    best, scores = theirs.scores.max(axis=-1), theirs.scores
    gaps = [
        scores[token // 2, theirs.target_of[token] // 2] - scores[token // 2, ours.target_of[token] // 2]
        for token in elsewhere
    ]
    if gone := theirs.target_of.keys() - both:
        instead = ours.target_of.keys() - both
        gaps.append(max(best[token // 2] for token in gone) - min(best[token // 2] for token in instead))
    alike = ours.survivors == theirs.survivors
    if order_by_score:
        moved = ~alike & (ours.survivors % 2 == 0) & (theirs.survivors % 2 == 0)
        gaps += np.abs(best[ours.survivors[moved] // 2] - best[theirs.survivors[moved] // 2]).tolist()
    return {
        "removed": {"alike": len(both), "of": len(theirs.target_of)},
        "targets": {"alike": len(both) - len(elsewhere), "of": len(both)},
        "positions": {"alike": int(alike.sum()), "of": len(alike)},
        "gap": float(max(gaps)) if gaps else None,
    }
