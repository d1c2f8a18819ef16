"""Published accuracies as data: the csv files beside this one."""

import csv
import dataclasses
import functools
import importlib.resources
import io

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
        decimals: Digits behind the point that were published.
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
    """

    family: str
    preset: str
    model: str
    dataset: str
    metric: str
    accuracy: float
    decimals: int
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
    return PublishedResult(
        family=row["family"],
        preset=row["preset"],
        model=row["model"],
        dataset=row["dataset"],
        metric=row["metric"],
        accuracy=float(row["accuracy"]),
        decimals=len(row["accuracy"].partition(".")[2]),
        protocol=row["protocol"],
        views=row["views"],
        mode=row["mode"],
        r=int(row["r"]),
        inflection=_number(row["inflection"]),
        threshold=_number(row["threshold"]),
        proportional_attention={"": None, "True": True, "False": False}[row["proportional_attention"]],
        head_aggregation=row["head_aggregation"] or None,
        frames_per_s=_number(row["frames_per_s"]),
        speedup=_number(row["speedup"]),
        source=row["source"],
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
