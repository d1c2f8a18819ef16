import hypothesis
import pytest
from hypothesis import strategies

from jax_vtm.sweep.pareto import pareto_front


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], []),
        ([(1, 1)], [0]),
        ([(3, 9), (1, 5), (2, 4), (2, 7)], [1, 3, 0]),
        ([(1, 5), (1, 6), (2, 6)], [1]),
        ([(1, 5), (1, 5)], [0]),
    ],
)
def test_front_of_a_few_points(points, front):
    assert pareto_front(points) == front


@hypothesis.given(strategies.lists(strategies.tuples(strategies.integers(0, 6), strategies.integers(0, 6))))
def test_front_is_all_that_nothing_dominates(points):
    def dominated(point):
        return any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)

    front = pareto_front(points)
    assert [points[number] for number in front] == sorted({point for point in points if not dominated(point)})
    assert all(points.index(points[number]) == number for number in front)
