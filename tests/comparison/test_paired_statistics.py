import math

import numpy as np
import pytest

from jax_vtm.comparison.statistics import bootstrap_difference, mcnemar_exact, score_difference
from jax_vtm.evaluation import paired_difference


@pytest.mark.parametrize(
    ("ours", "theirs"), [(0, 0), (0, 1), (5, 5), (6, 5), (0, 12), (12, 3), (40, 61), (3000, 2500), (9000, 11000)]
)
def test_mcnemar_is_the_probability_of_a_split_at_least_as_uneven(ours, theirs):
    tosses, tail, ways = ours + theirs, 0, 1
    for heads in range(min(ours, theirs) + 1):
        tail += ways
        ways = ways * (tosses - heads) // (heads + 1)
    assert mcnemar_exact(ours, theirs) == pytest.approx(min(1, 2 * tail / 2**tosses), rel=1e-9)
    assert mcnemar_exact(theirs, ours) == mcnemar_exact(ours, theirs)


def test_bootstrap_is_that_of_drawing_the_videos_themselves():
    ours = np.array([True] * 159 + [False] * 41)
    theirs = np.array([True] * 150 + [False] * 9 + [True] * 21 + [False] * 20)
    found = bootstrap_difference(9, 21, 200, seed=0)
    assert found["difference"] == pytest.approx(-12 / 200)
    rng = np.random.default_rng(1)
    drawn = rng.integers(len(ours), size=(10_000, len(ours)))
    low, high = np.quantile(np.mean(ours[drawn].astype(int) - theirs[drawn], axis=1), (0.025, 0.975))
    # A set of 200 videos moves in steps of 0.005; two samples of the same quantile are at most a step apart.
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=0.0051), pytest.approx(high, abs=0.0051))
    wald = paired_difference(ours, theirs)
    assert (found["low"], found["high"]) == tuple(pytest.approx(wald[end], abs=0.01) for end in ("low", "high"))


def test_bootstrap_depends_on_its_seed_alone():
    assert bootstrap_difference(7, 12, 90, seed=3) == bootstrap_difference(7, 12, 90, seed=3)
    found = [bootstrap_difference(70, 120, 9000, seed=seed, resamples=50) for seed in (3, 4)]
    assert found[0] != found[1]
    assert bootstrap_difference(0, 0, 50, seed=0) == {"difference": 0, "low": 0, "high": 0}
    assert all(math.isnan(value) for value in bootstrap_difference(0, 0, 0, seed=0).values())


def test_score_difference_says_where_it_is_largest_and_leaves_out_what_is_no_number():
    ours, theirs = np.zeros((2, 3, 4))
    theirs[1, 2], theirs[0, 0], ours[2, 1] = -3.0, 1.0, np.nan
    found = score_difference(ours, theirs)
    assert found == {"mean": 0.5, "largest": 3.0, "video": 1, "class": 2, "n_without": 1}
    none = score_difference(np.full((2, 3), np.nan), np.zeros((2, 3)))
    assert math.isnan(none["largest"])
    assert (none["video"], none["n_without"]) == (-1, 2)
