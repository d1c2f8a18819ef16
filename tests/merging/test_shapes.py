"""Arrays that do not go together are refused by everything public, with what was expected and found."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jax_vtm import merging
from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction, TokenReduction, TokenState, initial_state

B, N, C, H, D, R = 2, 9, 4, 3, 5, 3
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def without_the_tests_own_type_checks():
    """Users have none."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def floats(*shape: int):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


X, KEYS, METRIC, SIZE = floats(B, N, C), floats(B, N, H, D), floats(B, N, D), jnp.ones((B, N))
MATCHING = merging.bipartite_soft_matching(merging.cosine_scores(METRIC), R)
NEAREST = merging.nearest_by_metric(METRIC)
WHOLE = jnp.zeros((B, N), jnp.int32)
CALLS = {
    "metric_from_keys": (lambda keys: merging.metric_from_keys(keys, "mean"), [KEYS], {0: [METRIC]}),
    "cosine_scores": (merging.cosine_scores, [METRIC], {0: [KEYS, SIZE]}),
    "bipartite_soft_matching": (
        lambda scores: merging.bipartite_soft_matching(scores, R),
        [floats(B, 5, 4)],
        {0: [floats(B, 4, 5), floats(B, 9, 7), floats(5, 4)]},
    ),
    "match": (
        lambda score: merging.match(NEAREST.replace(score=score), R),
        [NEAREST.score],
        {0: [floats(B, 4), floats(1, 5)]},
    ),
    "nearest_by_scores": (merging.nearest_by_scores, [floats(B, 5, 4)], {0: [floats(5, 4)]}),
    "nearest_by_metric": (merging.nearest_by_metric, [METRIC], {0: [KEYS, SIZE]}),
    "kth_bipartite_matching": (lambda metric: merging.kth_bipartite_matching(metric, 2), [METRIC], {0: [KEYS]}),
    "random_bipartite_matching": (
        lambda metric, order: merging.random_bipartite_matching(metric, order, R),
        [METRIC, SIZE],
        {0: [KEYS], 1: [floats(B, N - 1), floats(1, N)]},
    ),
    "drop": (lambda x: merging.drop(MATCHING, x), [X], {0: [X[:, 1:], X[:1], X[..., None]]}),
    "merge": (
        lambda x, replaced: merging.merge(MATCHING, x, replaced=replaced),
        [X, jnp.zeros((B, N - R), bool)],
        {0: [X[:, 1:], X[:1], floats(B, 2 * N, C)], 1: [jnp.zeros((B, N), bool), jnp.zeros(N - R, bool)]},
    ),
    "merge_weighted": (
        lambda x, size: merging.merge_weighted(MATCHING, x, size),
        [X, SIZE],
        {0: [X[:, 1:]], 1: [SIZE[:, 1:], SIZE[:1], SIZE[..., None]]},
    ),
    "unmerge": (lambda y: merging.unmerge(MATCHING, y), [X[:, R:]], {0: [X, X[:1, R:]]}),
    "replaced_tokens": (
        lambda score: merging.replaced_tokens(MATCHING.replace(score=score), 0.0),
        [MATCHING.score],
        {0: [MATCHING.score[:, 1:]]},
    ),
    "membership_of": (
        lambda replaced: merging.membership_of(MATCHING, replaced=replaced),
        [jnp.zeros((B, N - R), bool)],
        {0: [jnp.zeros((B, N), bool)]},
    ),
    "compose": (merging.compose, [WHOLE, WHOLE], {0: [WHOLE[0], WHOLE[:1]], 1: [WHOLE[0]]}),
    "source_matrix": (lambda membership: merging.source_matrix(membership, 3), [WHOLE], {0: [WHOLE[0]]}),
    "mixing": (
        lambda membership, part: merging.mixing(membership, part, num_groups=N, part_sizes=(4, 5)),
        [WHOLE, WHOLE],
        {0: [WHOLE[:, 1:], WHOLE[0]], 1: [WHOLE[:1]]},
    ),
    "group_statistics": (merging.group_statistics, [np.zeros((2, 3, 3), int)], {0: [np.zeros((2, 9), int)]}),
    "TokenReduction": (
        lambda x, keys, size: TokenReduction(Reduction(), R, class_token=True).apply({}, x, keys, TokenState(size)),
        [X, KEYS, SIZE],
        {
            0: [X[:, 1:], X[0]],
            1: [KEYS.swapaxes(1, 2), KEYS[:, :-1], floats(B, 2 * N, H, D), KEYS[:1], METRIC],
            2: [SIZE[:, 1:], SIZE[:1], SIZE[..., None]],
        },
    ),
    "scores that are given": (
        lambda scores: TokenReduction(Reduction(), R, class_token=True).apply(
            {"scores": {"scores": scores}}, X, KEYS, initial_state(B, N)
        ),
        [floats(B, 5, 4)],
        {0: [floats(B, 4, 5), floats(B, 5, 5), floats(1, 5, 4), floats(5, 4)]},
    ),
    "membership that is given": (
        lambda membership: TokenReduction(Reduction(), R, class_token=True).apply(
            {}, X, KEYS, TokenState(SIZE, membership)
        ),
        [WHOLE],
        {0: [WHOLE[0], WHOLE[:1]]},
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_other_shapes_are_refused(name):
    call, right, wrong = CALLS[name]
    call(*right)
    for place, arrays in wrong.items():
        for array in arrays:
            arguments = [*right[:place], array, *right[place + 1 :]]
            with pytest.raises(UserError, match=r"has the shape \[[\d, ]*\]; expected \[") as caught:
                call(*arguments)
            assert f"{list(array.shape)}" in str(caught.value) or place == 0
            with pytest.raises(UserError, match="expected"):
                # Before anything is computed, under a transformation too.
                jax.eval_shape(call, *arguments)


def test_the_message_says_what_would_fit():
    module = TokenReduction(Reduction(), R, class_token=True)
    with pytest.raises(
        UserError, match=r"keys has the shape \[2, 3, 9, 5\]; expected \[B, N, H, D\] with B = 2, N = 9"
    ):
        module.apply({}, X, KEYS.swapaxes(1, 2), initial_state(B, N))


@pytest.mark.parametrize(
    ("r", "said"), [(2.5, "2.5"), ("12", r"\('1', '2'\)"), (None, "None"), ((3, 1.5), r"\(3, 1.5\)")]
)
def test_r_is_whole(r, said):
    with pytest.raises(UserError, match=f"r is {said}; expected 0 or more tokens to remove, as one whole number"):
        Reduction(r=r)
