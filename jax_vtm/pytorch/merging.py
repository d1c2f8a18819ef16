"""Token merging in PyTorch, with the definitions of `jax_vtm.merging`: matching, then merging, dropping or the hybrid.

A step reduces N tokens of B clips to K = N - r. Sources are at even positions, destinations at odd ones.
"""

from __future__ import annotations

import dataclasses

import torch  # pyright: ignore[reportMissingImports]
from jaxtyping import Bool, Float, Int
from torch import Tensor  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]


@dataclasses.dataclass(frozen=True)
class Matching:
    """A matching of B clips.

    Attributes:
        scores: Similarity of sources and destinations.
        kept: Input position of every output token, in output order.
        src: Input positions of the removed tokens, by falling score.
        dst: Output position of the best match of each removed token.
        score: Score of each removed token and its match.
    """

    scores: Float[Tensor, "B S T"]
    kept: Int[Tensor, "B K"]
    src: Int[Tensor, "B R"]
    dst: Int[Tensor, "B R"]
    score: Float[Tensor, "B R"]


def metric_from_keys(keys: Float[Tensor, "B H N D"], head_aggregation: str) -> Float[Tensor, "B N M"]:
    """Returns one feature per token from attention keys: the "mean" over heads, or else all heads concatenated."""
    return keys.mean(1) if head_aggregation == "mean" else keys.transpose(1, 2).flatten(2)


def cosine_scores(metric: Float[Tensor, "B N M"]) -> Float[Tensor, "B S T"]:
    """Returns the cosine similarity of every source with every destination; 0 for an all-zero token."""
    unit = functional.normalize(metric.float(), dim=-1)
    return unit[:, ::2] @ unit[:, 1::2].transpose(1, 2)


def bipartite_soft_matching(
    scores: Float[Tensor, "B S T"], r: int, *, class_token: bool, ascending: bool = False
) -> Matching:
    """Removes the r sources with the highest score of their best match; ties go to the lowest position.

    Args:
        scores: Similarity of sources and destinations.
        r: Tokens to remove, from 1 to half of the unprotected ones (see `jax_vtm.merging.clamp_r`).
        class_token: Protects token 0, and keeps sources in ascending position; otherwise they are by falling score.
        ascending: Keeps sources in ascending position without a class token too.
    """
    batch, num_sources, num_destinations = scores.shape
    best_score, best_destination = scores.max(dim=-1)
    if class_token:
        best_score = best_score.clone()
        best_score[:, 0] = -torch.inf
    by_score = best_score.argsort(dim=-1, descending=True, stable=True)
    removed, kept = by_score[:, :r], by_score[:, r:]
    if class_token or ascending:
        kept = kept.sort(dim=-1).values
    destinations = torch.arange(num_destinations, device=scores.device).expand(batch, -1)
    return Matching(
        scores=scores,
        kept=torch.cat([2 * kept, 2 * destinations + 1], dim=1),
        src=2 * removed,
        dst=num_sources - r + best_destination.gather(1, removed),
        score=best_score.gather(1, removed),
    )


def drop(matching: Matching, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B K C"]:
    """Selects the kept tokens."""
    return _take(x, matching.kept)


def merge_weighted(
    matching: Matching,
    x: Float[Tensor, "B N C"],
    size: Float[Tensor, "B N"] | None,
    replaced: Bool[Tensor, "B K"] | None = None,
) -> tuple[Float[Tensor, "B K C"], Float[Tensor, "B K"]]:
    """Averages merged tokens weighted by `size`, their numbers of initial tokens (None: all 1), and sums the sizes.

    `replaced` tokens lose their own content and size (see `replaced_tokens`).
    """
    weight = x.new_ones((*x.shape[:2], 1)) if size is None else size[..., None]
    content = x if size is None else x * weight
    total, new_size = (_take(part, matching.kept) for part in (content, weight))
    if replaced is not None:
        total, new_size = (part.masked_fill(replaced[..., None], 0) for part in (total, new_size))
    total = _add_at(total, matching.dst, _take(content, matching.src))
    new_size = _add_at(new_size, matching.dst, _take(weight, matching.src))
    return total / new_size, new_size[..., 0]


def replaced_tokens(matching: Matching, threshold: float) -> Bool[Tensor, "B K"]:
    """Returns the kept tokens with a match below the threshold, whose content is replaced in the hybrid mode."""
    below = torch.zeros_like(matching.kept)
    return below.scatter_add(1, matching.dst, (matching.score < threshold).long()) > 0


def _rows(index: Int[Tensor, "B K"], num_tokens: int) -> Int[Tensor, " rows"]:
    return (index + num_tokens * torch.arange(len(index), device=index.device)[:, None]).flatten()


def _take(x: Float[Tensor, "B N C"], index: Int[Tensor, "B K"]) -> Float[Tensor, "B K C"]:
    # Selecting rows is faster on a CPU than `gather`.
    return x.flatten(0, 1).index_select(0, _rows(index, x.shape[1])).unflatten(0, index.shape)


def _add_at(own: Float[Tensor, "B K C"], dst: Int[Tensor, "B R"], arriving: Float[Tensor, "B R C"]) -> Tensor:
    rows = _rows(dst, own.shape[1])
    return own.flatten(0, 1).index_add(0, rows, arriving.flatten(0, 1)).unflatten(0, own.shape[:2])
