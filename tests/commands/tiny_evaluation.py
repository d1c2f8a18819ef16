"""A whole evaluation that takes a moment: a model with random weights, on videos of a few pixels."""

import dataclasses
import io
import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jax_vtm.benchmarks.inputs import random_params
from jax_vtm.checkpoints import save_checkpoint
from jax_vtm.commands import evaluate
from jax_vtm.data import write_h264
from jax_vtm.evaluation import auto, build
from jax_vtm.files import AnyPath, write_files
from jax_vtm.models import create_model

FIELDS = {
    "num_classes": {"noun": 10, "verb": 8},
    "image_size": 16,
    "num_frames": 4,
    "patch_size": (2, 4, 4),
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "mlp_dim": 32,
}

CONFIG = """
from jax_vtm.config import default_config

def get_config():
    config = default_config("tiny")
    config.checkpoint = {checkpoint!r}
    config.compilation_cache = ""
    config.model = {model!r}
    config.reduction.mode = "random_merge"
    config.reduction.r = 6
    config.data.path = {videos!r}
    config.data.short_side = 16
    config.data.num_clips = 2
    config.data.batch_size = 2
    config.data.max_failures = {max_failures!r}
    return config
"""


def write_videos(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """Writes videos and a labels.csv; from the tenth on, videos are copies of the first nine."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = [folder / f"{i:03d}.mp4" for i in range(count)]
    for i, path in enumerate(paths):
        if i < 9:
            write_h264(path, rng.integers(256, size=(9, 16, 20, 3), dtype=np.uint8))
        else:
            path.write_bytes(paths[i % 9].read_bytes())
    rows = [f"{path.name},{i % 8},{i % 10}" for i, path in enumerate(paths)]
    (folder / "labels.csv").write_text("\n".join(["video,verb,noun", *rows]))
    return paths


def write_config(folder: pathlib.Path, videos: pathlib.Path, max_failures: int = 0) -> pathlib.Path:
    """Writes a checkpoint, and a config file that evaluates it on a folder of videos."""
    model = create_model("vivit_moving_digits", **FIELDS)
    params = random_params(model)
    path = folder / "tiny.py"
    path.write_text(
        CONFIG.format(
            checkpoint=str(save_checkpoint(folder / "checkpoint", params)),
            model={"name": "vivit_moving_digits", "dtype": "float32", "attention": "auto", **FIELDS},
            videos=str(videos),
            max_failures=max_failures,
        )
    )
    return path


def draw_nothing(setattr: Callable[[Any, str, Any], None] = setattr) -> None:
    """Lets `evaluate` write a page without figures, which take most of the time of a run as small as these."""

    class Page:
        def write(self, workdir: AnyPath, others: dict[str, bytes | None]) -> None:
            write_files({workdir / name: content for name, content in {**others, "report.html": b"a page"}.items()})
            # Long enough to be killed in.
            time.sleep(0.05)

    setattr(evaluate, "evaluation_page", lambda *_: Page())
    setattr(evaluate, "merged_tokens", lambda *_, **__: None)


def measure_backends(setattr: Callable[[Any, str, Any], None] = setattr) -> None:
    """Lets "auto" measure on a CPU, with a backend of attention that is wrong on process 0 and right elsewhere.

    Every process prints what attention its models take.
    """
    parts_of, with_fastest = auto.parts_of, auto.with_fastest_backends

    def changed(part):
        backends = dict(part.backends)
        broken = "chunked" if jax.process_index() == 0 else "xla"
        right = backends[broken]
        backends[broken] = lambda *inputs: 2 * right(*inputs)
        return dataclasses.replace(part, backends=backends)

    def registered(model):
        return [changed(part) if part.field == "attention" else part for part in parts_of(model)]

    def said(variants):
        found = with_fastest(variants, platform="gpu")
        print(f"attention is {[one.model.attention.at for one in found]}", file=sys.stderr, flush=True)
        return found

    setattr(auto, "parts_of", registered)
    setattr(build, "with_fastest_backends", said)


def not_measured(workdir: AnyPath) -> dict[str, Any]:
    """Reads results.json without what differs from run to run, or says what ran it."""
    results = json.loads((workdir / "results.json").read_text())
    del results["measured"]
    assert results["environment"].pop("num_processes") >= 1
    assert results["environment"].pop("num_devices") >= 1
    return results


def assert_same_predictions(workdir: AnyPath, expected: AnyPath) -> None:
    ours, theirs = (np.load(io.BytesIO((path / "predictions.npz").read_bytes())) for path in (workdir, expected))
    assert ours.files == theirs.files
    for name in ours.files:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert ours["ids"].tolist() == sorted(ours["ids"])
