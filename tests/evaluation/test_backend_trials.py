"""Backends that are right, wrong, slow and failing, tried by themselves."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import pytest

from jax_vtm.evaluation.backend_trials import BOUND, attention, matching, merging, tried
from jax_vtm.models.attention import attend


def failing(*inputs):
    raise NotImplementedError("no such kernel on this device\nand more")


def slow(query, key, value, bias):
    def wait(x):
        time.sleep(0.02)
        return x

    attended = attend(query, key, value, bias)
    return jax.pure_callback(wait, jax.ShapeDtypeStruct(attended.shape, attended.dtype), attended)


def slightly_wrong(query, key, value, bias):
    return attend(query, key, value, bias) * (1 + 3 * BOUND)


def not_a_number(query, key, value, bias):
    return attend(query, key, value, bias) * jnp.nan


@pytest.fixture(scope="module")
def trials():
    part = attention(2, 19, 21, 3, 8, "float32")
    backends = {**part.backends, "slow": slow, "wrong": slightly_wrong, "nan": not_a_number, "failing": failing}
    return tried(dataclasses.replace(part, backends=backends), rounds=2, seconds=0.0)


def test_backends_that_agree_are_timed(trials):
    for name in ("xla", "chunked", "slow"):
        assert trials[name].reason == ""
        assert trials[name].difference < 1e-5
    assert trials["slow"].ms["median"] > 20 > trials["xla"].ms["median"] > 0


def test_those_that_do_not_are_left_out_with_the_reason(trials):
    assert trials["wrong"].reason == "differs by 0.0003 from the plain form, more than 0.0001"
    assert trials["nan"].reason.startswith("differs by nan")
    assert trials["failing"].reason == "fails: no such kernel on this device"
    assert [trials[name].ms for name in ("wrong", "nan", "failing")] == [None] * 3


@pytest.mark.parametrize("part", [matching(2, 33, 8), merging(2, 33, 5, 24)], ids=lambda part: part.what)
def test_every_backend_of_matching_and_merging_agrees(part):
    found = tried(part, rounds=1, seconds=0.0)
    assert len(found) >= 2
    assert not any(trial.reason for trial in found.values())


def test_a_destination_that_is_not_the_most_similar_is_found():
    part = matching(1, 33, 8)
    right = part.backends["xla"]

    def second_best(metric):
        best = right(metric)
        return best.replace(destination=best.destination.at[0, 3].set((best.destination[0, 3] + 1) % 16))

    found = tried(dataclasses.replace(part, backends={"second": second_best}), rounds=1, seconds=0.0)
    assert "differs" in found["second"].reason


def test_of_equal_destinations_each_is_right():
    part = matching(1, 33, 8)
    metric = part.make()[0]
    metric = metric.at[:, 3].set(metric[:, 1])

    def the_other(metric):
        best = part.backends["xla"](metric)
        assert best.destination.shape == (1, 17)
        return best.replace(destination=jnp.where(best.destination == 0, 1, best.destination))

    changed = dataclasses.replace(part, make=lambda: (metric,), backends={"other": the_other})
    assert (part.backends["xla"](metric).destination == 0).any()
    assert not tried(changed, rounds=1, seconds=0.0)["other"].reason
