"""Multiply-accumulates of one clip, by arithmetic: matrix products only, as the field counts them (1 MAC = 2 FLOP)."""

import dataclasses
import math
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Macs:
    """Multiply-accumulates by part of the model.

    Attributes:
        embedding: Patches to tokens.
        projections: Query, key, value and output projections.
        attention: Scores and weighted sums of values.
        matching: Similarities between sources and destinations; the price of merging.
        mlp: The MLPs, after the reduction.
        head: Pooled tokens to logits.
    """

    embedding: int = 0
    projections: int = 0
    attention: int = 0
    matching: int = 0
    mlp: int = 0
    head: int = 0

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(vars(self).values())

    def __add__(self, other: "Macs") -> "Macs":
        return Macs(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def __mul__(self, times: int) -> "Macs":
        return Macs(*(part * times for part in vars(self).values()))


def embedding_macs(grid: tuple[int, int, int], patch_size: tuple[int, int, int], hidden_size: int) -> Macs:
    """Projecting every patch of three colours to one token."""
    return Macs(embedding=math.prod(grid) * math.prod(patch_size) * 3 * hidden_size)


def encoder_macs(
    tokens_per_step: Sequence[int],
    steps_per_layer: Sequence[int],
    hidden_size: int,
    mlp_dim: int,
    metric_size: int | None,
) -> Macs:
    """A transformer that reduces its tokens between attention and MLP.

    Args:
        tokens_per_step: Tokens entering every reduction step, and last, leaving the final one.
        steps_per_layer: Reduction steps of each layer; all but the last only project keys and match.
        hidden_size: Token width.
        mlp_dim: Width of the MLPs.
        metric_size: Width of the feature that is compared; None where the scores are random.
    """
    total = Macs()
    step = 0
    for steps in steps_per_layer:
        for last in [False] * (steps - 1) + [True]:
            entering, leaving = tokens_per_step[step : step + 2]
            compared = metric_size if metric_size is not None and leaving < entering else 0
            total += Macs(
                projections=(4 if last else 1) * entering * hidden_size**2,
                attention=2 * entering**2 * hidden_size if last else 0,
                matching=(entering + 1) // 2 * (entering // 2) * compared,
                mlp=2 * leaving * hidden_size * mlp_dim if last else 0,
            )
            step += 1
    return total


def head_macs(hidden_size: int, representation_size: int | None, num_classes: int) -> Macs:
    """The pooled vector to logits."""
    if representation_size is None:
        return Macs(head=hidden_size * num_classes)
    return Macs(head=hidden_size * representation_size + representation_size * num_classes)
