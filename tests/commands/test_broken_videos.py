"""Ten of a hundred videos are broken, each in another way; the run finds them all and evaluates the others."""

import csv
import json
import pathlib
import re

import av
import numpy as np
import pytest
from tiny_evaluation import write_config, write_videos

from jax_vtm import cli
from jax_vtm import errors as exit_codes

COUNT = 100


def missing(path: pathlib.Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.mp4")


def folder_in_its_place(path: pathlib.Path) -> None:
    path.unlink()
    path.mkdir()


def sound_alone(path: pathlib.Path) -> None:
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())


def changed(change):
    """A damage that makes a file's bytes into others."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


def flip_a_region(content: bytes) -> bytes:
    """Inverts 256 bytes in the middle of the pictures."""
    start = (content.find(b"mdat") + content.find(b"moov")) // 2
    region = bytes(byte ^ 0xFF for byte in content[start : start + 256])
    return content[:start] + region + content[start + 256 :]


NOT_A_VIDEO = "cannot be read: it is cut short, damaged or not a video"
DAMAGES = {
    "missing": (missing, "there is no such file"),
    "folder": (folder_in_its_place, "is a folder, expected a file"),
    "sound alone": (sound_alone, "there is no video in it, only audio"),
    "empty": (changed(lambda content: b""), r"the file is empty \(0 bytes\)"),
    "half of it": (
        changed(lambda content: content[: len(content) // 2]),
        r"cut short: it has \d+ of at ",
    ),
    "its index cut": (changed(lambda content: content[: content.find(b"moov") + 40]), r"cut short: it has \d+ of at "),
    "garbage at the start": (changed(lambda content: b"\xde\xad\xbe\xef" * 8 + content[32:]), NOT_A_VIDEO),
    "text": (changed(lambda content: b"gone fishing\n" * 50), NOT_A_VIDEO),
    "error page": (changed(lambda content: b"<!DOCTYPE html><html><h1>404 Not Found</h1></html>"), NOT_A_VIDEO),
    "a flipped region": (changed(flip_a_region), r"frame \d \(counted from 0\) is damaged|is damaged after \d frames"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """The config file, and the reason to expect by video."""
    folder = tmp_path_factory.mktemp("broken")
    paths = write_videos(folder / "videos", COUNT)
    chosen = np.random.default_rng(1).permutation(COUNT)[: len(DAMAGES)]
    reasons = {}
    for place, (damage, reason) in zip(chosen, DAMAGES.values(), strict=True):
        damage(paths[place])
        reasons[paths[place].name] = reason
    return write_config(folder, folder / "videos"), reasons


def test_each_damage_is_found_and_named_and_everything_else_counts(broken, tmp_path, capsys):
    config, reasons = broken
    assert len(reasons) == len(DAMAGES) == COUNT // 10
    words = ["main.py", f"--config={config}", f"--workdir={tmp_path}"]
    assert cli.run([*words, "--config.data.max_failures=9"], tmp_path) == exit_codes.TOO_MANY_FAILED
    printed = capsys.readouterr()
    assert "error: 10 videos failed, more than data.max_failures = 9; " in printed.err
    assert "10 failed" in printed.err, "the progress tells of failures, too"
    assert "10 of 100 videos could not be read" in printed.out

    with (tmp_path / "failures.csv").open(newline="") as file:
        failures = {row["id"]: row["reason"] for row in csv.DictReader(file)}
    assert list(failures) == sorted(reasons)
    for video, reason in reasons.items():
        assert re.search(reason, failures[video]), (video, failures[video])

    dataset = json.loads((tmp_path / "results.json").read_text())["dataset"]
    assert (dataset["n_videos"], dataset["n_ok"], dataset["n_failed"]) == (COUNT, COUNT - 10, 10)
    evaluated = np.load(tmp_path / "predictions.npz")["ids"].tolist()
    assert evaluated == sorted({f"{i:03d}.mp4" for i in range(COUNT)} - set(reasons))

    assert cli.run([*words, "--config.data.max_failures=10"], tmp_path) == exit_codes.SUCCESS
