import jax
import pytest

from jax_vtm.errors import UserError
from jax_vtm.evaluation import batch_size
from jax_vtm.evaluation.batch_size import fitting_batch_size, largest_by_estimate, largest_by_trying
from jax_vtm.evaluation.data_parallel import BACKENDS, DataParallel

VIEWS = (2, 4, 16, 16, 3)


@pytest.mark.parametrize(("limit", "expected"), [(12, 1), (13, 2), (18, 2), (19, 4), (39, 8), (1000, 16)])
def test_the_estimate_finds_the_largest_power_of_two(limit, expected):
    assert largest_by_estimate(lambda count: 7 + 3 * count, limit, most=16) == expected


def test_an_estimate_that_was_too_high_is_taken_back():
    assert largest_by_estimate(lambda count: count * count, 40, most=64) == 4


def test_trying_stops_where_memory_ends():
    tried = []

    def run(count):
        tried.append(count)
        if count > 5:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")

    assert largest_by_trying(run, most=64) == 4
    assert tried == [1, 2, 4, 8]
    assert largest_by_trying(lambda count: None, most=16) == 16


def test_other_errors_are_no_lack_of_memory():
    def run(count):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        largest_by_trying(run, most=4)


def test_nothing_fits():
    with pytest.raises(UserError, match="not even one video at a time fits into a device's memory"):
        largest_by_estimate(lambda count: 10, 9, most=4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_more_memory_holds_more_videos(tiny_model, tiny_params, monkeypatch, backend):
    parallel = DataParallel(backend, jax.devices()[:2])
    model = tiny_model(mode="none")
    found = []
    for megabytes in (1, 4):
        monkeypatch.setattr(batch_size, "memory_limit", lambda parallel, size=megabytes: size * 2**20)
        found.append(fitting_batch_size(model, tiny_params, VIEWS, parallel, most=64))
    assert 1 <= found[0] < found[1] <= 64


def test_without_a_word_of_the_memory_steps_are_tried(tiny_model, tiny_params, monkeypatch):
    monkeypatch.setattr(batch_size, "memory_limit", lambda parallel: None)
    parallel = DataParallel("pmap", jax.devices()[:2])
    assert fitting_batch_size(tiny_model(mode="none"), tiny_params, VIEWS, parallel, most=2) == 2
