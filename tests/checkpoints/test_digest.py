import hashlib
import shutil

import pytest

from jax_vtm.checkpoints import CheckpointError, checkpoint_digest


def test_file_digest_is_sha256(golden):
    path = golden / "checkpoints" / "vivit_spacetime" / "legacy_2021" / "checkpoint"
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint_digest(path) == expected
    assert checkpoint_digest(str(path.parent)) == expected


def test_orbax_directory(golden, tmp_path):
    source = golden / "checkpoints" / "vivit_spacetime" / "new_orbax" / "checkpoint_1234"
    digest = checkpoint_digest(source)
    assert len(digest) == 64
    copy = tmp_path / "checkpoint_1"
    shutil.copytree(source, copy)
    assert checkpoint_digest(copy) == digest
    assert checkpoint_digest(tmp_path) == digest
    (copy / "commit_success.txt").rename(copy / "other.txt")
    assert checkpoint_digest(copy) != digest


def test_changed_byte_changes_the_digest(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"x" * 2_999_999 + b"y")
    assert checkpoint_digest(tmp_path / "a") != checkpoint_digest(tmp_path / "b")


def test_nothing_there(tmp_path):
    with pytest.raises(CheckpointError, match="no such file or directory"):
        checkpoint_digest(tmp_path / "checkpoint")
