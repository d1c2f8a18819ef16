import json
import pathlib

import numpy as np
import pytest

from jax_vtm import errors as exit_codes
from jax_vtm.benchmarks import data as benchmark_data
from jax_vtm.benchmarks.data import FILMS, Film
from jax_vtm.config import default_config
from jax_vtm.data import ClipProtocol, VideoItem, load_frames
from jax_vtm.data.films import write_film

SHORT = Film(
    "short.mp4",
    "libx264",
    {"preset": "veryfast"},
    fps=10,
    seconds=1,
    height=32,
    width=64,
    name="Short, 2x3 views",
    protocol=ClipProtocol(2, 2, short_side=32, crop=32, num_clips=2, num_crops=3),
)


def test_the_command_leaves_a_table(tmp_path, capsys):
    config = default_config("tiny")
    assert benchmark_data.run(config, tmp_path, films=[SHORT], rounds=2, loaded_videos=5) == exit_codes.SUCCESS
    results = json.loads((tmp_path / "benchmark_data.json").read_text())
    (row,) = results["rows"]
    assert row["film"] == "Short, 2x3 views"
    assert row["protocol"]["num_clips"] == 2
    for measure in ("decoding_cpu_ms_per_video", "loading_cpu_ms_per_video", "loading_videos_per_s"):
        assert {"jax_vtm", "PyAV"} <= set(row[measure])
        assert min(row[measure].values()) > 0
    assert results["machine"]["av"]
    printed = capsys.readouterr().out
    assert printed.startswith("Short, 2x3 views\n  decoding, CPU ms per video: jax_vtm ")
    assert f"{row['loading_over_best_other']:.2f} times the speed of the best other" in printed


def test_everybody_delivers_the_same_views(tmp_path):
    """Not scaled, their pixels are the same; so frames, crops and order are."""
    path: pathlib.Path = tmp_path / "short.mp4"
    write_film(path, SHORT)
    ours = load_frames(VideoItem("a", path), SHORT.protocol)
    assert ours.shape == (6, 2, 32, 32, 3)
    for read in (benchmark_data._plain_pyav, *benchmark_data._decord().values()):
        np.testing.assert_array_equal(read(path, SHORT.protocol), ours)


@pytest.mark.parametrize("film", FILMS, ids=lambda film: film.name)
def test_films_are_long_enough_for_their_clips(film):
    protocol = film.protocol
    assert protocol.num_frames * protocol.stride <= film.fps * film.seconds
    assert protocol.crop <= protocol.short_side <= min(film.height, film.width)


def test_ratios_are_of_neighbours_in_time():
    seconds = {"jax_vtm": [1.0, 10.0, 1.0], "PyAV": [2.0, 20.0, 3.0], "decord": [3.0, 5.0, 2.0]}
    assert benchmark_data._over_best_other(seconds) == 2.0
