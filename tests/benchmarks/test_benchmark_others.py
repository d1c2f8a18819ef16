"""What else `benchmark` measures: loading, attention, matching and merging by themselves, data-parallel steps."""

import csv
import json

import numpy as np
import pytest

from jax_vtm import errors as exit_codes
from jax_vtm.benchmarks import command, data, parts, scaling
from jax_vtm.benchmarks.videos import EncodedVideo, written_video
from jax_vtm.config import default_config
from jax_vtm.data import ClipProtocol, VideoItem, load_frames
from jax_vtm.errors import UserError
from jax_vtm.models.attention.chunked import Tile
from jax_vtm.timing import Seconds

VIDEO = EncodedVideo("short.mp4", "libx264", {"preset": "veryfast"}, fps=10, seconds=1, height=32, width=64)
SHORT = data.Kind("Short, 2x3 views", VIDEO, ClipProtocol(2, 2, short_side=32, crop=32, num_clips=2, num_crops=3))


def rows_of(what, workdir, capsys, config=None):
    """The rows that the command leaves, the same in all of its files."""
    config = config or default_config("tiny")
    config.benchmark.what = what
    assert command.run(config, workdir) == exit_codes.SUCCESS
    results = json.loads((workdir / f"benchmark_{what}.json").read_text())
    lines = (workdir / f"benchmark_{what}.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == results["rows"]
    with (workdir / f"benchmark_{what}.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(lines)
    assert results["measured"]["machine"]["cores"] >= 1
    printed = capsys.readouterr().out.splitlines()
    assert max(map(len, printed[:-1])) <= 80
    assert "<h2>How it was measured</h2>" in (workdir / f"benchmark_{what}" / "report.html").read_text()
    return results["rows"]


def test_loading_has_a_row_for_every_measure(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data, "KINDS", (SHORT,))
    config = default_config("tiny")
    config.benchmark.update(rounds=2, videos=5)
    rows = rows_of("data", tmp_path, capsys, config)
    assert len(list(tmp_path.glob("*/5 of short/*.mp4"))) == 5
    assert [row["measure"] for row in rows] == list(data.MEASURES)
    for row in rows:
        assert (row["video"], row["protocol"]["num_clips"]) == ("Short, 2x3 views", 2)
        assert min(row[name]["median"] for name in ("jax_vtm", "PyAV", "over_best_other")) > 0


def test_every_reader_delivers_the_same_views(tmp_path):
    """Not scaled, their pixels are the same; so frames, crops and order are."""
    path = written_video(VIDEO, tmp_path)
    ours = load_frames(VideoItem("a", path), SHORT.protocol)
    assert ours.shape == (6, 2, 32, 32, 3)
    for read in (data._plain_pyav, *data._decord().values()):
        np.testing.assert_array_equal(read(path, SHORT.protocol), ours)


@pytest.mark.parametrize("kind", data.KINDS, ids=lambda kind: kind.name)
def test_videos_are_long_enough_for_their_clips(kind):
    assert kind.protocol.num_frames * kind.protocol.stride <= kind.file.fps * kind.file.seconds
    assert kind.protocol.crop <= kind.protocol.short_side <= min(kind.file.height, kind.file.width)


def test_a_reader_is_compared_with_the_best_other_of_the_same_round():
    seconds = {"jax_vtm": [1.0, 10.0, 1.0], "PyAV": [2.0, 20.0, 3.0], "decord": [3.0, 5.0, 2.0]}
    rounds = [{name: Seconds(found[place], 0.0) for name, found in seconds.items()} for place in range(3)]
    row = data.row_of("loading, videos/s", rounds, videos=4)
    assert row["over_best_other"]["median"] == 2.0
    assert row["PyAV"]["median"] == 4 / 3


def test_every_part_is_measured_with_every_backend_that_runs_here(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(parts, "TOKENS", (29,))
    monkeypatch.setattr(parts, "TILES", {29: [Tile(8), Tile(29, 3)]})
    monkeypatch.setattr(parts, "ROUNDS", 2)
    monkeypatch.setattr(parts, "SECONDS", 1e-4)
    config = default_config("tiny")
    config.model.dtype = "bfloat16"
    rows = rows_of("parts", tmp_path, capsys, config)
    assert [(row["part"], row["backend"]) for row in rows] == [
        *(("attention", name) for name in ("xla", "chunked")),
        *(("matching", name) for name in ("xla", "chunked")),
        *(("merging", name) for name in ("scatter", "sorted", "one_hot")),
        *(("tiles", name) for name in ("chosen", "8 queries", "3 heads")),
    ]
    assert all(row["ms"]["median"] > 0 and row["speed"]["median"] > 0 for row in rows)


def test_training_steps_are_compared_with_the_unmerged_one_of_the_same_round(tmp_path, capsys):
    config = default_config("tiny")
    tiny = {"num_frames": 4, "image_size": 16, "patch_size": (2, 4, 4), "hidden_size": 16, "num_layers": 1}
    config.model = {"name": "vivit_moving_digits", "dtype": "float32", **tiny, "num_heads": 2, "mlp_dim": 32}
    config.benchmark.update(axes="reduction.r=0,12 batch=2", rounds=3, min_seconds=0.0)
    # Of the default config's experiments the truncated one is not trained.
    config.benchmark.grids = ({}, {"truncated": True})
    unmerged, merged = rows_of("training", tmp_path, capsys, config)
    assert (unmerged["name"], merged["name"], merged["reduction"]["r"]) == ("unmerged", "merge r=12", 12)
    assert unmerged["mac_ratio"] == 1 < merged["mac_ratio"] == unmerged["macs_per_clip"] / merged["macs_per_clip"]
    seconds = [row["measured"]["seconds"] for row in (unmerged, merged)]
    assert merged["measured"]["speedup"]["median"] == sorted(a / b for a, b in zip(*seconds, strict=True))[1]
    assert merged["measured"]["clips_per_s"]["median"] == 2 / sorted(seconds[1])[1]
    assert unmerged["measured"]["speedup"]["median"] == 1


def test_every_number_of_devices_and_processes_is_measured_in_processes_of_its_own(tmp_path, capsys, monkeypatch):
    for name, value in {"STEPS": 3, "DEVICES": (2,), "PROCESSES": (2,), "BACKENDS": ("pmap",)}.items():
        monkeypatch.setattr(scaling, name, value)
    rows = rows_of("scaling", tmp_path, capsys)
    assert [(row["processes"], row["devices"], row["backend"]) for row in rows] == [(1, 2, "pmap"), (2, 1, "pmap")]
    assert all(row["empty_batch_ms"] > 0 and row["vivit_clips_per_s"] > 0 for row in rows)


def test_what_goes_wrong_in_its_processes_is_told():
    with pytest.raises(
        UserError, match=r"measuring 1 processes of 1 devices with pjit failed:(?s:.*)backend is 'pjit'"
    ):
        scaling._measured(1, 1, "pjit")
