"""Published accuracies (`paper.csv` and `authors.csv`), and the section that compares ours with them.

Numbers are comparable if architecture, data set, every value of the protocol, reduction and metric are the same.
"""

import csv
import dataclasses
import functools
import importlib.resources
from collections.abc import Mapping
from typing import Any

from jax_vtm.data import published_protocol
from jax_vtm.data.source import SINGLE_HEAD
from jax_vtm.errors import UserError
from jax_vtm.reports.formatting import TIMES, metric_label, percent, points
from jax_vtm.reports.page import Section
from jax_vtm.reports.table import Column, Interval, Table

FILES = ("paper.csv", "authors.csv")  # of the paper's tables, and of the models' authors

Row = Mapping[str, Any]

_TYPES = {
    "r": int,
    "inflection": float,
    "threshold": float,
    "proportional_attention": {"True": True, "False": False}.__getitem__,
    "frames_per_s": float,
    "speedup": float,
}

# Differences between the paper's and the authors' evaluations on Kinetics-400.
_OF_ANY_MODEL = (
    "The paper uses one view of a video, one clip and one crop; the authors average over {views} views. "
    "Its code takes a single clip from the first frame of the video, not from the middle."
)
_OF_ONE_MODEL = {
    "videomae": (
        "It takes 16 consecutive frames, about half a second; the checkpoint was trained on every fourth frame."
    ),
    "vivit": (
        "Its configs for ViViT leave mean and standard deviation at PySlowFast's 0.45 and 0.225; the checkpoint "
        "expects 0.5 and 0.5."
    ),
}

_METRIC, _SOURCE = Column("metric", "metric"), Column("source", "source")
_COMPARED = (
    Column("run", "run"),
    _METRIC,
    Column("ours", "ours", "%", percent),
    Column("accuracy", "published (%)"),
    Column("difference", "difference", "points", points),
    Column("inside", "published is"),
    Column("model", "of"),
    _SOURCE,
)
_OTHERS = (
    Column("model", "published"),
    Column("reduction", "reduction"),
    _METRIC,
    Column("accuracy", "accuracy (%)"),
    Column("views", "views"),
    Column("reason", "not compared"),
    _SOURCE,
)


@functools.cache
def published_results() -> tuple[Row, ...]:
    """Reads all rows of the files; an empty cell is None.

    `preset` is our model, `protocol` one of `jax_vtm.data.published_protocol`, `accuracy` a text in percent, `views`
    clips x crops; `mode` to `head_aggregation` are the fields of a reduction; speeds are those of the paper.
    """
    folder = importlib.resources.files("jax_vtm.reports")
    return tuple(
        {key: _TYPES.get(key, str)(cell) if cell else None for key, cell in row.items()}
        for name in FILES
        for row in csv.DictReader(folder.joinpath(name).read_text("utf-8").splitlines())
    )


def published_section(results: Mapping[str, Any]) -> Section | None:
    """Makes the section of published numbers of the results' model and data set; None if there are none."""
    wanted = ((results.get("model") or {}).get("name"), results["dataset"].get("name"))
    rows = [row for row in published_results() if row["preset"] and (row["preset"], row["dataset"]) == wanted]
    if not rows:
        return None
    sources = {source: f"[{number}]" for number, source in enumerate(dict.fromkeys(row["source"] for row in rows), 1)}
    differing = {row["protocol"]: _differing_values(results.get("protocol") or {}, row) for row in rows}
    compared, found = [], []
    for run in results["runs"]:
        for metric, ours in (run.get("metrics") or {}).items():
            for row in rows:
                same = row["metric"] == metric.removeprefix(f"{SINGLE_HEAD}/")
                if same and not differing[row["protocol"]] and _same_reduction(run.get("reduction") or {}, row):
                    found.append(row)
                    compared.append(_shown(row, sources) | _comparison(run["name"], ours, row))
    others = [
        _shown(row, sources) | {"reason": _reason(differing[row["protocol"]])} for row in rows if row not in found
    ]
    text = (
        "A run is compared with a published number only if protocol, reduction and metric are the same in every value; "
        "weights and the list of videos are not compared."
    )
    title = f"{len(others)} published under another protocol or reduction, not comparable"
    return Section(
        "Published numbers",
        text if compared else f"{text} No run here is comparable with a published number.",
        table=Table("Our numbers and published ones", _COMPARED, compared),
        folded=[
            Section(title, table=Table("Published numbers that are not comparable", _OTHERS, others)),
            *_why_lower(rows),
        ],
        caption=f"Sources: {'; '.join(f'{number} {source}' for source, number in sources.items())}.",
    )


def _shown(row: Row, sources: Mapping[str, str]) -> dict[str, Any]:
    threshold = "" if row["threshold"] is None else f", threshold {row['threshold']:g}"
    return {
        **row,
        "reduction": "none" if row["mode"] == "none" else f"{row['mode'].replace('_', ' ')} r={row['r']}{threshold}",
        "metric": metric_label(row["metric"]),
        "views": row["views"].replace("x", TIMES),
        "source": sources[row["source"]],
    }


def _comparison(run: str, measured: Mapping[str, Any], row: Row) -> dict[str, Any]:
    ours, theirs = Interval.of(measured), float(row["accuracy"]) / 100
    where = "within" if ours.low <= theirs <= ours.high else "outside"
    inside = f"{where} our interval" if ours.is_known else ""
    return {"run": run, "ours": ours, "difference": ours.value - theirs, "inside": inside}


def _reason(differing: list[str]) -> str:
    return f"another protocol: {', '.join(differing)}" if differing else "no run here has this reduction and metric"


def _differing_values(protocol: Mapping[str, Any], row: Row) -> list[str]:
    """Returns the names of the values in which a protocol differs from the published one."""
    sizes = {key: protocol.get(key, 0) for key in ("num_frames", "crop")}
    try:
        theirs = published_protocol(row["protocol"], row["family"], row["dataset"], **sizes)
    except UserError:
        return ["frames or pixels"]
    return [
        name.replace("_", " ")
        for name, value in dataclasses.asdict(theirs).items()
        if protocol.get(name) != (list(value) if isinstance(value, tuple) else value)
    ]


def _same_reduction(reduction: Mapping[str, Any], row: Row) -> bool:
    asked = ["mode"]
    if "none" not in (row["mode"], reduction.get("mode")):
        asked += ["r", "inflection", "head_aggregation"]
    # Dropping leaves all sizes at 1, so that proportional attention changes nothing.
    if row["mode"] in ("merge", "random_merge", "hybrid"):
        asked.append("proportional_attention")
    if row["mode"] == "hybrid":
        asked.append("threshold")
    return all(reduction.get(name) == row[name] for name in asked)


def _why_lower(rows: list[Row]) -> list[Section]:
    """Explains the difference of the paper's and the authors' accuracies on Kinetics-400 without a reduction."""
    top1 = [row for row in rows if (row["dataset"], row["metric"], row["mode"]) == ("kinetics400", "top1", "none")]
    paper, authors = ([row for row in top1 if row["protocol"] == name] for name in ("paper", "standard"))
    if not paper or not authors:
        return []
    best = max(authors, key=lambda row: float(row["accuracy"]))
    reasons = _OF_ANY_MODEL.format(views=best["views"].replace("x", TIMES))
    title = f"Why the paper has {paper[0]['accuracy']} % without merging where the model's authors have "
    return [Section(f"{title}{best['accuracy']} %", f"{reasons} {_OF_ONE_MODEL[best['family']]}")]
