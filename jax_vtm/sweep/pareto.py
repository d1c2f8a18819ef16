"""Which runs are worth having: those that no other beats in cost and gain at once."""

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Finds the points that no other dominates, by rising cost.

    A point dominates another that costs at least as much and gains at most as much, unless both are equal.

    Args:
        points: (cost, gain) of each: the less and the more, the better.

    Returns:
        Their numbers; of equal points, only the first.
    """
    front: list[int] = []
    best = float("-inf")
    for number in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[number][1] > best:
            best = points[number][1]
            front.append(number)
    return front
