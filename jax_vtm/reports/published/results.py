"""Published accuracies as data: the csv files beside this one."""

import csv
import dataclasses
import functools
import importlib.resources
import io
from collections.abc import Callable
from typing import Any

# The paper's table, and what the models' own authors say of their checkpoints.
FILES = ("paper.csv", "authors.csv")


@dataclasses.dataclass(frozen=True)
class PublishedResult:
    """One accuracy that somebody has published.

    Attributes:
        family: `vivit`, `timesformer`, `motionformer` or `videomae`.
        preset: The name of the same architecture here; empty where there is none.
        model: As its source calls it.
        dataset: As `config.data.name` has it.
        metric: `top1`, `top5`, or of several heads `action/top1`, `verb/top1`, `noun/top1`.
        accuracy: Percent.
        protocol: `paper` or `standard`; see `jax_vtm.data.published_protocol`.
        views: Clips x crops, such as `4x3`.
        mode: Of the reduction; `none` without.
        r: Of the reduction.
        inflection: Of its schedule; None without a reduction, as everything below.
        threshold: Of `hybrid`; None in the other modes.
        proportional_attention: Whether attention was proportional.
        head_aggregation: How keys were aggregated over heads.
        frames_per_s: Frames a second on one GPU, by the paper.
        speedup: Its speed over the same without reduction, by the paper.
        source: Where it is published.
        decimals: Digits behind the point of the accuracy that were published.
    """

    family: str
    preset: str
    model: str
    dataset: str
    metric: str
    accuracy: float
    protocol: str
    views: str
    mode: str
    r: int
    inflection: float | None
    threshold: float | None
    proportional_attention: bool | None
    head_aggregation: str | None
    frames_per_s: float | None
    speedup: float | None
    source: str
    decimals: int


# By the types of the fields above; an empty cell is None where that can be.
_READ: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    float | None: lambda text: float(text) if text else None,
    bool | None: lambda text: {"": None, "True": True, "False": False}[text],
    str | None: lambda text: text or None,
}


@functools.cache
def published_results() -> tuple[PublishedResult, ...]:
    """Reads all of them, in the order of the files."""
    folder = importlib.resources.files("jax_vtm.reports.published")
    rows = []
    for name in FILES:
        text = folder.joinpath(name).read_text(encoding="utf-8")
        rows += [_parsed(row) for row in csv.DictReader(io.StringIO(text))]
    return tuple(rows)


def _parsed(row: dict[str, str]) -> PublishedResult:
    values = {field.name: _READ[field.type](row[field.name]) for field in dataclasses.fields(PublishedResult)[:-1]}
    return PublishedResult(**values, decimals=len(row["accuracy"].partition(".")[2]))
