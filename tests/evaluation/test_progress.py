import re
import types

import pytest

from jax_vtm.evaluation.progress import Progress


def test_without_a_terminal_there_is_a_line_now_and_then(capsys):
    with Progress(1000, "clips", start=600, lines_every=0.0) as progress:
        progress.advance(100, "merge r=6 93.1 %, 2 failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"700/1000 clips, \d+\.\d clips/s, 0:00 left, merge r=6 93.1 %, 2 failed", line)
    with Progress(100, "clips", lines_every=100.0) as progress:
        progress.advance(99)
        assert capsys.readouterr().err == ""
        progress.advance(1)
    assert capsys.readouterr().err.startswith("100/100 clips, "), "the end is told in any case"


@pytest.mark.parametrize(("seconds", "left"), [(1, "0:03"), (20, "1:00"), (3000, "2:30:00")])
def test_the_rest_is_estimated_from_this_start_alone(capsys, monkeypatch, seconds, left):
    now = iter([0.0, 0.0, seconds])
    monkeypatch.setattr("jax_vtm.evaluation.progress.time", types.SimpleNamespace(monotonic=lambda: next(now)))
    with Progress(1000, "clips", start=600, lines_every=0.5) as progress:
        progress.advance(100)
    assert f"700/1000 clips, {100 / seconds:.1f} clips/s, {left} left" in capsys.readouterr().err


def test_on_a_terminal_there_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress(1000, "clips", start=600) as progress:
        progress.advance(100, "merge r=6 93.1 %, 2 failed")
    bar = capsys.readouterr().err
    assert "700/1000" in bar
    assert "clips/s, merge r=6 93.1 %, 2 failed" in bar
