"""From what a user gives to the file or directory that is read; what cannot be read is refused."""

import json
import os

import pytest
from checkpoint_cases import refusal, spacetime_model
from etils import epath

from jax_vtm.checkpoints import CheckpointError, checkpoint_digest
from jax_vtm.checkpoints.locate import locate_checkpoint


@pytest.mark.parametrize(
    ("there", "given", "said"),
    [
        (
            ["checkpoint_3", "model.safetensors", "notes.txt"],
            "checkpoint_4",
            "/checkpoint_4: no such file or directory. What looks like a checkpoint in {}: checkpoint_3, "
            "model.safetensors.",
        ),
        (["notes.txt"], "checkpoint", "nothing in {} looks like a checkpoint"),
        ([], "no/checkpoint", "its parent directory {}/no does not exist either"),
        (["weights.safetensors", "checkpoint_5.tmp"], "", "It holds checkpoint_5.tmp, weights.safetensors."),
        ([], "", "this directory holds no checkpoint: neither `checkpoint`"),
        ([], "", "It holds nothing"),
        (["checkpoint_1", "checkpoint_2/"], "", "checkpoint_2: a directory that orbax did not write"),
        ([], "a\0b", "a\\x00b: no such file or directory"),
        ([], "a" * 5000, ": no such file or directory"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(tmp_path, there, given, said):
    for name in there:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    with pytest.raises(CheckpointError) as caught:
        locate_checkpoint(tmp_path / given)
    assert said.format(tmp_path) in str(caught.value)


def test_the_highest_step_is_taken_and_a_home_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "checkpoint").touch()
    assert str(locate_checkpoint("~")) == str(tmp_path / "checkpoint")
    for name in ("checkpoint_99", "checkpoint_100", "checkpoint_101.tmp"):
        (tmp_path / name).touch()
    assert locate_checkpoint(tmp_path).name == "checkpoint_100"
    with pytest.raises(CheckpointError, match="no such checkpoint ships in the package; there is "):
        locate_checkpoint("embedded:none")


def test_directories_and_clouds_that_cannot_be_read(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(epath.Path(tmp_path)), "iterdir", refuse)
    assert "cannot be read: [Errno 13] Permission denied" in refusal(tmp_path, spacetime_model())

    def missing(self):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(type(epath.Path("gs://bucket/x")), "exists", missing)
    with pytest.raises(CheckpointError, match=r"gs://bucket/checkpoint: .*pip install gcsfs"):
        locate_checkpoint("gs://bucket/checkpoint")


@pytest.mark.parametrize("name", ["checkpoint", "model.safetensors", "checkpoint_7"])
def test_pipes_and_devices_are_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for path in (tmp_path / name, tmp_path):
        assert f"{name}: is a named pipe, expected a regular file" in refusal(path, spacetime_model())
        with pytest.raises(CheckpointError, match="named pipe"):
            checkpoint_digest(path)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    assert "is a device" in refusal(tmp_path / name, spacetime_model())


def test_pipes_among_parts_and_in_directories_are_refused(tmp_path):
    (tmp_path / "index.json").write_text(json.dumps({"weight_map": {"a": "part.safetensors"}}))
    os.mkfifo(tmp_path / "part.safetensors")
    assert "named pipe" in refusal(tmp_path / "index.json", spacetime_model())
    (tmp_path / "orbax" / "d").mkdir(parents=True)
    os.mkfifo(tmp_path / "orbax" / "_METADATA")
    assert "named pipe" in refusal(tmp_path / "orbax", spacetime_model())
    (tmp_path / "orbax" / "_METADATA").unlink()
    (tmp_path / "orbax" / "manifest.ocdbt").touch()
    (tmp_path / "orbax" / "d" / "loop").symlink_to(tmp_path / "orbax")
    os.mkfifo(tmp_path / "orbax" / "d" / "pipe")
    assert "pipe: is a named pipe" in refusal(tmp_path / "orbax", spacetime_model())
