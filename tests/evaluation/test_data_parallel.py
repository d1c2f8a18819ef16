import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_vtm.data.spatial import HALF, normalise
from jax_vtm.errors import UserError
from jax_vtm.evaluation.data_parallel import AXIS, BACKENDS, DataParallel
from jax_vtm.evaluation.step import create_eval_step, pixels
from jax_vtm.merging import Reduction
from jax_vtm.models import create_model
from jax_vtm.models.patch_embedding import folded

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def double(params, x):
    return {"y": x * params["factor"]}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [1, 2, 8])
def test_rows_come_back_in_order(backend, count):
    parallel = DataParallel(backend, jax.devices()[:count])
    x = np.arange(-5, 11, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    params = parallel.replicate({"factor": np.float32(2)})
    out = parallel.compiled(double)(params, *parallel.shard((x,)))
    np.testing.assert_array_equal(parallel.gather(out["y"]), 2 * x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_is_compiled_once(backend):
    assert DataParallel(backend).compiled(double) is DataParallel(backend).compiled(double)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_that_does_not_divide_is_an_error(backend):
    with pytest.raises(UserError, match="The batch of 9 videos does not divide over 8 devices"):
        DataParallel(backend).shard(np.zeros(9))


def test_an_unknown_backend_is_an_error():
    with pytest.raises(UserError, match="backend is 'pjit'; known are pmap, shard_map"):
        DataParallel("pjit")


def collectives(parallel, step, params, *arrays) -> list[str]:
    """The operations of the compiled program that move something between devices."""
    program = parallel.compiled(step).jitted.lower(parallel.replicate(params), *parallel.shard(arrays)).compile()
    return re.findall(r" ((?:all-|collective-|reduce-shard|ragged-)[\w-]*)\(", program.as_text())


def summed(params, x):
    return x + jax.lax.psum(x, AXIS)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["merge", "hybrid", "drop", "random_merge", "random_drop"])
def test_nothing_moves_between_devices(tiny_model, tiny_params, backend, mode):
    parallel = DataParallel(backend)
    step = create_eval_step(tiny_model(mode=mode, r=8), 0)
    views = np.zeros((8, 1, 4, 16, 48), np.uint8)
    assert collectives(parallel, step, tiny_params, views, np.arange(8, dtype=np.int32)) == []
    assert collectives(parallel, summed, tiny_params, np.zeros((8, 3), np.float32)), "it would be found"


@pytest.mark.parametrize("columns_and_colours_in_one", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize(("mean", "std"), [(HALF, HALF), IMAGENET, ((0.45,) * 3, (0.225,) * 3)])
def test_devices_normalise_to_the_same_bits_as_the_host(mean, std, kind, columns_and_colours_in_one):
    levels = np.arange(256, dtype=np.uint8).reshape(4, 64, 1) * np.ones(3, np.uint8)
    levels = levels.astype(kind) + (0 if kind is np.uint8 else kind(0.3))
    on_host = normalise(levels, mean, std)
    given = levels.reshape(4, -1) if columns_and_colours_in_one else levels
    on_device = jax.jit(pixels, static_argnums=(1, 2))(given, mean, std)
    np.testing.assert_array_equal(on_device.reshape(levels.shape), on_host)


def test_the_full_size_step_lowers_for_tpus_without_host_callbacks():
    """Of `shard_map`, since a `pmap` cannot be lowered for another platform; the step within is the same."""
    model = create_model("vivit_b_16x2", reduction=Reduction(r=300), dtype=jnp.bfloat16, attention="xla")
    assert model.tokens_per_layer[-1] == 56
    step = DataParallel("shard_map", jax.devices()[:1]).compiled(create_eval_step(model, 0))
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *model.input_shape)))["params"])
    arrays = (
        jax.ShapeDtypeStruct((2, 1, *folded(model.input_shape)), jnp.uint8),
        jax.ShapeDtypeStruct((2,), jnp.int32),
    )
    program = step.jitted.trace(params, *arrays).lower(lowering_platforms=("tpu",)).as_text()
    assert "bf16" in program
    assert "callback" not in program
    called = set(re.findall(r"custom_call\s+@(\w+)", program))
    assert called <= {"Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape"}, called
