"""The page of a comparison, and its text for the terminal."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.comparison.equal_cost import equal_cost_sections, equal_cost_text
from jax_vtm.errors import shown
from jax_vtm.reports import Column, Figure, Interval, Page, Table
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
from jax_vtm.reports.page import Section, sections_page
from jax_vtm.reports.runs import accuracy_figure
from jax_vtm.reports.table import TERMINAL_WIDTH

Results = Mapping[str, Any]

FLIPS_LISTED = 500

CHANGES = {
    "lost": "correct only in the baseline",
    "gained": "correct only in the run",
    "changed": "changed, and correct or wrong in both",
}


def _p_value(probability: float) -> str:
    if probability < 0.001:
        return "< 0.001"
    return f"{probability:.2f}" if probability >= 0.1 else f"{probability:.3f}"


def _score(value: float) -> str:
    return scientific(value) if 0 < value < 1e-3 else number(value)


_RUN = Column("run", "run")
_ACCURACIES = (
    Column("metric", "metric"),
    Column(
        "difference",
        "difference",
        "points",
        points,
        "Accuracy of the run minus the baseline's, with a 95 % bootstrap interval over videos.",
    ),
    Column("run_share", "accuracy", "%", percent, "Share of videos that are correct, with a 95 % Wilson interval."),
    Column("baseline_share", "baseline's", "%", percent),
    Column("only_run", "only run", "", str, "Videos that only one of the two gets right."),
    Column("only_baseline", "only baseline", "", str),
    Column("mcnemar_p", "McNemar p", "", _p_value, "McNemar's exact test, two-sided."),
)
_AGREEMENT = Column(
    "agreement", "agreement", "%", percent, "Share of videos with the same prediction in every head, correct or wrong."
)
_SCORES = (
    Column("scores", "scores"),
    Column("mean", "mean", "", _score, "Absolute difference of the scores, over all videos and classes."),
    Column("largest", "largest", "", _score),
    Column("where", "where"),
)


def comparison_page(results: Results, flips: Sequence[Results]) -> Page:
    """Makes the page from the content of `compare.json` and the changed predictions."""
    entries, accuracies = results["comparisons"], _accuracy_table(results)
    unlabelled = "" if accuracies.rows else "Neither file has labels, so accuracy was not compared."
    sections = [
        Section("Accuracy", unlabelled, [_accuracy_figure(entries)], accuracies),
        *equal_cost_sections(results["equal_cost"]),
        Section("Agreement", table=_agreement_table(results)),
    ]
    for entry in entries:
        suffix = f": {_names(entry)}" if len(entries) > 1 else ""
        sections += [*_classes(entry, suffix), _flips(entry, flips, suffix)]
    return sections_page(
        {"name": results["name"] or "comparison"},
        "comparison",
        f"{plural(results['videos']['compared'], 'video')} compared",
        headline(entries),
        _warnings(results),
        [*sections, Section("How it was compared", facts=_facts(results))],
    )


def comparison_text(results: Results) -> str:
    """Formats the comparison for the terminal."""
    entries = results["comparisons"]
    lines = [textwrap.fill(headline([entry]), TERMINAL_WIDTH) for entry in entries]
    if reached := equal_cost_text(results["equal_cost"]):
        lines += ["", textwrap.fill(reached, TERMINAL_WIDTH)]
    accuracies = _accuracy_table(results)
    columns = [column for column in accuracies.columns if not column.key.startswith("only_")]
    tables = [dataclasses.replace(accuracies, columns=columns), _agreement_table(results)]
    lines += ["", *(table.text() for table in tables if table.rows)]
    for entry in entries:
        changes = ", ".join(f"{count} {change}" for change, count in entry["flips"].items())
        lines.append(textwrap.fill(f"Videos that flip, {shortened(entry['run'])}: {changes}.", TERMINAL_WIDTH))
    lines += [f"\n{textwrap.fill(shown(warning), TERMINAL_WIDTH)}" for warning in _warnings(results)]
    return "\n".join(lines) + "\n"


def headline(entries: Sequence[Results]) -> str:
    """Returns the change of accuracy, unless its interval spans zero, and the agreement."""
    baselines = {entry["baseline"] for entry in entries}
    against = f" against {shortened(*baselines)}" if len(baselines) == 1 else ""
    which = _names(entries[0]) if len(entries) == 1 else f"{len(entries)} runs{against}"
    clauses = [f"{_span([entry['agreement'] for entry in entries], percent)} % of predictions agree"]
    sure = [entry for entry in entries if entry["metric"] and not Interval.of(entry, "difference").spans_zero]
    if sure:
        some = "" if len(sure) == len(entries) else f" in {len(sure)} of them"
        by = _span([entry["difference"] for entry in sure], points)
        clauses.insert(0, f"{accuracy_name(sure[0]['metric'])} changes by {by} points{some}")
    return f"{which}: {'; '.join(clauses)}."


def _names(entry: Results) -> str:
    return f"{shortened(entry['run'])} against {shortened(entry['baseline'])}"


def _warnings(results: Results) -> list[str]:
    """Returns warnings: videos in only one of the two, and the files' notes."""
    videos = results["videos"]
    sides = {"only_ours": results["ours"], "only_theirs": results["theirs"] or results["ours"]}
    parts = [f"{videos[key]} only in {side['path']}" for key, side in sides.items() if videos[key]]
    missing = f"Not all videos are in both: {', '.join(parts)}. All numbers are of the other {videos['compared']}."
    return [missing] * bool(parts) + results["notes"]


def _accuracy_table(results: Results) -> Table:
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


def _agreement_table(results: Results) -> Table:
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
    place = f"{found['video']}, class {found['class']}" if found["largest"] else "identical"
    return f"{place}{without}"


def _accuracy_figure(entries: Sequence[Results]) -> Figure:
    found: dict[str, Results] = {}
    for entry in entries:
        for which in ("baseline", "run"):
            found.setdefault(entry[which], {key: metric[which] for key, metric in entry["metrics"].items()})
    keys = [key for key in entries[0]["metrics"] if key.endswith("top1")]
    return accuracy_figure(found, keys, ", which may overlap although the paired difference is significant")


def _classes(entry: Results, suffix: str) -> list[Section]:
    runs = [
        {"name": entry[which], "classes": {head: counts[which] for head, counts in entry["classes"].items()}}
        for which in ("baseline", "run")
    ]
    return class_sections(runs, {}, suffix)


def _flips(entry: Results, flips: Sequence[Results], suffix: str) -> Section:
    title = f"Videos that flip{suffix}"
    own = [flip for flip in flips if (flip["run"], flip["baseline"]) == (entry["run"], entry["baseline"])]
    if not own:
        return Section(title, "No prediction changes.")
    own.sort(key=lambda flip: list(CHANGES).index(flip["change"]))
    counts = entry["flips"]
    parts = "; ".join(f"{counts[kind]} {words}" for kind, words in CHANGES.items() if counts[kind] and entry["metric"])
    summary = f"The prediction of {plural(len(own), 'video')} changes{f': {parts}' if parts else ''}."
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
