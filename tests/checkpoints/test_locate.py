import sys

import pytest

from jax_vtm.checkpoints import CheckpointError
from jax_vtm.checkpoints.locate import locate_checkpoint


def test_missing_path_lists_what_looks_like_a_checkpoint(tmp_path):
    for name in ("checkpoint_3", "model.safetensors", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError) as caught:
        locate_checkpoint(tmp_path / "checkpoint_4")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'checkpoint_4'}: no such file or directory")
    assert f"looks like a checkpoint in {tmp_path}: checkpoint_3, model.safetensors." in message


def test_missing_path_where_nothing_looks_like_a_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing in .* looks like a checkpoint"):
        locate_checkpoint(tmp_path / "checkpoint")


def test_missing_parent(tmp_path):
    with pytest.raises(CheckpointError, match=r"its parent directory .* does not exist either"):
        locate_checkpoint(tmp_path / "no" / "checkpoint")


def test_directory_without_checkpoints_lists_its_content(tmp_path):
    (tmp_path / "weights.safetensors").touch()
    (tmp_path / "checkpoint_5.tmp").touch()
    with pytest.raises(CheckpointError, match=r"holds no checkpoint.*checkpoint_5\.tmp, weights\.safetensors"):
        locate_checkpoint(tmp_path)


def test_empty_directory(tmp_path):
    with pytest.raises(CheckpointError, match="It holds nothing"):
        locate_checkpoint(tmp_path)


def test_highest_step_wins_by_number(tmp_path):
    for name in ("checkpoint_99", "checkpoint_100", "checkpoint", "checkpoint_101.tmp"):
        (tmp_path / name).touch()
    assert locate_checkpoint(tmp_path).name == "checkpoint_100"


def test_unfinished_highest_step_is_not_passed_over(tmp_path):
    (tmp_path / "checkpoint_1").touch()
    (tmp_path / "checkpoint_2").mkdir()
    with pytest.raises(CheckpointError, match="checkpoint_2: a directory that orbax did not write"):
        locate_checkpoint(tmp_path)


def test_home_directory_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "checkpoint").touch()
    assert str(locate_checkpoint("~/checkpoint")) == str(tmp_path / "checkpoint")


def test_cloud_path_without_its_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(CheckpointError, match=r"gs://bucket/checkpoint: .*pip install gcsfs"):
        locate_checkpoint("gs://bucket/checkpoint")
