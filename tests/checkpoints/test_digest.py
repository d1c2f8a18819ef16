import hashlib
import os
import shutil

import numpy as np
import pytest

from jax_vtm.checkpoints import CheckpointError, checkpoint_digest, digest, load_checkpoint, save_checkpoint


def test_file_digest_is_sha256(golden):
    path = golden / "checkpoints" / "vivit_spacetime" / "legacy_2021" / "checkpoint"
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint_digest(path) == expected
    assert checkpoint_digest(str(path.parent)) == expected


def test_orbax_directory(golden, tmp_path):
    source = golden / "checkpoints" / "vivit_spacetime" / "new_orbax" / "checkpoint_1234"
    expected = checkpoint_digest(source)
    assert len(expected) == 64
    copy = tmp_path / "checkpoint_1"
    shutil.copytree(source, copy)
    assert checkpoint_digest(copy) == expected
    assert checkpoint_digest(tmp_path) == expected
    (copy / "commit_success.txt").rename(copy / "other.txt")
    assert checkpoint_digest(copy) != expected


def test_changed_byte_changes_the_digest(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"x" * 2_999_999 + b"y")
    assert checkpoint_digest(tmp_path / "a") != checkpoint_digest(tmp_path / "b")


@pytest.mark.parametrize("loaded", [True, False])
def test_a_file_is_read_once(tmp_path, monkeypatch, tree_model, loaded):
    params = {"a": np.ones(3, np.float32)}
    path = save_checkpoint(tmp_path / "checkpoint", params)
    os.utime(path, (0, 0))  # what was written just now is read again, in case that it changes again
    if loaded:
        load_checkpoint(path, tree_model(params))
    else:
        checkpoint_digest(path)
    monkeypatch.setattr(digest.HashedFile, "read", lambda *_: pytest.fail("read again"))
    assert checkpoint_digest(tmp_path) == hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.undo()
    path.write_bytes(b"another")
    os.utime(path, (0, 0))
    assert checkpoint_digest(path) == hashlib.sha256(b"another").hexdigest()


def test_nothing_there(tmp_path):
    with pytest.raises(CheckpointError, match="no such file or directory"):
        checkpoint_digest(tmp_path / "checkpoint")
