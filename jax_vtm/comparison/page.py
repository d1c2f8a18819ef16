"""A comparison of predictions as one HTML page that needs nothing outside itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.comparison.text import comparison_headline, difference_interval, missing_note, small
from jax_vtm.reports import svg, wording
from jax_vtm.reports.class_section import class_section
from jax_vtm.reports.document import document
from jax_vtm.reports.markup import cell, details, figure, nonbreaking, row_head, safe, section, table

FLIPS_IN_VIEW = 20
FLIPS_LISTED = 500

_CHANGES = {
    "lost": "right only in the baseline",
    "gained": "right only in the run",
    "changed": "predicted otherwise, and right or wrong in both",
}

_NOTES = (
    ("accuracy", "Share of videos that are right, with its 95 % Wilson interval."),
    (
        "difference",
        "Of the run's accuracy to the baseline's, in percentage points, with its 95 % bootstrap interval: the same "
        "videos drawn again and again, with replacement.",
    ),
    (
        "only run, only baseline",
        "Videos that only one of the two gets right; all others say nothing about a difference.",
    ),
    (
        "McNemar p",
        "McNemar's exact test, two-sided: how probable a split at least as uneven would be if each of these videos "
        "were a toss of a fair coin.",
    ),
    ("agreement", "Share of videos for which both predict the same class in every head, right or wrong."),
    ("mean, largest", "Absolute difference of the scores, over all videos and classes."),
)


def render_comparison(results: Mapping[str, Any], flips: Sequence[Mapping[str, Any]]) -> str:
    """One self-contained HTML page: the answer, the tests, agreement, classes, and the videos that flip.

    Args:
        results: What `compare.json` holds.
        flips: Every video whose prediction is not the same: {"run", "baseline", "id", "change", "heads"}.
    """
    entries = results["comparisons"]
    warnings = [note for note in (missing_note(results), *results["notes"]) if note]
    sections = [
        section("Accuracy", _metrics(entries) + _sentences(entries) + _plot(entries)),
        section("Agreement", _agreement(entries)),
        section("Class by class", "".join(_classes(entry, len(entries) > 1) for entry in entries)),
        section("Videos that flip", "".join(_flips(entry, flips, len(entries) > 1) for entry in entries)),
        section("How it was compared", _compared(results)),
        section("What the columns mean", _facts([(name, safe(text)) for name, text in _NOTES])),
    ]
    eyebrow = " · ".join(part for part in (results["name"], f"{results['videos']['compared']} videos compared") if part)
    return document(results["name"] or "comparison", eyebrow, comparison_headline(results), warnings, sections)


def _sentences(entries: Sequence[Mapping[str, Any]]) -> str:
    """One for each pair of runs, where the page's first sentence is about several."""
    if len(entries) == 1:
        return ""
    items = "".join(f"<li>{nonbreaking(wording.comparison_sentence(entry))}</li>" for entry in entries)
    return f'<ul class="comparisons">{items}</ul>\n'


def _metrics(entries: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for entry in entries:
        for key, metric in entry["metrics"].items():
            label = wording.metric_label(key)
            cells = [
                cell(label, label, "text"),
                cell(wording.points(metric["difference"]), metric["difference"], below=difference_interval(metric)),
                *(_share(metric[which]) for which in ("run", "baseline")),
                cell(str(metric["only_run"]), metric["only_run"]),
                cell(str(metric["only_baseline"]), metric["only_baseline"]),
                cell(wording.p_value(metric["mcnemar_p"]), metric["mcnemar_p"]),
            ]
            rows.append(f"<tr>{row_head(entry['run'])}{''.join(cells)}</tr>\n")
    if not rows:
        return "<p>Neither file has labels, so accuracy was not compared.</p>\n"
    baselines = dict.fromkeys(entry["baseline"] for entry in entries)
    baseline = next(iter(baselines)) if len(baselines) == 1 else "baseline"
    # The answer first: on a phone only the first columns are seen without scrolling.
    numbers = ("difference", "accuracy", baseline, "only run", "only baseline", "McNemar p")
    heads = [("run", "text"), ("metric", "text"), *((text, "number") for text in numbers)]
    return table("Accuracy of every run and its baseline", heads, rows)


def _share(counted: Mapping[str, Any]) -> str:
    value = counted["value"]
    hint = f"{counted['correct']} of {counted['count']}"
    return cell(wording.percent(value), value, below=wording.interval(counted), hint=hint)


def _plot(entries: Sequence[Mapping[str, Any]]) -> str:
    """The accuracies with their intervals, every run and baseline once."""
    found: dict[str, svg.Estimate] = {}
    for entry in entries:
        if not entry["metric"]:
            return ""
        metric = entry["metrics"][entry["metric"]]
        for which in ("baseline", "run"):
            value, low, high = (100 * metric[which][part] for part in ("value", "low", "high"))
            found.setdefault(entry[which], svg.Estimate(entry[which], value, low, high, which == "baseline"))
    title = wording.metric_label(entries[0]["metric"]).capitalize()
    drawing = svg.intervals(f"{title} of every run", list(found.values()))
    caption = (
        "Percent of videos, with the 95 % interval. The intervals may overlap where the difference is certain, since "
        "the videos are the same. The axis does not start at zero."
    )
    return f'<div class="plots">{figure(title, drawing, caption)}</div>'


def _agreement(entries: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for entry in entries:
        for head, found in entry["scores"].items():
            where = f"{found['video']}, class {found['class']}" if found["kind"] else found["reason"]
            numbers = [
                (small(found[key]), found[key]) if found["kind"] else (wording.MISSING, None)
                for key in ("mean", "largest")
            ]
            cells = [
                _share(entry["agreement_counts"]),
                cell(f"{wording.head_label(head)}{found['kind'] or 'scores'}", head, "text"),
                *(cell(text, value) for text, value in numbers),
                cell(where, where, "text wrapped"),
            ]
            rows.append(f"<tr>{row_head(entry['run'])}{''.join(cells)}</tr>\n")
    texts = (
        ("agreement", "number"),
        ("difference of", "text"),
        ("mean", "number"),
        ("largest", "number"),
        ("where", "text"),
    )
    return table("Agreement of every run with its baseline", [("run", "text"), *texts], rows, "sortable fitted")


def _classes(entry: Mapping[str, Any], several: bool) -> str:
    """The classes that gain and lose, as the report of an evaluation shows them."""
    runs = [
        {"name": entry[which], "classes": {head: counts[which] for head, counts in entry["classes"].items()}}
        for which in ("baseline", "run")
    ]
    content = class_section({"runs": runs, "comparison": [entry]}, {}) if entry["classes"] else ""
    return details(f"{entry['run']} against {entry['baseline']}", content) if content and several else content


def _flips(entry: Mapping[str, Any], flips: Sequence[Mapping[str, Any]], several: bool) -> str:
    own = [flip for flip in flips if (flip["run"], flip["baseline"]) == (entry["run"], entry["baseline"])]
    name = f"{entry['run']} against {entry['baseline']}: " if several else ""
    if not own:
        return f"<p>{safe(name)}no video is predicted otherwise.</p>\n"
    own.sort(key=lambda flip: list(_CHANGES).index(flip["change"]))
    counts = entry["flips"]
    said = "; ".join(f"{counts[kind]} {words}" for kind, words in _CHANGES.items() if counts[kind] and entry["metric"])
    noun = "video is" if len(own) == 1 else "videos are"
    sentence = f"{name}{len(own)} {noun} predicted otherwise{f': {said}' if said else ''}."
    heads = list(own[0]["heads"])
    columns = [
        (f"{wording.head_label(head)}{word}", "text")
        for head in heads
        for word in ("label", entry["baseline"], entry["run"])
    ]
    rows = []
    for flip in own[:FLIPS_LISTED]:
        cells = [cell(flip["change"], flip["change"], "text")]
        for head in heads:
            texts = [_class(flip["heads"][head][which]) for which in ("label", "baseline", "run")]
            cells += [cell(text, text, "text") for text in texts]
        rows.append(f"<tr>{row_head(flip['id'])}{''.join(cells)}</tr>\n")
    shown = table("Videos that flip", [("video", "text"), ("change", "text"), *columns], rows, "sortable fitted")
    if len(own) > FLIPS_LISTED:
        shown += f"<p>{len(own) - FLIPS_LISTED} more are in <code>flips.csv</code>.</p>\n"
    if len(own) <= FLIPS_IN_VIEW:
        return f"<p>{nonbreaking(sentence)}</p>\n{shown}"
    return details(sentence, shown)


def _class(value: object) -> str:
    return wording.MISSING if value is None else str(value)


def _compared(results: Mapping[str, Any]) -> str:
    facts = []
    for name, whose in (("Run", results["ours"]), ("Baseline", results["theirs"])):
        if whose:
            runs = ", ".join(whose["runs"])
            text = f"{whose['kind']}, {whose['videos']} videos; {runs}"
            facts.append(
                (name if results["theirs"] else "Predictions", f"<code>{safe(whose['path'])}</code><br>{safe(text)}")
            )
    videos, bootstrap = results["videos"], results["bootstrap"]
    missing = videos["only_ours"] + videos["only_theirs"]
    without = f", {missing} in only one of the two" if missing else ", the same in both"
    resamples = f"{bootstrap['resamples']:,}".replace(",", "\u202f")
    facts += [
        ("Videos", safe(f"{videos['compared']} compared{without if results['theirs'] else ''}")),
        ("Bootstrap", safe(f"{resamples} sets of videos, seed {bootstrap['seed']}")),
        ("Software", safe(", ".join(f"{key} {value}" for key, value in results["environment"].items()))),
    ]
    return _facts(facts)


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{safe(name)}</dt><dd>{text}</dd>' for name, text in facts)}</dl>"
