import csv
import resource
import tempfile

import numpy as np
import pytest

from jax_vtm import errors as exit_codes
from jax_vtm.commands import prepare
from jax_vtm.config import default_config
from jax_vtm.data import VideoFolder, write_h264
from jax_vtm.data.sources.tfds_records import TfdsVideos
from jax_vtm.errors import UserError
from jax_vtm.lock import held

FIELDS = {
    "num_classes": {"noun": 300, "verb": 97},
    "image_size": 16,
    "num_frames": 4,
    "patch_size": (2, 4, 4),
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "mlp_dim": 32,
}


@pytest.fixture
def config(tmp_path):
    """A config of a folder of three videos, one of them broken."""
    config = default_config("tiny")
    config.model = {"name": "vivit_moving_digits", "dtype": "float32", "attention": "auto", **FIELDS}
    config.data.path = str(tmp_path / "videos")
    (tmp_path / "videos").mkdir()
    for name in "ac":
        write_h264(tmp_path / "videos" / f"{name}.mp4", np.zeros((4, 16, 16, 3), np.uint8))
    (tmp_path / "videos" / "b.mp4").write_bytes(b"broken")
    (tmp_path / "videos" / "labels.csv").write_text("video,verb,noun\na.mp4,1,2\nb.mp4,3,4\nc.mp4,5,6\n")
    return config


@pytest.mark.parametrize(("name", "builder"), [("epic_kitchens_100", "epic_kitchens_100"), ("mine", "videos")])
def test_a_folder_becomes_records_and_a_list_of_failures(config, tmp_path, capsys, name, builder):
    config.data.name, config.data.kind = name, "folder"
    assert prepare.run(config, tmp_path / "out") == exit_codes.TOO_MANY_FAILED
    printed = capsys.readouterr()
    folder = tmp_path / "out" / "tfds" / builder / "files" / "1.0.0"
    assert f"wrote {folder}: 2 of 3 videos" in printed.out
    assert "1 left out" in printed.out
    assert "3/3 videos" in printed.err
    assert "1 failed" in printed.err
    with (tmp_path / "out" / "failures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["b.mp4"]
    assert "not a video" in rows[0]["reason"]

    source = VideoFolder(config.data.path)
    stored = TfdsVideos(folder, num_classes=FIELDS["num_classes"])
    assert [(item.id, item.labels) for item in stored] == [(source[n].id, source[n].labels) for n in (0, 2)]


def test_failures_may_be_allowed_and_those_of_earlier_runs_are_forgotten(config, tmp_path):
    config.data.max_failures = 1
    assert prepare.run(config, tmp_path / "out") == exit_codes.SUCCESS
    assert (tmp_path / "out" / "failures.csv").exists()
    with pytest.raises(UserError, match="there are records already"):
        prepare.run(config, tmp_path / "out")
    (tmp_path / "videos" / "b.mp4").write_bytes((tmp_path / "videos" / "a.mp4").read_bytes())
    config.data.path = str(tmp_path / "videos")
    assert prepare.run(config, tmp_path / "again") == exit_codes.SUCCESS
    assert not (tmp_path / "again" / "failures.csv").exists()


def test_nothing_to_read_is_an_error_that_names_what_failed(config, tmp_path):
    for name in "ac":
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(b"")
    with pytest.raises(UserError, match="none of the 3 videos can be read"):
        prepare.run(config, tmp_path / "out")
    assert (tmp_path / "out" / "failures.csv").read_text().count("the file is empty") == 2


def test_a_full_disk_and_a_file_in_the_place_of_the_folder(config, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"out/tfds/.* cannot be written: .*too large"):
            prepare.run(config, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "out").rglob("*incomplete*"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*cannot be written"):
        prepare.run(config, tmp_path / "file")


def test_only_one_at_a_time(config, tmp_path):
    with held(tmp_path / "out" / "prepare.lock"), pytest.raises(UserError, match="another run is at work"):
        prepare.run(config, tmp_path / "out")


def test_what_a_kill_left_is_removed_and_nothing_is_left(config, tmp_path, monkeypatch):
    config.data.max_failures = 1
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    files = tmp_path / "out" / "tfds" / "videos" / "files"
    for left in (files / "incomplete.AB12CD_1.0.0", files.parents[1] / "incomplete.xyz" / "extracted"):
        left.mkdir(parents=True)
        (left / "videos-validation.array_record-00000-of-00001").write_bytes(bytes(100))
    assert prepare.run(config, tmp_path / "out") == exit_codes.SUCCESS
    assert [path.name for path in files.iterdir()] == ["1.0.0"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["failures.csv", "tfds"]
    assert [path.name for path in (tmp_path / "out" / "tfds").iterdir()] == ["videos"]
    assert not list((tmp_path / "temporary").iterdir())
