import subprocess
import sys

import ml_dtypes
import msgpack
import numpy as np
import pytest
from etils import epath
from flax import serialization

from jax_vtm.checkpoints.msgpack_file import read_msgpack


def read(path):
    return {name: entry.read() for name, entry in read_msgpack(epath.Path(path), ()).items()}


def write(path, state):
    path.write_bytes(serialization.msgpack_serialize(state))
    return path


@pytest.mark.parametrize(
    "leaf",
    [
        np.float32(1.5),
        np.zeros((), np.float32),
        np.zeros((0, 3), np.float32),
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.asarray([1.0, -2.5], ml_dtypes.bfloat16),
        np.asarray([1.0, -2.5], np.float16),
        np.asarray([1.0, -2.5], ml_dtypes.float8_e4m3fn),
    ],
)
def test_leaves_come_back_as_written(tmp_path, leaf):
    found = read(write(tmp_path / "checkpoint", {"params": {"a": leaf}, "model_state": None}))["a"]
    assert found.dtype == leaf.dtype
    assert found.shape == leaf.shape
    assert found.tobytes() == leaf.tobytes()


def test_other_numbers_beside_the_parameters_do_not_disturb(tmp_path):
    state = {
        "opt_state": {"0": {"count": np.int32(3), "z": 1 + 2j}, "1": None},
        "metadata": {"note": "x", "list": {"0": 1.5}},
        "params": {"a": np.ones(2, np.float32)},
    }
    assert list(read(write(tmp_path / "checkpoint", state))) == ["a"]


def test_todays_place_wins_over_the_old_one(tmp_path):
    state = {"optimizer": {"target": {"old": np.ones(1)}}, "params": {"new": np.ones(1)}}
    assert list(read(write(tmp_path / "checkpoint", state))) == ["new"]


def test_doubly_nested_params(tmp_path):
    assert list(read(write(tmp_path / "checkpoint", {"params": {"params": {"a": np.ones(1)}}}))) == ["a"]


def test_array_larger_than_msgpacks_default_limit(tmp_path):
    size = 104 * 2**20 // 4  # msgpack's default buffer is 100 MiB
    leaf = np.arange(size, dtype=np.float32)
    found = read(write(tmp_path / "checkpoint", {"params": {"a": leaf}}))["a"]
    np.testing.assert_array_equal(found, leaf)


MEASURE = """
import sys, types
import jax, jax.numpy as jnp
from jax_vtm.checkpoints import load_checkpoint

leaves, size = int(sys.argv[2]), int(sys.argv[3])
model = types.SimpleNamespace(
    input_shape=(2, 4, 4, 3),
    heads=(("", 1),),
    init=lambda key, video: {"params": {f"p{i}": jnp.zeros(size) for i in range(leaves)}},
)

def peak_kib():
    try:  # ru_maxrss of a child also covers its parent at the time of the fork; VmHWM is this program alone
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except OSError:
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak

jax.eval_shape(lambda: model.init(jax.random.key(0), None))
before = peak_kib()
params = load_checkpoint(sys.argv[1], model)["params"]
after = peak_kib()
assert all((params[f"p{i}"] == i).all() for i in range(leaves))
print(before * 1024, after * 1024)
"""


def write_legacy_file(path, leaves, size):
    """Writes a checkpoint in the layout of 2021 leaf by leaf, with momentum as large as the parameters."""
    packer = msgpack.Packer()
    with path.open("wb") as file:

        def start(*keys, entries=1):
            for key in keys:
                file.write(packer.pack(key))
            file.write(packer.pack_map_header(entries))

        start(entries=3)
        file.write(packer.pack("global_step") + packer.pack(7))
        start("optimizer", entries=2)
        start("target", entries=leaves)
        for index in range(leaves):
            file.write(packer.pack(f"p{index}"))
            file.write(serialization.msgpack_serialize(np.full(size, index, np.float32)))
        start("state", entries=1)
        start("param_states", entries=leaves)
        for index in range(leaves):
            start(f"p{index}", entries=1)
            file.write(packer.pack("momentum"))
            file.write(serialization.msgpack_serialize(np.ones(size, np.float32)))
        start("model_state", entries=0)


def test_optimizer_state_never_reaches_memory(tmp_path):
    leaves, size = 20, 2_000_000  # 20 arrays of 8 MB: 160 MB of parameters, 160 MB of momentum
    path = tmp_path / "checkpoint"
    write_legacy_file(path, leaves, size)
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), str(leaves), str(size)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    before, after = map(int, run.stdout.split())
    grown, params, file = after - before, leaves * size * 4, path.stat().st_size
    report = (
        f"peak memory grew by {grown / 1e6:.0f} MB ({before / 1e6:.0f} to {after / 1e6:.0f}) for "
        f"{params / 1e6:.0f} MB of parameters in a file of {file / 1e6:.0f} MB"
    )
    assert file > 1.99 * params
    assert grown > 0.8 * params, f"the measurement is blind: {report}"
    assert grown < params + 70e6, report
