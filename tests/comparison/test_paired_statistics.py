import math

import numpy as np
import pytest
import scipy.stats

from jax_vtm.comparison.statistics import bootstrap_difference, mcnemar_exact, score_difference
from jax_vtm.evaluation import paired_difference


@pytest.mark.parametrize(
    ("ours", "theirs"), [(0, 0), (0, 1), (1, 0), (5, 5), (6, 5), (0, 12), (12, 3), (40, 61), (700, 811), (3000, 2500)]
)
def test_mcnemar_is_scipys_binomial_test(ours, theirs):
    expected = scipy.stats.binomtest(ours, ours + theirs).pvalue if ours + theirs else 1.0
    assert mcnemar_exact(ours, theirs) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_exact(theirs, ours) == mcnemar_exact(ours, theirs)


def test_mcnemar_of_very_many_videos_is_a_number():
    assert 0 <= mcnemar_exact(9000, 11000) < 1e-30
    assert 0.9 < mcnemar_exact(10000, 10001) <= 1


def pairs(both, ours, theirs, neither):
    right = [True] * (both + ours) + [False] * (theirs + neither)
    other = [True] * both + [False] * ours + [True] * theirs + [False] * neither
    return np.array(right), np.array(other)


def discordant(ours, theirs):
    return int(np.sum(ours & ~theirs)), int(np.sum(~ours & theirs))


def test_bootstrap_is_that_of_drawing_the_videos_themselves():
    ours, theirs = pairs(150, 9, 21, 20)
    found = bootstrap_difference(*discordant(ours, theirs), len(ours), seed=0)
    assert found["difference"] == pytest.approx(-12 / 200)
    rng = np.random.default_rng(1)
    drawn = rng.integers(len(ours), size=(10_000, len(ours)))
    differences = np.mean(ours[drawn].astype(int) - theirs[drawn], axis=1)
    low, high = np.quantile(differences, (0.025, 0.975))
    # A set of 200 videos moves in steps of 0.005; two samples of the same quantile are at most a step apart.
    assert found["low"] == pytest.approx(low, abs=0.0051)
    assert found["high"] == pytest.approx(high, abs=0.0051)
    wald = paired_difference(ours, theirs)
    assert (found["low"], found["high"]) == (
        pytest.approx(wald["low"], abs=0.01),
        pytest.approx(wald["high"], abs=0.01),
    )


def test_bootstrap_is_scipys():
    ours, theirs = pairs(300, 30, 12, 58)

    def difference(one, other, axis):
        return np.mean(one, axis=axis) - np.mean(other, axis=axis)

    expected = scipy.stats.bootstrap(
        (ours.astype(float), theirs.astype(float)),
        difference,
        paired=True,
        method="percentile",
        n_resamples=5000,
        rng=0,
    ).confidence_interval
    found = bootstrap_difference(*discordant(ours, theirs), len(ours), seed=0)
    assert (found["low"], found["high"]) == (
        pytest.approx(expected.low, abs=0.004),
        pytest.approx(expected.high, abs=0.004),
    )


def test_bootstrap_depends_on_its_seed_alone():
    assert bootstrap_difference(7, 12, 90, seed=3) == bootstrap_difference(7, 12, 90, seed=3)
    found = [bootstrap_difference(70, 120, 9000, seed=seed, resamples=50) for seed in (3, 4)]
    assert found[0] != found[1]


def test_bootstrap_of_equals_and_of_nothing():
    assert bootstrap_difference(0, 0, 50, seed=0) == {"difference": 0, "low": 0, "high": 0}
    assert all(math.isnan(value) for value in bootstrap_difference(0, 0, 0, seed=0).values())


def test_score_difference_says_where_it_is_largest_and_leaves_out_what_is_no_number():
    ours = np.zeros((3, 4))
    theirs = np.zeros((3, 4))
    theirs[1, 2], theirs[0, 0], ours[2, 1] = -3.0, 1.0, np.nan
    found = score_difference(ours, theirs)
    assert found == {"mean": 0.5, "largest": 3.0, "video": 1, "class": 2, "n_without": 1}
    none = score_difference(np.full((2, 3), np.nan), np.zeros((2, 3)))
    assert math.isnan(none["largest"])
    assert (none["video"], none["n_without"]) == (-1, 2)
