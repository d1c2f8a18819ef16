"""How far two computations of the same model lie apart, layer by layer: arrays, decisions, groups.

"Theirs" is what is compared with. Everything is numpy, and nothing here knows where the numbers come from.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped


@dataclasses.dataclass(frozen=True)
class Decision:
    """A matching of B clips and the scores that it was decided by; fields as of `jax_vtm.pytorch.merging.Matching`."""

    scores: Float[np.ndarray, "B S T"]
    kept: Int[np.ndarray, "B K"]
    src: Int[np.ndarray, "B R"]
    dst: Int[np.ndarray, "B R"]


@dataclasses.dataclass(frozen=True)
class Traced:
    """What one side computes for B clips, layer by layer.

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


def compare_layers(
    own: Traced, replayed: Traced, noise_floor: Traced, theirs: Traced, *, order_by_score: bool
) -> list[dict[str, Any]]:
    """Compares three computations with theirs: embedding, every layer, logits.

    Args:
        own: Ours, merging as it decides.
        replayed: Ours, merging as they decided: every token is at the same place, so differences are of arithmetic
            alone, and decisions are of the very same tokens.
        noise_floor: Theirs again, by another way of the same arithmetic: what differences are usual.
        theirs: What is compared with.
        order_by_score: As of `compare_decisions`.

    Returns:
        For the embedding, each layer from 0 and the logits {"name", "tokens", "own", "replayed", "noise_floor",
        "matching"}: differences, with "groups_alike" for a layer of the two that merge by themselves, and decisions.
    """
    sides = {"own": own, "replayed": replayed, "noise_floor": noise_floor}

    def ends(name: str, tokens: int | None) -> dict[str, Any]:
        apart = {side: difference(getattr(one, name), getattr(theirs, name)) for side, one in sides.items()}
        return {"name": name, "tokens": tokens, **apart, "matching": None}

    layers = []
    for layer, (block, groups, decision) in enumerate(zip(theirs.blocks, theirs.groups, theirs.decisions, strict=True)):
        entry: dict[str, Any] = {"name": f"layer {layer}", "tokens": block.shape[1]}
        for side, one in sides.items():
            same_places = side == "replayed"
            own_groups = groups if same_places else one.groups[layer]
            entry[side] = content_difference(one.blocks[layer], block, own_groups, groups)
            if not same_places:
                entry[side]["groups_alike"] = groups_alike(own_groups, groups)
        decided = replayed.decisions[layer]
        entry["matching"] = None
        if decided is not None and decision is not None:
            entry["matching"] = compare_decisions(decided, decision, order_by_score=order_by_score)
        layers.append(entry)
    return [ends("embedding", theirs.embedding.shape[1]), *layers, ends("logits", None)]


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
    clips, tokens = np.nonzero((our_groups >= 0) & (their_groups >= 0))
    return difference(ours[clips, our_groups[clips, tokens]], theirs[clips, their_groups[clips, tokens]])


def groups_alike(ours: Int[np.ndarray, "B N"], theirs: Int[np.ndarray, "B N"]) -> float:
    """Returns the share of initial tokens that are together with exactly the same others, or discarded (-1), in both.

    Groups may be numbered in any way.
    """
    alike = 0
    for a, b in zip(ours, theirs, strict=True):
        together = a.astype(np.int64) * (b.max() + 2) + b
        sizes = [np.unique(numbers, return_inverse=True, return_counts=True) for numbers in (a, b, together)]
        of_a, of_b, of_both = (counts[inverse] for _, inverse, counts in sizes)
        same_others = (of_a == of_both) & (of_b == of_both)
        alike += int(np.where((a < 0) | (b < 0), a == b, same_others).sum())
    return alike / ours.size


def compare_decisions(ours: Decision, theirs: Decision, *, order_by_score: bool) -> dict[str, Any]:
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
    counts = {key: {"alike": 0, "of": 0} for key in ("removed", "targets", "positions")}
    gaps: list[float] = []

    def count(key: str, alike: int, of: int) -> None:
        counts[key]["alike"] += alike
        counts[key]["of"] += of

    for clip, scores in enumerate(theirs.scores):
        our_edges, their_edges = _edges(ours, clip), _edges(theirs, clip)
        both = our_edges.keys() & their_edges.keys()
        elsewhere = [token for token in both if our_edges[token] != their_edges[token]]
        # Sources are at even positions and destinations at odd ones; both are counted apart in the scores.
        best = scores.max(axis=-1)
        gaps += [
            scores[token // 2, their_edges[token] // 2] - scores[token // 2, our_edges[token] // 2]
            for token in elsewhere
        ]
        if gone := their_edges.keys() - both:
            instead = our_edges.keys() - both
            gaps.append(max(best[token // 2] for token in gone) - min(best[token // 2] for token in instead))
        our_kept, their_kept = ours.kept[clip], theirs.kept[clip]
        alike = our_kept == their_kept
        if order_by_score:
            moved = ~alike & (our_kept % 2 == 0) & (their_kept % 2 == 0)
            gaps += np.abs(best[our_kept[moved] // 2] - best[their_kept[moved] // 2]).tolist()
        count("removed", len(both), len(their_edges))
        count("targets", len(both) - len(elsewhere), len(both))
        count("positions", int(alike.sum()), len(alike))
    apart = np.abs(np.subtract(ours.scores, theirs.scores, dtype=np.float64)).max()
    return {**counts, "scores": float(apart), "gap": float(max(gaps)) if gaps else None}


def _edges(decision: Decision, clip: int) -> dict[int, int]:
    """Input position of each removed token of a clip -> that of the token it joins."""
    joined = decision.kept[clip][decision.dst[clip]]
    return dict(zip(decision.src[clip].tolist(), joined.tolist(), strict=True))
