"""What a training run shows while it goes on: `train.csv`, and a page with curves that renews itself."""

import csv
import io
import math
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from jax_vtm.files import AnyPath, write_table
from jax_vtm.reports import Column, Figure, Interval, Table, plots
from jax_vtm.reports.formatting import head_label, number, percent, plural
from jax_vtm.reports.page import Page, Section, sections_page
from jax_vtm.training import TrainingSettings, learning_rate_schedule

SECONDS_BETWEEN_WRITES = 20.0
# What a curve is drawn of, next to the accuracies, and its name.
CURVES = {"loss": "loss", "learning_rate": "learning rate", "gradient_norm": "gradient norm", "clips_per_s": "clips/s"}


class TrainingLog:
    """Rows of metrics by step, on disk from time to time.

    Args:
        name: Of the run.
        settings: How it trains.
        workdir: Where its files go; None writes none.
    """

    def __init__(self, name: str, settings: TrainingSettings, workdir: AnyPath | None):
        self._name, self._workdir = name, workdir
        self._steps, self._batch_size = settings.steps, settings.batch_size
        self._schedule = learning_rate_schedule(settings)
        self._rows: list[dict[str, float]] = []
        self._evaluations: list[dict[str, Any]] = []
        self._written = time.monotonic()
        # Drawing takes seconds, in which devices would wait.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="training page")
        self._writing: Future[None] | None = None

    def begin(self, done: int) -> None:
        """Goes on after so many steps, with the rows of these."""
        self._rows = [row for row in self._read("train.csv") if row["step"] <= done]
        self._evaluations = [row for row in self._read("evaluations.csv") if row["step"] <= done]

    def add(self, step: int, metrics: Mapping[str, float]) -> dict[str, float]:
        """Adds a row, and returns it without the step but with the last learning rate."""
        row = {**metrics, "learning_rate": float(np.asarray(self._schedule(step - 1)))}
        self._rows.append({"step": step, **row})
        if time.monotonic() - self._written > SECONDS_BETWEEN_WRITES and (
            self._writing is None or self._writing.done()
        ):
            self.write()
        return row

    def evaluated(self, step: int, scores: Mapping[str, float]) -> None:
        """Adds an evaluation: the share that is right, by run."""
        self._evaluations.append({"step": step, **scores})
        self.write()

    def write(self, *, finished: bool = False) -> None:
        """Writes all of it in a thread, which is waited for at the end; the page renews itself until then."""
        self._written = time.monotonic()
        if self._workdir is None or not self._rows:
            return
        if self._writing is not None:
            self._writing.result()
        rows, evaluations = list(self._rows), list(self._evaluations)
        self._writing = self._thread.submit(self._write, self._workdir, rows, evaluations, finished)
        if finished:
            self._writing.result()
            self._thread.shutdown()

    def _write(self, workdir: AnyPath, rows: list[dict], evaluations: list[dict], finished: bool) -> None:
        write_table(workdir / "train.csv", rows)
        write_table(workdir / "evaluations.csv", evaluations)
        self._page(rows, evaluations, finished).write(workdir)

    def _page(self, rows: list[dict], evaluations: list[dict], finished: bool) -> Page:
        last = rows[-1]
        sections = [Section("While it trains", figures=_curves(rows) if len(rows) > 1 else (), facts=self._facts(last))]
        if evaluations:
            runs = [Column(name, name, "%", percent) for name in evaluations[0] if name != "step"]
            found = [{**row, "step": str(int(row["step"]))} for row in evaluations]
            table = Table("Share that is right", [Column("step", "step"), *runs], found)
            sections.append(Section("Evaluated", table=table))
        done = "finished" if finished and last["step"] == self._steps else "under way"
        headline = f"Training is {done}: step {int(last['step'])} of {self._steps}, loss {last['loss']:.3f}"
        page = sections_page({"name": self._name}, "training", "training", headline, [], sections)
        renewed = f'<head>\n<meta http-equiv="refresh" content="{SECONDS_BETWEEN_WRITES:g}">'
        return page if finished else Page(page.html.replace("<head>", renewed, 1), page.figures)

    def _facts(self, last: Mapping[str, float]) -> list[tuple[str, str]]:
        """How it went since the row before the last one, and how long it takes at that speed."""
        minutes = (self._steps - last["step"]) * self._batch_size / last["clips_per_s"] / 60
        accuracies = [f"{label}{percent(last[name])} %" for name, label in _accuracies(last).items()]
        waited = f"{percent(last['data_wait'])} % of the time waiting for clips"
        facts = [
            ("Accuracy", f"{', '.join(accuracies)} of the last clips that it was trained on"),
            ("Speed", f"{number(last['clips_per_s'])} clips/s, {waited}"),
        ]
        if minutes:
            facts.append(("Left", f"{plural(math.ceil(minutes), 'minute')}, evaluations apart"))
        return facts

    def _read(self, name: str) -> list[dict[str, Any]]:
        path = self._workdir / name if self._workdir is not None else None
        if path is None or not path.is_file():
            return []
        rows = csv.DictReader(io.StringIO(path.read_text()))
        return [{key: float(value) for key, value in row.items() if value} for row in rows]


def _accuracies(row: Mapping[str, float]) -> dict[str, str]:
    """The heads, as prefixes, by the names of their accuracies."""
    return {name: head_label(name.removesuffix("/accuracy")) for name in row if name.endswith("/accuracy")}


def _curves(rows: list[dict]) -> list[Figure]:
    """Each value is a mean over the steps since the one before, which is why they are drawn as steps."""
    steps = [int(row["step"]) for row in rows]
    curves = {name: (label, 1) for name, label in CURVES.items()}
    curves |= {name: (f"{label}accuracy (%)", 100) for name, label in _accuracies(rows[-1]).items()}
    return [
        plots.lines(
            name.replace("/", "_"),
            label[:1].upper() + label[1:],
            [plots.Series(name, steps, [Interval(scale * row[name]) for row in rows])],
            x_label="step",
            y_label=label,
            steps=True,
        )
        for name, (label, scale) in curves.items()
    ]
