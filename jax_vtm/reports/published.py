"""Published accuracies, `paper.csv` and `authors.csv`, and a page's section that compares ours with them.

Comparable is what has the same architecture, data set, protocol in every value, reduction and metric. That the weights
are the same is for the reader to know.
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
from jax_vtm.reports.sections import Section
from jax_vtm.reports.table import Column, Interval, Table

# The paper's table, and what the models' own authors say of their checkpoints.
FILES = ("paper.csv", "authors.csv")

Row = Mapping[str, Any]

# How cells that are no text are read.
_READ = {
    "r": int,
    "inflection": float,
    "threshold": float,
    "proportional_attention": {"True": True, "False": False}.__getitem__,
    "frames_per_s": float,
    "speedup": float,
}

# What the paper's code and configs do otherwise than the models' authors, on Kinetics-400; of any model, and of one.
_OF_ANY_MODEL = (
    "The paper sees one view of a video, one clip and one crop; the authors average over {views} views. "
    "Of a single clip, its code starts at the first frame of the video, not in the middle."
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
    """Reads all rows in the order of the files, with the files' columns; an empty cell is None, `accuracy` is a text.

    `preset` is the same architecture here, `protocol` one of `jax_vtm.data.published_protocol`, `accuracy` in percent,
    `views` clips x crops; from `mode` to `head_aggregation` the fields of a reduction; speeds are those of the paper.
    """
    folder = importlib.resources.files("jax_vtm.reports")
    return tuple(
        {key: _READ.get(key, str)(cell) if cell else None for key, cell in row.items()}
        for name in FILES
        for row in csv.DictReader(folder.joinpath(name).read_text("utf-8").splitlines())
    )


def published_section(results: Mapping[str, Any]) -> Section | None:
    """What others have published of the results' model and data set, and ours; None where that is nothing."""
    wanted = ((results.get("model") or {}).get("name"), results["dataset"].get("name"))
    rows = [row for row in published_results() if row["preset"] and (row["preset"], row["dataset"]) == wanted]
    if not rows:
        return None
    # Named once, since every row has one and they are long.
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
        "whether the weights are the same, and all videos were there, this page cannot know."
    )
    folded = []
    if others:
        title = f"{len(others)} published under another protocol or reduction, not comparable"
        folded.append(Section(title, table=Table("Published numbers that are not comparable", _OTHERS, others)))
    return Section(
        "Published numbers",
        text if compared else f"{text} No run here is comparable with a published number.",
        table=Table("Our numbers and published ones", _COMPARED, compared) if compared else None,
        folded=[*folded, *_why_lower(rows)],
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
    """The values in which a protocol is not the published one; empty if it is."""
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
    # Of dropped tokens all sizes are one, so that there is nothing for attention to be proportional to.
    if row["mode"] in ("merge", "random_merge", "hybrid"):
        asked.append("proportional_attention")
    if row["mode"] == "hybrid":
        asked.append("threshold")
    return all(reduction.get(name) == row[name] for name in asked)


def _why_lower(rows: list[Row]) -> list[Section]:
    """What the paper does otherwise than the authors, where both have numbers of Kinetics-400 without a reduction."""
    top1 = [row for row in rows if (row["dataset"], row["metric"], row["mode"]) == ("kinetics400", "top1", "none")]
    paper, authors = ([row for row in top1 if row["protocol"] == name] for name in ("paper", "standard"))
    if not paper or not authors:
        return []
    best = max(authors, key=lambda row: float(row["accuracy"]))
    reasons = _OF_ANY_MODEL.format(views=best["views"].replace("x", TIMES))
    title = f"Why the paper has {paper[0]['accuracy']} % without merging where the model's authors have "
    return [Section(f"{title}{best['accuracy']} %", f"{reasons} {_OF_ONE_MODEL[best['family']]}")]
