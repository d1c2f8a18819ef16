"""The page's section on published numbers: what is comparable beside ours, everything else by itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import wording
from jax_vtm.reports.markup import cell, details, row_head, safe, table
from jax_vtm.reports.published import Apart, Beside, PublishedResult, set_beside

_NOTE = (
    "Published numbers of this architecture and data set. A run stands beside one only if protocol, reduction and "
    "metric are the same in every value that decides them; whether the weights are the same, and all videos were "
    "there, this page cannot know."
)

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


def published_section(results: Mapping[str, Any]) -> str:
    """What others have published of the results' model and data set; empty where that is nothing.

    Args:
        results: What `results.json` holds.
    """
    beside, apart = set_beside(results)
    if not beside and not apart:
        return ""
    rows = [*(entry.published for entry in beside), *(entry.published for entry in apart)]
    # Named once, since every row has one and they are long.
    sources = list(dict.fromkeys(row.source for row in rows))
    listed = "; ".join(f"[{number}] {source}" for number, source in enumerate(sources, start=1))
    return (
        f"<p>{safe(_NOTE)}</p>\n{_beside(beside, sources)}{_apart(apart, sources)}{_why_lower(rows)}"
        f'<p class="caption">Sources: {safe(listed)}.</p>\n'
    )


def _beside(entries: Sequence[Beside], sources: Sequence[str]) -> str:
    if not entries:
        return "<p>None of these runs is comparable with a published number.</p>\n"
    heads = [
        ("run", "text"),
        ("metric", "text"),
        ("ours", "number"),
        ("published", "number"),
        ("difference", "number"),
        ("of", "text"),
        ("source", "text"),
    ]
    rows = []
    for entry in entries:
        label, published = wording.metric_label(entry.metric), entry.published
        cells = [
            cell(label, label, "text"),
            cell(wording.percent(entry.ours["value"]), entry.ours["value"], below=wording.interval(entry.ours)),
            cell(_accuracy(published), published.accuracy),
            cell(wording.points(entry.difference), entry.difference, below=_inside(entry)),
            cell(published.model, published.model, "text"),
            _source(published, sources),
        ]
        rows.append(f"<tr>{row_head(entry.run)}{''.join(cells)}</tr>\n")
    return table("Our numbers beside published ones", heads, rows)


def _apart(entries: Sequence[Apart], sources: Sequence[str]) -> str:
    if not entries:
        return ""
    heads = [
        ("published", "text"),
        ("reduction", "text"),
        ("metric", "text"),
        ("accuracy", "number"),
        ("views", "text"),
        ("not compared", "text"),
        ("source", "text"),
    ]
    rows = []
    for entry in entries:
        row = entry.published
        label, reduction = wording.metric_label(row.metric), _reduction(row)
        cells = [
            cell(reduction, reduction, "text"),
            cell(label, label, "text"),
            cell(_accuracy(row), row.accuracy),
            cell(row.views.replace("x", wording.TIMES), row.views, "text"),
            cell(entry.reason, entry.reason, "text wrapped"),
            _source(row, sources),
        ]
        rows.append(f"<tr>{row_head(row.model)}{''.join(cells)}</tr>\n")
    noun = "number" if len(entries) == 1 else "numbers"
    summary = f"{len(entries)} published {noun} under another protocol or reduction, which are not comparable"
    return details(summary, table("Published numbers that are not comparable", heads, rows))


def _why_lower(rows: Sequence[PublishedResult]) -> str:
    """What the paper does otherwise than the authors, where both have numbers of Kinetics-400 without a reduction."""
    top1 = [row for row in rows if (row.dataset, row.metric, row.mode) == ("kinetics400", "top1", "none")]
    paper, authors = ([row for row in top1 if row.protocol == name] for name in ("paper", "standard"))
    if not paper or not authors:
        return ""
    best = max(authors, key=lambda row: row.accuracy)
    facts = [fact.format(views=best.views.replace("x", wording.TIMES)) for fact in _OF_ANY_MODEL]
    items = "".join(f"<li>{safe(fact)}</li>" for fact in [*facts, _OF_ONE_MODEL[best.family]])
    summary = (
        f"Why the paper has {_accuracy(paper[0])} without merging where the model's authors have {_accuracy(best)}"
    )
    return details(summary, f"<ul>{items}</ul>\n")


def _source(row: PublishedResult, sources: Sequence[str]) -> str:
    number = sources.index(row.source) + 1
    return cell(f"[{number}]", number, "text", hint=row.source)


def _accuracy(row: PublishedResult) -> str:
    """With the digits that were published."""
    return f"{row.accuracy:.{row.decimals}f} %"


def _inside(entry: Beside) -> str:
    low, high = entry.ours.get("low"), entry.ours.get("high")
    if not (wording.known(low) and wording.known(high)):
        return ""
    return "within our interval" if low <= entry.published.accuracy / 100 <= high else "outside our interval"


def _reduction(row: PublishedResult) -> str:
    if row.mode == "none":
        return "none"
    threshold = f", threshold {row.threshold:g}" if row.threshold is not None else ""
    return f"{row.mode.replace('_', ' ')} r={row.r}{threshold}"
