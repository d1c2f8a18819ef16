"""The search: dynamic programming over layers and tokens left, with a predicted loss that adds up over the layers.

A schedule is how many tokens enter every layer, and leave the last. Its cost and its predicted loss are sums over the
layers of a number for the tokens that enter and leave each.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# Values of a grid from a number of tokens to half of it; the smallest has a 32nd of the tokens.
PER_OCTAVE, OCTAVES = 12, 5

# Of each number of tokens after each layer, so many schedules are kept at most: the best at evenly spaced costs.
MOST = 2000

Tokens = tuple[int, ...]


class Found(NamedTuple):
    """A schedule with its cost and predicted loss."""

    cost: float
    loss: float
    tokens: Tokens


def left_after(tokens: int, protected: int, octaves: float) -> int:
    """Returns the tokens that are left where so many times half of the unprotected ones go, rounded up."""
    # Whole octaves are exact.
    return protected + math.ceil(round((tokens - protected) * 2.0**-octaves, 9))


def grid_of(tokens: int, protected: int) -> list[int]:
    """Returns the numbers of tokens that a search looks at, falling; half of each is among them."""
    octaves = (step / PER_OCTAVE for step in range(PER_OCTAVE * OCTAVES + 1))
    return [*dict.fromkeys(left_after(tokens, protected, one) for one in octaves)]


def is_allowed(entering: int, leaving: int, protected: int) -> bool:
    """Whether a layer can leave so many tokens: it removes half of the unprotected ones at most."""
    return entering - (entering - protected) // 2 <= leaving <= entering


def search(
    grid: Sequence[int],
    starts: Mapping[int, tuple[float, float]],
    costs: Float[np.ndarray, "L G G"],
    losses: Float[np.ndarray, "L G G"],
) -> list[Found]:
    """Finds the schedules than which none is cheaper at the same or less predicted loss, by rising cost.

    Args:
        grid: Numbers of tokens.
        starts: Those that can enter the first layer, with what they cost and lose outside of the layers.
        costs: By layer and tokens that enter and leave it; infinite where that cannot be.
        losses: The same of the predicted loss; infinite where it is not to be looked at.
    """
    front = {grid.index(n): np.array([[cost, loss, -1, -1]]) for n, (cost, loss) in starts.items()}
    history = [front]
    for cost, loss in zip(costs, losses, strict=True):
        possible = np.isfinite(cost) & np.isfinite(loss)
        reached = {}
        for b in range(len(grid)):
            labels = [
                np.column_stack(
                    [known[:, :2] + (cost[a, b], loss[a, b]), np.full(len(known), a), np.arange(len(known))]
                )
                for a, known in front.items()
                if possible[a, b]
            ]
            if labels:
                reached[b] = undominated(np.concatenate(labels))
        front = reached
        history.append(front)
    ends = [
        np.column_stack([labels[:, :2], np.full(len(labels), b), np.arange(len(labels))]) for b, labels in front.items()
    ]
    best = undominated(np.concatenate(ends)) if ends else np.zeros((0, 4))
    return [Found(cost, loss, _path(grid, history, int(b), int(row))) for cost, loss, b, row in best.tolist()]


def undominated(labels: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "m 4"]:
    """Returns the rows (cost, loss, ...) that no cheaper or equal one beats, by rising cost, at most `MOST`."""
    labels = labels[np.lexsort((labels[:, 1], labels[:, 0]))]
    best = np.minimum.accumulate(labels[:, 1])
    labels = labels[np.append(True, labels[1:, 1] < best[:-1])]
    if len(labels) <= MOST:
        return labels
    # The last of each interval of cost loses least; the cheapest of all stays, so that small budgets are met.
    interval = np.floor((MOST - 1) * (labels[:, 0] - labels[0, 0]) / np.ptp(labels[:, 0]))
    last = np.append(interval[1:] != interval[:-1], True)
    last[0] = True
    return labels[last]


def _path(grid: Sequence[int], history: Sequence[Mapping[int, np.ndarray]], state: int, row: int) -> Tokens:
    tokens = []
    for front in reversed(history):
        tokens.append(grid[state])
        state, row = map(int, front[state][row, 2:])
    return tuple(reversed(tokens))


def cheapest_within(found: Sequence[Found], budget: float) -> Found | None:
    """Returns the schedule of least predicted loss whose cost is within a budget; None if all cost more."""
    within = [one for one in found if one.cost <= budget]
    return min(within, key=lambda one: (one.loss, one.cost)) if within else None
