"""Multiply-accumulates of one clip, by arithmetic: matrix products only, as the field counts them (1 MAC = 2 FLOP)."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

from jax_vtm.merging import Reduction


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


def embedding_macs(num_patches: int, patch_size: tuple[int, int, int], hidden_size: int) -> Macs:
    """Projecting patches of three colours to one token each."""
    return Macs(embedding=num_patches * math.prod(patch_size) * 3 * hidden_size)


def matching_macs(
    reduction: Reduction, entering: int, leaving: int, hidden_size: int, num_heads: int, num_groups: int = 1
) -> int:
    """One layer's matching in each of the groups that the entering tokens make up; none where keys are not compared."""
    if leaving == entering or not reduction.compares:
        return 0
    tokens = entering // num_groups
    width = hidden_size if reduction.head_aggregation == "concat" else hidden_size // num_heads
    return num_groups * ((tokens + 1) // 2) * (tokens // 2) * width


def encoder_macs(
    reduction: Reduction,
    num_layers: int,
    tokens_per_step: Sequence[int],
    hidden_size: int,
    mlp_dim: int,
    num_heads: int,
) -> Macs:
    """Layers of joint attention that reduce their tokens before the MLP.

    Args:
        reduction: Of the layers; of a repeated one's steps, all but the last only project keys and match.
        num_layers: How many there are.
        tokens_per_step: Tokens entering every reduction step, and last, leaving the final one.
        hidden_size: Token width.
        mlp_dim: Width of the MLPs.
        num_heads: Attention heads.
    """
    total = Macs()
    steps = itertools.pairwise(tokens_per_step)
    for layer, r_per_step in enumerate(reduction.per_layer(num_layers)):
        for is_last in [False] * (len(r_per_step) - 1) + [True]:
            entering, leaving = next(steps)
            total += Macs(
                projections=(4 if is_last else 1) * entering * hidden_size**2,
                attention=2 * entering**2 * hidden_size if is_last else 0,
                matching=matching_macs(reduction.of_layer(layer), entering, leaving, hidden_size, num_heads),
                mlp=2 * leaving * hidden_size * mlp_dim if is_last else 0,
            )
    return total


def head_macs(hidden_size: int, representation_size: int | None, num_classes: int) -> Macs:
    """The pooled vector to logits."""
    if representation_size is None:
        return Macs(head=hidden_size * num_classes)
    return Macs(head=hidden_size * representation_size + representation_size * num_classes)
