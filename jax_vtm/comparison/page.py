"""A comparison for a reader: tables for page and terminal, a figure, and the answer in a sentence."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.errors import shown
from jax_vtm.reports import Column, Figure, Interval, Page, Table, plots
from jax_vtm.reports.classes import class_sections
from jax_vtm.reports.formatting import (
    accuracy_name,
    head_label,
    metric_label,
    number,
    percent,
    plural,
    points,
    scientific,
    shortened,
    thousands,
)
from jax_vtm.reports.sections import Section, sections_page
from jax_vtm.reports.table import TERMINAL_WIDTH

Results = Mapping[str, Any]

FLIPS_LISTED = 500

CHANGES = {
    "lost": "right only in the baseline",
    "gained": "right only in the run",
    "changed": "predicted otherwise, and right or wrong in both",
}


def p_value(probability: float) -> str:
    """Writes a p-value as `0.21`, `0.034`, `< 0.001`."""
    if probability < 0.001:
        return "< 0.001"
    return f"{probability:.2f}" if probability >= 0.1 else f"{probability:.3f}"


def score(value: float) -> str:
    """Writes a difference of scores, which may be tiny."""
    return scientific(value) if 0 < value < 1e-3 else number(value)


_RUN = Column("run", "run")
_ACCURACIES = (
    Column("metric", "metric"),
    Column(
        "difference",
        "difference",
        "points",
        points,
        "Of the run's accuracy to the baseline's, with its 95 % bootstrap interval: the same videos drawn again and "
        "again, with replacement.",
    ),
    Column("run_share", "accuracy", "%", percent, "Share of videos that are right, with its 95 % Wilson interval."),
    Column("baseline_share", "baseline's", "%", percent),
    Column(
        "only_run",
        "only run",
        "",
        str,
        "Videos that only one of the two gets right; all others say nothing about a difference.",
    ),
    Column("only_baseline", "only baseline", "", str),
    Column(
        "mcnemar_p",
        "McNemar p",
        "",
        p_value,
        "McNemar's exact test, two-sided: how probable a split at least as uneven would be if each video that only "
        "one of the two gets right were a toss of a fair coin.",
    ),
)
_AGREEMENT = Column(
    "agreement",
    "agreement",
    "%",
    percent,
    "Share of videos for which both predict the same class in every head, right or wrong.",
)
_SCORES = (
    Column("scores", "scores"),
    Column("mean", "mean", "", score, "Absolute difference of the scores, over all videos and classes."),
    Column("largest", "largest", "", score),
    Column("where", "where"),
)


def comparison_page(results: Results, flips: Sequence[Results]) -> Page:
    """Makes the page of what `compare.json` holds: the answer, the tests, agreement, classes, and the `flips`."""
    entries, accuracies = results["comparisons"], accuracy_table(results)
    unlabelled = "" if accuracies.rows else "Neither file has labels, so accuracy was not compared."
    sections = [
        Section("Accuracy", unlabelled, _figures(entries), accuracies if accuracies.rows else None),
        Section("Agreement", table=agreement_table(results)),
    ]
    for entry in entries:
        of = f": {names(entry)}" if len(entries) > 1 else ""
        sections += [*_classes(entry, of), _flips(entry, flips, of)]
    return sections_page(
        {"name": results["name"] or "comparison"},
        "comparison",
        f"{plural(results['videos']['compared'], 'video')} compared",
        headline(entries),
        warnings(results),
        [*sections, Section("How it was compared", facts=_facts(results))],
    )


def comparison_text(results: Results) -> str:
    """Writes the comparison for a terminal: a sentence for each pair of runs, and the tables."""
    entries = results["comparisons"]
    lines = [textwrap.fill(headline([entry]), TERMINAL_WIDTH) for entry in entries]
    accuracies = accuracy_table(results)
    columns = [column for column in accuracies.columns if not column.key.startswith("only_")]
    tables = [dataclasses.replace(accuracies, columns=columns), agreement_table(results)]
    lines += ["", *(table.text() for table in tables if table.rows)]
    for entry in entries:
        changes = ", ".join(f"{count} {change}" for change, count in entry["flips"].items())
        lines.append(textwrap.fill(f"Videos that flip, {shortened(entry['run'])}: {changes}.", TERMINAL_WIDTH))
    lines += [f"\n{textwrap.fill(shown(warning), TERMINAL_WIDTH)}" for warning in warnings(results)]
    return "\n".join(lines) + "\n"


def headline(entries: Sequence[Results]) -> str:
    """Says how accuracy changes, where the sign is known, and how many predictions agree, in two lines at most."""
    baselines = {entry["baseline"] for entry in entries}
    against = f" against {shortened(*baselines)}" if len(baselines) == 1 else ""
    which = names(entries[0]) if len(entries) == 1 else f"{len(entries)} runs{against}"
    clauses = [f"{_span([entry['agreement'] for entry in entries], percent)} % of predictions agree"]
    sure = [entry for entry in entries if entry["metric"] and not Interval.of(entry, "difference").spans_zero]
    if sure:
        some = "" if len(sure) == len(entries) else f" in {len(sure)} of them"
        by = _span([entry["difference"] for entry in sure], points)
        clauses.insert(0, f"{accuracy_name(sure[0]['metric'])} changes by {by} points{some}")
    return f"{which}: {'; '.join(clauses)}."


def names(entry: Results) -> str:
    """Names the two runs of a pair."""
    return f"{shortened(entry['run'])} against {shortened(entry['baseline'])}"


def warnings(results: Results) -> list[str]:
    """Says which videos are in only one of the two, and what else is to be known of the files."""
    videos = results["videos"]
    sides = {"only_ours": results["ours"], "only_theirs": results["theirs"] or results["ours"]}
    parts = [f"{videos[key]} only in {side['path']}" for key, side in sides.items() if videos[key]]
    missing = f"Not all videos are in both: {', '.join(parts)}. Every number is of the other {videos['compared']}."
    return [missing] * bool(parts) + results["notes"]


def accuracy_table(results: Results) -> Table:
    """Every metric of every pair of runs, with its test."""
    rows = [
        {
            "run": entry["run"],
            "metric": metric_label(key),
            "difference": Interval.of(metric, "difference"),
            "run_share": Interval.of(metric["run"]),
            "baseline_share": Interval.of(metric["baseline"]),
            **{column: metric[column] for column in ("only_run", "only_baseline", "mcnemar_p")},
        }
        for entry in results["comparisons"]
        for key, metric in entry["metrics"].items()
    ]
    return Table("Accuracy of every run and its baseline", [_RUN, *_ACCURACIES], rows)


def agreement_table(results: Results) -> Table:
    """How many predictions agree, and how far the scores of every head lie apart."""
    rows = [
        {
            "run": entry["run"],
            "agreement": Interval.of(entry["agreement_counts"]),
            "scores": f"{head_label(head)}{found['kind'] or 'scores'}",
            "mean": found.get("mean"),
            "largest": found.get("largest"),
            "where": found["reason"] if found["kind"] is None else _where(found),
        }
        for entry in results["comparisons"]
        for head, found in entry["scores"].items()
    ]
    return Table("Agreement of every run with its baseline", [_RUN, _AGREEMENT, *_SCORES], rows)


def _where(found: Results) -> str:
    without = f"; {plural(found['n_without'], 'video')} without numbers left out" if found["n_without"] else ""
    place = f"{found['video']}, class {found['class']}" if found["largest"] else "the same to the last digit"
    return f"{place}{without}"


def _figures(entries: Sequence[Results]) -> list[Figure]:
    """The top-1 accuracies of every run and baseline, once each."""
    found: dict[str, Results] = {}
    for entry in entries:
        for which in ("baseline", "run"):
            found.setdefault(entry[which], {key: metric[which] for key, metric in entry["metrics"].items()})
    baselines = {entry["baseline"] for entry in entries}
    keys = [key for key in entries[0]["metrics"] if key.endswith("top1")]
    series = [
        plots.Series(
            name,
            [metric_label(key) for key in keys],
            [Interval.of(metrics.get(key)).scaled(100) for key in keys],
            0 if name in baselines else 1 + (number - 1) % (plots.COLOURS - 1),
            marker=number,
        )
        for number, (name, metrics) in enumerate(found.items())
    ]
    caption = (
        "With 95 % intervals, which may overlap where the difference is certain, since the videos are the same. The "
        "axis does not start at zero."
    )
    return [plots.intervals("accuracy", "Accuracy", series, caption, x_label="videos (%)")] if keys else []


def _classes(entry: Results, of: str) -> list[Section]:
    """The classes that gain and lose, as the page of an evaluation shows them."""
    runs = [
        {"name": entry[which], "classes": {head: counts[which] for head, counts in entry["classes"].items()}}
        for which in ("baseline", "run")
    ]
    return class_sections(runs, {}, of)


def _flips(entry: Results, flips: Sequence[Results], of: str) -> Section:
    """What flips in a sentence, and on request the videos, the lost first."""
    title = f"Videos that flip{of}"
    own = [flip for flip in flips if (flip["run"], flip["baseline"]) == (entry["run"], entry["baseline"])]
    if not own:
        return Section(title, "No video is predicted otherwise.")
    own.sort(key=lambda flip: list(CHANGES).index(flip["change"]))
    counts = entry["flips"]
    said = "; ".join(f"{counts[kind]} {words}" for kind, words in CHANGES.items() if counts[kind] and entry["metric"])
    verb = "is" if len(own) == 1 else "are"
    summary = f"{plural(len(own), 'video')} {verb} predicted otherwise{f': {said}' if said else ''}."
    heads = list(own[0]["heads"])
    which = {"label": "label", "baseline": entry["baseline"], "run": entry["run"]}
    columns = [Column("id", "video"), Column("change", "change")]
    columns += [Column(f"{h} {key}", f"{head_label(h)}{title}") for h in heads for key, title in which.items()]
    rows = [
        {"id": flip["id"], "change": flip["change"]}
        | {f"{head} {key}": flip["heads"][head][key] for head in heads for key in which}
        for flip in own[:FLIPS_LISTED]
    ]
    table = Table(f"Videos that flip, {entry['run']} against {entry['baseline']}", columns, rows)
    more = f"{len(own) - len(rows)} more are in flips.csv." if len(own) > len(rows) else ""
    return Section(title, folded=[Section(summary, table=table)], caption=more)


def _facts(results: Results) -> list[tuple[str, str]]:
    both = results["theirs"] is not None
    sides = {"Run" if both else "Predictions": results["ours"], "Baseline": results["theirs"]}
    videos, bootstrap = results["videos"], results["bootstrap"]
    missing = videos["only_ours"] + videos["only_theirs"]
    without = f", {missing} in only one of the two" if missing else ", the same in both"
    return [
        *(
            (name, f"{side['path']}: {side['kind']}, {plural(side['videos'], 'video')}; {', '.join(side['runs'])}")
            for name, side in sides.items()
            if side
        ),
        ("Videos", f"{videos['compared']} compared{without if both else ''}"),
        ("Bootstrap", f"{thousands(bootstrap['resamples'])} sets of videos, seed {bootstrap['seed']}"),
        ("Software", ", ".join(f"{key} {value}" for key, value in results["environment"].items())),
    ]


def _span(values: Sequence[float], form: Any) -> str:
    low, high = form(min(values)), form(max(values))
    return low if low == high else f"{low} to {high}"
