"""Published numbers for a page: what is comparable beside ours, everything else by itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports.formatting import TIMES, known, metric_label, percent, points
from jax_vtm.reports.published import Apart, Beside, PublishedResult, set_beside
from jax_vtm.reports.table import Column, Interval, Table

# What the paper's code and configs do otherwise than the models' authors, on Kinetics-400; of any model, and of one.
_OF_ANY_MODEL = (
    "The paper sees one view of a video, one clip and one crop; the authors average over {views} views.",
    "Of a single clip, its code starts at the first frame of the video, not in the middle.",
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


def published_section(results: Mapping[str, Any]) -> dict[str, Any] | None:
    """What others have published of the results' model and data set; None where that is nothing.

    Args:
        results: What `results.json` holds.

    Returns:
        {beside, apart, lower, sources}: two tables or None, (summary, reasons) or None, and lines.
    """
    beside, apart = set_beside(results)
    rows = [entry.published for entry in (*beside, *apart)]
    if not rows:
        return None
    # Named once, since every row has one and they are long.
    sources = {source: f"[{number}]" for number, source in enumerate(dict.fromkeys(row.source for row in rows), 1)}
    return {
        "beside": _beside(beside, sources) if beside else None,
        "apart": _apart(apart, sources) if apart else None,
        "lower": _why_lower(rows),
        "sources": [f"{number} {source}" for source, number in sources.items()],
    }


def _beside(entries: Sequence[Beside], sources: Mapping[str, str]) -> Table:
    columns = [
        Column("run", "run"),
        _METRIC,
        Column("ours", "ours", "%", percent),
        Column("published", "published (%)"),
        Column("difference", "difference", "points", points),
        Column("inside", "published is"),
        Column("model", "of"),
        _SOURCE,
    ]
    rows = [
        {
            "run": entry.run,
            "metric": metric_label(entry.metric),
            "ours": Interval.of(entry.ours),
            "published": _accuracy(entry.published),
            "difference": entry.difference,
            "inside": _inside(entry),
            "model": entry.published.model,
            "source": sources[entry.published.source],
        }
        for entry in entries
    ]
    return Table("Our numbers beside published ones", columns, rows)


def _apart(entries: Sequence[Apart], sources: Mapping[str, str]) -> Table:
    columns = [
        Column("model", "published"),
        Column("reduction", "reduction"),
        _METRIC,
        Column("accuracy", "accuracy (%)"),
        Column("views", "views"),
        Column("reason", "not compared"),
        _SOURCE,
    ]
    rows = [
        {
            "model": entry.published.model,
            "reduction": _reduction(entry.published),
            "metric": metric_label(entry.published.metric),
            "accuracy": _accuracy(entry.published),
            "views": entry.published.views.replace("x", TIMES),
            "reason": entry.reason,
            "source": sources[entry.published.source],
        }
        for entry in entries
    ]
    return Table("Published numbers that are not comparable", columns, rows)


def _why_lower(rows: Sequence[PublishedResult]) -> tuple[str, list[str]] | None:
    """What the paper does otherwise than the authors, where both have numbers of Kinetics-400 without a reduction."""
    top1 = [row for row in rows if (row.dataset, row.metric, row.mode) == ("kinetics400", "top1", "none")]
    paper, authors = ([row for row in top1 if row.protocol == name] for name in ("paper", "standard"))
    if not paper or not authors:
        return None
    best = max(authors, key=lambda row: row.accuracy)
    reasons = [fact.format(views=best.views.replace("x", TIMES)) for fact in _OF_ANY_MODEL]
    summary = (
        f"Why the paper has {_accuracy(paper[0])} % without merging where the model's authors have {_accuracy(best)} %"
    )
    return summary, [*reasons, _OF_ONE_MODEL[best.family]]


def _accuracy(row: PublishedResult) -> str:
    """With the digits that were published."""
    return f"{row.accuracy:.{row.decimals}f}"


def _inside(entry: Beside) -> str:
    low, high = entry.ours.get("low"), entry.ours.get("high")
    if not (known(low) and known(high)):
        return ""
    return "within our interval" if low <= entry.published.accuracy / 100 <= high else "outside our interval"


def _reduction(row: PublishedResult) -> str:
    if row.mode == "none":
        return "none"
    threshold = f", threshold {row.threshold:g}" if row.threshold is not None else ""
    return f"{row.mode.replace('_', ' ')} r={row.r}{threshold}"
