"""Writing checkpoints, and their fingerprints."""

import hashlib
import os
import pathlib
import shutil

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from checkpoint_cases import SCENICS, TreeModel, assert_same_tree, scenic_params, spacetime_model
from flax import serialization
from flax.traverse_util import flatten_dict

from jax_vtm.checkpoints import (
    CheckpointError,
    checkpoint_digest,
    digest,
    load_checkpoint,
    read_train_state,
    save_checkpoint,
)

ONE = {"a": np.ones(3, np.float32)}


def test_what_is_written_is_what_we_and_flax_read(tmp_path):
    written = save_checkpoint(tmp_path / "new" / "weights", scenic_params(), step=12)
    assert str(written) == str(tmp_path / "new" / "weights")
    assert_same_tree(load_checkpoint(written, spacetime_model()), scenic_params())
    state = serialization.msgpack_restore(written.read_bytes())
    assert_same_tree(state.pop("params"), scenic_params())
    digest = hashlib.sha256(written.read_bytes()[:-64]).hexdigest()
    assert state.pop("metadata") == {"sha256_of_all_before": digest}
    assert state == {"opt_state": {}, "global_step": 12, "model_state": {}, "rng": None}
    assert save_checkpoint(tmp_path, ONE, step=30) == tmp_path / "checkpoint_30"
    assert sorted(child.name for child in tmp_path.iterdir()) == ["checkpoint_30", "new"]


def test_variables_and_jax_arrays(tmp_path):
    params = {"a": {"b": np.asarray([1.0, 2.0], np.float32)}, "c": np.asarray([3.0], ml_dtypes.bfloat16)}
    variables = {"params": {"a": {"b": jnp.asarray(params["a"]["b"])}, "c": jnp.asarray(params["c"])}}
    assert_same_tree(load_checkpoint(save_checkpoint(tmp_path / "checkpoint", variables), TreeModel(params)), params)


def test_large_arrays_are_chunked_as_flax_does(tmp_path, monkeypatch):
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 64)
    params = {"a": np.arange(100, dtype=np.float32).reshape(4, 25)}
    path = save_checkpoint(tmp_path / "checkpoint", params)
    assert b"__msgpack_chunked_array__" in path.read_bytes()
    assert_same_tree(load_checkpoint(path, TreeModel(params)), params)
    assert_same_tree(serialization.msgpack_restore(path.read_bytes())["params"], params)


def test_failure_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = save_checkpoint(tmp_path / "checkpoint_1", ONE)
    before = path.read_bytes()

    def fail(leaf):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(serialization, "msgpack_serialize", fail)
    with pytest.raises(CheckpointError, match="checkpoint_1: cannot be written: No space left"):
        save_checkpoint(path, {"a": np.zeros(1)})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(path / "checkpoint", ONE)
    with pytest.raises(CheckpointError, match=r"params/a/b: cannot be saved.* str"):
        save_checkpoint(path, {"a": {"b": "text"}})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_read_train_state_gives_all_that_was_saved(tmp_path):
    path = save_checkpoint(tmp_path / "checkpoint_3", ONE, step=3, opt_state={"0": {"mu": np.ones(2)}})
    state = read_train_state(path)
    assert state["global_step"] == 3
    assert flatten_dict(state["opt_state"], sep="/")["0/mu"].tolist() == [1, 1]
    assert_same_tree(state["params"], ONE)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="truncated"):
        read_train_state(path)
    with pytest.raises(CheckpointError, match="there is no such file"):
        read_train_state(tmp_path / "none")


# Fingerprints.


def test_a_files_digest_is_its_sha256(tmp_path):
    path = SCENICS / "vivit_spacetime" / "legacy_2021" / "checkpoint"
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint_digest(path) == checkpoint_digest(str(path.parent)) == expected
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"x" * 2_999_999 + b"y")
    assert checkpoint_digest(tmp_path / "a") != checkpoint_digest(tmp_path / "b")
    with pytest.raises(CheckpointError, match="no such file or directory"):
        checkpoint_digest(tmp_path / "checkpoint")


def test_an_orbax_directorys_digest_covers_names_and_content(tmp_path):
    source = SCENICS / "vivit_spacetime" / "new_orbax" / "checkpoint_1234"
    expected = checkpoint_digest(source)
    assert len(expected) == 64
    copy = tmp_path / "checkpoint_1"
    shutil.copytree(source, copy)
    assert checkpoint_digest(copy) == checkpoint_digest(tmp_path) == expected
    (copy / "commit_success.txt").rename(copy / "other.txt")
    assert checkpoint_digest(copy) != expected


@pytest.mark.parametrize("loaded", [True, False])
def test_a_file_is_read_once(tmp_path, monkeypatch, loaded):
    path = pathlib.Path(save_checkpoint(tmp_path / "checkpoint", ONE))
    os.utime(path, (0, 0))  # what was written just now is read again, in case that it changes again
    if loaded:
        load_checkpoint(path, TreeModel(ONE))
    else:
        checkpoint_digest(path)
    monkeypatch.setattr(digest.HashedFile, "read", lambda *_: pytest.fail("read again"))
    assert checkpoint_digest(tmp_path) == hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.undo()
    path.write_bytes(b"another")
    os.utime(path, (0, 0))
    assert checkpoint_digest(path) == hashlib.sha256(b"another").hexdigest()
