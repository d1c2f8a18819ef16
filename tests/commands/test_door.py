"""What the command line answers where nothing can be written, and where the program has a fault."""

import errno
import os
import pathlib
import sys
import types
import warnings

import pytest

from jax_vtm import cli
from jax_vtm import errors as exit_codes
from jax_vtm.data import moving_digits

DEFAULT = pathlib.Path(__file__).parents[2] / "configs" / "moving_digits.py"


def run(*words: object) -> int:
    return cli.run(["main.py", "--config.compilation_cache=", *map(str, words)], DEFAULT)


def said(capsys) -> str:
    """The one line that a refusal prints."""
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    return error


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_workdir_that_cannot_be_is_refused_by_every_command(command, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("kept")
    (tmp_path / "link").symlink_to("nowhere")
    refused = {file: file, file / "below" / "it": file, tmp_path / "link": tmp_path / "link"}
    for workdir, named in refused.items():
        assert run(command, f"--workdir={workdir}") == exit_codes.MISTAKE
        assert f"--workdir={workdir}: {named} is there and is no folder" in said(capsys)
    assert file.read_text() == "kept"
    for store in ("az://bucket/runs", "s3://bucket", "GS://x"):
        assert run(command, f"--workdir={store}") == exit_codes.MISTAKE
        assert f"--workdir={store}: results cannot be written to {store.partition('//')[0]}//" in said(capsys)


def test_a_place_that_is_read_only_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert run(f"--workdir={tmp_path / 'a' / 'b'}") == exit_codes.MISTAKE
    assert f"nothing can be written in {tmp_path}." in said(capsys)
    assert run("sweep", "--dry_run", f"--workdir={tmp_path / 'a'}") == exit_codes.SUCCESS, "which writes nothing"


@pytest.mark.parametrize("command", ["evaluate", "sweep", "visualize", "study", "prepare"])
def test_a_disk_that_takes_no_embedded_videos(command, tmp_path, capsys, monkeypatch):
    def full(path, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(moving_digits, "write_h264", full)
    monkeypatch.setenv("JAX_VTM_CACHE", str(tmp_path / "cache"))
    assert run(command, f"--workdir={tmp_path}") == exit_codes.MISTAKE
    error = capsys.readouterr().err.splitlines()[-1]
    assert ".mp4: cannot be written: No space left on device." in error
    assert "JAX_VTM_CACHE" in error


@pytest.mark.parametrize("takes", [0, 1])
def test_a_disk_that_is_full_while_a_checkpoint_is_converted(takes, tmp_path, capsys, monkeypatch):
    written = []

    def fsync(file):
        written.append(file)
        if len(written) > takes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    assert run("convert", f"--workdir={tmp_path}") == exit_codes.MISTAKE
    assert f"{tmp_path / ('checkpoint.sha256' if takes else 'checkpoint')}: cannot be written" in said(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"][:takes]


@pytest.mark.parametrize("error", [ZeroDivisionError("a\x1b[2J\nb"), MemoryError(), BrokenPipeError("of a process")])
def test_what_nobody_foresaw_is_a_sentence_and_a_file(error, tmp_path, capfd, monkeypatch):
    def fails(config, workdir):
        raise error

    monkeypatch.setitem(sys.modules, "jax_vtm.commands.evaluate", types.SimpleNamespace(run=fails))
    assert run(f"--workdir={tmp_path / 'out'}") == exit_codes.FAILURE
    printed = said(capfd)
    assert type(error).__name__ in printed
    assert "\x1b" not in printed
    assert str(tmp_path / "out" / "traceback.txt") in printed
    assert "in fails" in (tmp_path / "out" / "traceback.txt").read_text()


def test_what_is_odd_about_files_is_said_once_and_kept(tmp_path, capsys, monkeypatch):
    def evaluate(config, workdir):
        warnings.warn("video a: states 1000 frames/s", stacklevel=1)  # before there is a workdir
        workdir.mkdir(exist_ok=True)
        for name in ("a", "b\x1b[31m"):
            warnings.warn(f"video {name}: states 1000 frames/s", stacklevel=1)
        return 0

    monkeypatch.setitem(sys.modules, "jax_vtm.commands.evaluate", types.SimpleNamespace(run=evaluate))
    lines = ["video a: states 1000 frames/s", "video b\\x1b[31m: states 1000 frames/s"]
    for _ in range(2):  # the second time as after a stop
        assert run(f"--workdir={tmp_path / 'w'}") == 0
        assert capsys.readouterr().err.splitlines() == [f"warning: {line}" for line in lines]
        assert (tmp_path / "w" / "warnings.txt").read_text().splitlines() == lines


def test_a_traceback_is_kept_elsewhere_where_the_workdir_takes_none(tmp_path, capsys, monkeypatch):
    def fails(config, workdir):
        workdir.write_text("a file in the workdir's place")
        raise ZeroDivisionError

    monkeypatch.setitem(sys.modules, "jax_vtm.commands.evaluate", types.SimpleNamespace(run=fails))
    monkeypatch.setattr(cli.tempfile, "tempdir", str(tmp_path))
    assert run(f"--workdir={tmp_path / 'out'}") == exit_codes.FAILURE
    path = pathlib.Path(said(capsys).split()[-1].removesuffix("."))
    assert path.parent == tmp_path
    assert "ZeroDivisionError" in path.read_text()


def test_a_disk_that_is_full_where_nobody_foresaw_it_is_no_fault(tmp_path, capsys, monkeypatch):
    def fails(config, workdir):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some/file")

    monkeypatch.setitem(sys.modules, "jax_vtm.commands.evaluate", types.SimpleNamespace(run=fails))
    assert run(f"--workdir={tmp_path}") == exit_codes.MISTAKE
    assert "some/file: cannot be written: No space left on device." in said(capsys)
