import re
import time
import types

import numpy as np
import pytest

from jax_vtm.data import Failure
from jax_vtm.evaluation import BatchResult, Processes, ResumeState
from jax_vtm.evaluation import progress as progress_module
from jax_vtm.evaluation.progress import EvaluationProgress, Progress


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


def result(scores, labels, failures=()):
    """One variant's logits of one view, by head, and the labels."""
    count = len(next(iter(scores.values())))
    return BatchResult(
        indices=np.arange(count, dtype=np.int32),
        ids=tuple(map(str, range(count))),
        labels={head: np.array(values, np.int32) for head, values in labels.items()},
        failures={100 + k: Failure(name, "broken") for k, name in enumerate(failures)},
        logits={"merged": {head: np.array(values, np.float32)[:, None] for head, values in scores.items()}},
        step_s={},
        compile_s={},
        wall_s=1.0,
        data_wait_s=0.0,
        batch_size=count,
        devices="1 x cpu",
    )


@pytest.mark.parametrize(
    ("labels", "expected"), [({"verb": [0, 1, 2, 0], "noun": [3, 2, 0, 2]}, ", merged 50.0 %"), ({}, "")]
)
def test_an_evaluation_says_how_many_videos_are_right_in_every_head(capsys, tmp_path, labels, expected):
    verb, noun = np.eye(3)[[0, 1, 2, 2]], np.eye(4)[[3, 1, 0, 2]]
    verb[3] = np.nan
    both = result({"verb": verb, "noun": noun}, labels, ["a"])
    protocol = types.SimpleNamespace(num_views=1, view_average="logits")
    with Processes(30.0) as processes, ResumeState(tmp_path / "resume", {}) as state:
        state.results.append(both)
        with EvaluationProgress(processes, state, 9, 4, protocol) as progress:
            progress.add(both)
    assert capsys.readouterr().err.rstrip().endswith(f"0:00 left{expected}, 1 failed")


def test_what_takes_long_is_spoken_of_and_not_counted_in_what_is_left(monkeypatch, capsys):
    monkeypatch.setattr(progress_module, "SECONDS_OF_SILENCE", 0.05)
    monkeypatch.setattr(progress_module, "SECONDS_OF_SILENCE_IN_A_LOG", 0.05)
    with monkeypatch.context() as another:
        another.setattr("jax.distributed.is_initialized", lambda: True)
        another.setattr("jax.process_index", lambda: 1)
        with progress_module.waiting("not the first process"):
            time.sleep(0.1)
    with progress_module.waiting("short"):
        pass
    assert capsys.readouterr().err == ""
    with progress_module.waiting("compiling 1 of 2"):
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "compiling 1 of 2"
    assert re.fullmatch(r"compiling 1 of 2, 0:0\d so far", lines[1])

    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    with Progress(10, "clips", lines_every=0) as shown:
        now[0] = 100
        shown.leave_out(98)
        shown.advance(1)
    assert capsys.readouterr().err == "1/10 clips, 0.5 clips/s, 0:18 left\n"
