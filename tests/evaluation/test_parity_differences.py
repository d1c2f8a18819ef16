"""How far two computations lie apart, and which decisions differ: checked on cases small enough to see through."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_vtm.merging import bipartite_soft_matching
from jax_vtm.parity.differences import (
    Decision,
    Traced,
    compare_decisions,
    compare_layers,
    content_difference,
    difference,
    groups_alike,
)


def test_difference_is_largest_and_relative():
    theirs = np.array([3.0, -4.0], np.float32)
    assert difference(theirs, theirs) == {"largest": 0.0, "relative": 0.0}
    found = difference(theirs + np.array([0, 0.5], np.float32), theirs)
    assert found["largest"] == 0.5
    assert found["relative"] == pytest.approx(0.5 / 5)


def test_difference_to_zeros_has_no_scale():
    assert difference(np.ones(3), np.zeros(3)) == {"largest": 1.0, "relative": 0.0}


@given(st.integers(0, 2**16))
def test_groups_are_alike_however_they_are_numbered(seed):
    random = np.random.default_rng(seed)
    groups = random.integers(-1, 5, (2, 12))
    renamed = np.where(groups < 0, -1, random.permutation(5)[np.maximum(groups, 0)])
    assert groups_alike(groups, renamed) == 1


def test_a_token_in_another_group_changes_both_groups():
    ours, theirs = np.array([[0, 0, 1, 1, 2, -1]]), np.array([[0, 0, 1, 2, 2, -1]])
    assert groups_alike(ours, theirs) == pytest.approx(3 / 6)  # the pair, and the one that both discard
    assert groups_alike(theirs, ours) == pytest.approx(3 / 6)
    assert groups_alike(np.array([[0, -1]]), np.array([[0, 1]])) == 0.5
    assert groups_alike(np.array([[0, -1, -1]]), np.array([[0, -1, 1]])) == pytest.approx(2 / 3)


@given(st.integers(0, 2**16))
def test_content_is_compared_wherever_it_lies(seed):
    random = np.random.default_rng(seed)
    theirs, groups = random.normal(size=(2, 5, 3)), random.integers(-1, 5, (2, 9))
    groups[:, 0] = 0
    order = random.permutation(5)
    moved = np.where(groups < 0, -1, np.argsort(order)[np.maximum(groups, 0)])
    assert content_difference(theirs[:, order], theirs, moved, groups) == {"largest": 0.0, "relative": 0.0}
    # What only one of the two has cannot be compared.
    moved[:, 1:] = -1
    assert content_difference(theirs[:, order], theirs, moved, groups)["largest"] == 0


# Sources 0, 2, 4, destinations 1, 3, 5; two are removed: 2 into 3, then 0 into 1. 4 stays.
SCORES = np.array([[[0.8, 0.1, 0.0], [0.0, 0.9, 0.7], [0.2, 0.3, 0.6]]], np.float32)
THEIRS = Decision(SCORES, np.array([[4, 1, 3, 5]]), np.array([[2, 0]]), np.array([[2, 1]]))


def alike(ours, **settings):
    found = compare_decisions(ours, THEIRS, **{"order_by_score": False, **settings})
    return tuple(found[key]["alike"] for key in ("removed", "targets", "positions")), found["gap"]


def test_the_same_decision():
    found = compare_decisions(THEIRS, THEIRS, order_by_score=True)
    assert found == {
        "removed": {"alike": 2, "of": 2},
        "targets": {"alike": 2, "of": 2},
        "positions": {"alike": 4, "of": 4},
        "scores": 0.0,
        "gap": None,
    }


def test_another_target():
    counts, gap = alike(dataclasses.replace(THEIRS, dst=np.array([[3, 1]])))
    assert counts == (2, 1, 4)
    assert gap == pytest.approx(0.9 - 0.7)


def test_another_token_removed():
    ours = Decision(SCORES + 0.01, np.array([[0, 1, 3, 5]]), np.array([[2, 4]]), np.array([[2, 3]]))
    counts, gap = alike(ours)
    assert counts == (1, 1, 3)
    assert gap == pytest.approx(0.8 - 0.6)
    assert compare_decisions(ours, THEIRS, order_by_score=False)["scores"] == pytest.approx(0.01, rel=1e-4)


def test_another_order_is_a_decision_only_where_scores_say_it():
    scores = np.array([[[0.9, 0.0], [0.5, 0.1], [0.4, 0.2]]], np.float32)
    removed = np.array([[0]])
    theirs = Decision(scores, np.array([[2, 4, 1, 3]]), removed, np.array([[2]]))
    ours = Decision(scores, np.array([[4, 2, 1, 3]]), removed, np.array([[2]]))
    for order_by_score, gap in ((True, pytest.approx(0.1)), (False, None)):
        found = compare_decisions(ours, theirs, order_by_score=order_by_score)
        assert found["positions"] == {"alike": 2, "of": 4}
        assert found["gap"] == gap


@functools.partial(jax.jit, static_argnums=1)
def decide(scores, class_token):
    matching = bipartite_soft_matching(scores, 3, class_token=class_token)
    return matching.kept, matching.src, matching.dst


@given(st.booleans(), st.floats(1e-3, 0.5), st.integers(0, 2**16))
def test_what_rounding_changes_is_a_near_tie(class_token, noise, seed):
    """However scores are disturbed, the choices that change lie no further apart than twice the disturbance."""
    random = np.random.default_rng(seed)
    scores = random.random((3, 6, 5)).astype(np.float32)
    disturbed = scores + random.uniform(-noise, noise, scores.shape).astype(np.float32)
    ours, theirs = (
        Decision(one, *map(np.asarray, decide(jnp.asarray(one), class_token))) for one in (disturbed, scores)
    )
    found = compare_decisions(ours, theirs, order_by_score=not class_token)
    assert found["gap"] is None or 0 <= found["gap"] <= 2 * found["scores"] + 1e-6
    same = found["targets"]["alike"] == found["removed"]["of"]
    if same and (class_token or found["positions"]["alike"] == found["positions"]["of"]):
        assert found["gap"] is None
    else:
        assert found["gap"] is not None


def test_layers_are_counted_from_0_between_embedding_and_logits():
    groups, block = np.array([[0, 1, 0]]), np.ones((1, 2, 4))
    one = Traced(np.ones((1, 3, 4)), (block, block), (groups, groups), (THEIRS, None), np.ones((1, 7)))
    other = dataclasses.replace(one, blocks=(block, 1.5 * block), logits=2 * one.logits)
    found = compare_layers(other, one, one, one, order_by_score=True)
    assert [(layer["name"], layer["tokens"]) for layer in found] == [
        ("embedding", 3),
        ("layer 0", 2),
        ("layer 1", 2),
        ("logits", None),
    ]
    assert [layer["own"]["largest"] for layer in found] == [0, 0, 0.5, 1]
    assert [layer["replayed"]["largest"] for layer in found] == [0, 0, 0, 0]
    assert [layer["matching"] is not None for layer in found] == [False, True, False, False]
    assert [layer["own"].get("groups_alike") for layer in found] == [None, 1, 1, None]
