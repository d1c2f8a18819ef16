import hashlib

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import serialization

from jax_vtm.checkpoints import CheckpointError, load_checkpoint, save_checkpoint


def test_round_trip(tmp_path, spacetime_params, spacetime_model, assert_same_tree):
    written = save_checkpoint(tmp_path / "new" / "weights", spacetime_params, step=7)
    assert str(written) == str(tmp_path / "new" / "weights")
    assert_same_tree(load_checkpoint(written, spacetime_model)["params"], spacetime_params)


def test_flax_reads_the_keys_of_scenics_train_state(tmp_path, spacetime_params, assert_same_tree):
    path = save_checkpoint(tmp_path / "checkpoint", spacetime_params, step=12)
    state = serialization.msgpack_restore(path.read_bytes())
    assert_same_tree(state.pop("params"), spacetime_params)
    digest = hashlib.sha256(path.read_bytes()[:-64]).hexdigest()
    assert state.pop("metadata") == {"sha256_of_all_before": digest}
    assert state == {"opt_state": {}, "global_step": 12, "model_state": {}, "rng": None}


def test_existing_directory_gets_a_file_named_after_the_step(tmp_path):
    assert save_checkpoint(tmp_path, {"a": np.ones(1)}, step=30).name == "checkpoint_30"
    assert [child.name for child in tmp_path.iterdir()] == ["checkpoint_30"]


def test_variables_and_jax_arrays(tmp_path, tree_model, assert_same_tree):
    params = {"a": {"b": np.asarray([1.0, 2.0], np.float32)}, "c": np.asarray([3.0], ml_dtypes.bfloat16)}
    variables = {"params": {"a": {"b": jnp.asarray(params["a"]["b"])}, "c": jnp.asarray(params["c"])}}
    path = save_checkpoint(tmp_path / "checkpoint", variables)
    assert_same_tree(load_checkpoint(path, tree_model(params))["params"], params)


def test_large_arrays_are_chunked_as_flax_does(tmp_path, monkeypatch, tree_model, assert_same_tree):
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 64)
    params = {"a": np.arange(100, dtype=np.float32).reshape(4, 25)}
    path = save_checkpoint(tmp_path / "checkpoint", params)
    assert b"__msgpack_chunked_array__" in path.read_bytes()
    assert_same_tree(load_checkpoint(path, tree_model(params))["params"], params)
    assert_same_tree(serialization.msgpack_restore(path.read_bytes())["params"], params)


def test_failure_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint_1"
    save_checkpoint(path, {"a": np.ones(1)})
    before = path.read_bytes()

    def fail(leaf):
        raise OSError("disk full")

    monkeypatch.setattr(serialization, "msgpack_serialize", fail)
    with pytest.raises(CheckpointError, match="checkpoint_1: cannot be written: disk full"):
        save_checkpoint(path, {"a": np.zeros(1)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_array_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"params/a/b: cannot be saved.* str"):
        save_checkpoint(tmp_path / "checkpoint", {"a": {"b": "text"}})
    assert list(tmp_path.iterdir()) == []
