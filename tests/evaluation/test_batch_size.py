import jax
import pytest

from jax_vtm.errors import UserError
from jax_vtm.evaluation import batch_size
from jax_vtm.evaluation.batch_size import fitting_batch_size, largest_by_estimate
from jax_vtm.evaluation.data_parallel import BACKENDS, DataParallel

VIEWS = (2, 4, 16, 16, 3)


@pytest.mark.parametrize(("limit", "expected"), [(12, 1), (13, 2), (18, 2), (19, 4), (39, 8), (1000, 16)])
def test_the_estimate_finds_the_largest_power_of_two(limit, expected):
    assert largest_by_estimate(lambda count: 7 + 3 * count, limit, most=16) == expected


def test_an_estimate_that_was_too_high_is_taken_back():
    assert largest_by_estimate(lambda count: count * count, 40, most=64) == 4


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


def test_a_device_that_does_not_tell_its_memory_needs_a_batch_size():
    class Silent:
        platform, device_kind, id = "other", "Other 1", 0
        memory_stats = staticmethod(lambda: None)

    parallel = DataParallel("pmap", jax.devices()[:1])
    parallel.devices = (Silent(),)
    with pytest.raises(UserError, match=r"how much memory Other 1 has; give --config\.data\.batch_size"):
        batch_size.memory_limit(parallel)
