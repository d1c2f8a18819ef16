"""Compares two computations of the same model layer by layer: arrays, decisions, groups."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped


@dataclasses.dataclass(frozen=True)
class Decision:
    """A matching of B clips, or of all their frames, and its scores.

    Fields as in `jax_vtm.pytorch.merging.Matching`.
    """

    scores: Float[np.ndarray, "B S T"]
    kept: Int[np.ndarray, "B K"]
    src: Int[np.ndarray, "B R"]
    dst: Int[np.ndarray, "B R"]


@dataclasses.dataclass(frozen=True)
class Traced:
    """The intermediate values of one side for B clips.

    Attributes:
        embedding: Tokens entering the first layer.
        blocks: Tokens leaving each layer.
        groups: Group of every initial token after each layer, -1 if discarded.
        decisions: Of each layer; None if it removes nothing.
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
        own: Ours, with its own decisions.
        replayed: Ours with their decisions, so that all tokens correspond and only arithmetic differs.
        noise_floor: Theirs with another implementation of the same arithmetic.
        theirs: The reference.
        order_by_score: See `compare_decisions`.

    Returns:
        For the embedding, each layer from 0 and the logits {"name", "tokens", "own", "replayed", "noise_floor",
        "matching"}: differences, with "groups_alike" in the layers of own and noise floor, and decisions.
    """
    sides = {"own": own, "replayed": replayed, "noise_floor": noise_floor}

    def array_entry(name: str, tokens: int | None) -> dict[str, Any]:
        differences = {side: difference(getattr(one, name), getattr(theirs, name)) for side, one in sides.items()}
        return {"name": name, "tokens": tokens, **differences, "matching": None}

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
    return [array_entry("embedding", theirs.embedding.shape[1]), *layers, array_entry("logits", None)]


def difference(ours: Shaped[np.ndarray, "*shape"], theirs: Shaped[np.ndarray, "*shape"]) -> dict[str, float]:
    """Returns the largest absolute difference, and the root mean square difference relative to that of theirs."""
    differences = ours.astype(np.float64) - theirs
    scale = np.sqrt(np.mean(np.square(theirs, dtype=np.float64)))
    return {
        "largest": float(np.abs(differences).max(initial=0.0)),
        "relative": float(np.sqrt(np.mean(differences * differences)) / scale) if scale else 0.0,
    }


def content_difference(
    ours: Float[np.ndarray, "B K C"],
    theirs: Float[np.ndarray, "B K C"],
    our_groups: Int[np.ndarray, "B N"],
    their_groups: Int[np.ndarray, "B N"],
) -> dict[str, float]:
    """Compares, for every initial token that neither side discarded (-1), the tokens of its groups."""
    clips, tokens = np.nonzero((our_groups >= 0) & (their_groups >= 0))
    return difference(ours[clips, our_groups[clips, tokens]], theirs[clips, their_groups[clips, tokens]])


def groups_alike(ours: Int[np.ndarray, "B N"], theirs: Int[np.ndarray, "B N"]) -> float:
    """Returns the share of initial tokens that are grouped with the same others, or discarded (-1), in both."""
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
        order_by_score: Whether kept sources are ordered by score, so that their order is a decision too.

    Returns:
        "removed": removed tokens that are the same; "targets": those that join the same token; "positions": output
        positions with the same token; each as {"alike", "of"}. "scores": largest difference of a score. "gap": largest
        difference, in their scores, between two different choices; None if all are the same. A gap of at most twice
        "scores" is a tie that rounding decided.
    """
    counts = {key: {"alike": 0, "of": 0} for key in ("removed", "targets", "positions")}
    gaps: list[float] = []

    def count(key: str, alike: int, of: int) -> None:
        counts[key]["alike"] += alike
        counts[key]["of"] += of

    for row, scores in enumerate(theirs.scores):
        our_edges, their_edges = _edges(ours, row), _edges(theirs, row)
        both = our_edges.keys() & their_edges.keys()
        elsewhere = [token for token in both if our_edges[token] != their_edges[token]]
        # Sources are at even positions, destinations at odd ones.
        best = scores.max(axis=-1)
        gaps += [
            scores[token // 2, their_edges[token] // 2] - scores[token // 2, our_edges[token] // 2]
            for token in elsewhere
        ]
        if gone := their_edges.keys() - both:
            instead = our_edges.keys() - both
            gaps.append(max(best[token // 2] for token in gone) - min(best[token // 2] for token in instead))
        our_kept, their_kept = ours.kept[row], theirs.kept[row]
        alike = our_kept == their_kept
        if order_by_score:
            moved = ~alike & (our_kept % 2 == 0) & (their_kept % 2 == 0)
            gaps += np.abs(best[our_kept[moved] // 2] - best[their_kept[moved] // 2]).tolist()
        count("removed", len(both), len(their_edges))
        count("targets", len(both) - len(elsewhere), len(both))
        count("positions", int(alike.sum()), len(alike))
    largest = np.abs(np.subtract(ours.scores, theirs.scores, dtype=np.float64)).max()
    return {**counts, "scores": float(largest), "gap": float(max(gaps)) if gaps else None}


def _edges(decision: Decision, row: int) -> dict[int, int]:
    """Returns the input positions of a row's removed tokens and of the tokens they join."""
    joined = decision.kept[row][decision.dst[row]]
    return dict(zip(decision.src[row].tolist(), joined.tolist(), strict=True))
