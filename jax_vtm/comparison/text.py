"""A comparison of predictions in sentences and as plain text."""

import textwrap
from collections.abc import Mapping
from typing import Any

from jax_vtm.reports import wording
from jax_vtm.reports.columns import WIDTH, Column, render


def comparison_headline(results: Mapping[str, Any]) -> str:
    """What the comparison says, in one sentence.

    Args:
        results: What `compare.json` holds.
    """
    entries = results["comparisons"]
    if len(entries) == 1:
        return wording.comparison_sentence(entries[0])
    agreements = [entry["agreement"] for entry in entries]
    baselines = dict.fromkeys(entry["baseline"] for entry in entries)
    against = f" against {next(iter(baselines))}" if len(baselines) == 1 else ""
    agree = f"{_span([100 * value for value in agreements], '.1f')} % of predictions agree"
    known = [entry for entry in entries if entry["metric"]]
    if not known:
        return f"{len(entries)} runs{against}: {agree}."
    low, high = (pick(entry["difference"] for entry in known) for pick in (min, max))
    change = (
        f"{wording.accuracy_name(known[0]['metric'])} changes by {wording.points(low)} to {wording.points(high)} points"
    )
    return f"{len(entries)} runs{against}: {change}; {agree}."


def missing_note(results: Mapping[str, Any]) -> str:
    """A warning where videos are in only one of the two; empty where they are the same."""
    videos = results["videos"]
    parts = [
        f"{videos[key]} only in {whose['path']}"
        for key, whose in (("only_ours", results["ours"]), ("only_theirs", results["theirs"] or results["ours"]))
        if videos[key]
    ]
    if not parts:
        return ""
    return f"Not all videos are in both: {', '.join(parts)}. Every number is of the other {videos['compared']}."


def format_comparison(results: Mapping[str, Any]) -> str:
    """The comparison for a terminal: a sentence for each pair of runs, and the table of their accuracies.

    Args:
        results: What `compare.json` holds.
    """
    entries = results["comparisons"]
    lines = [line for entry in entries for line in textwrap.wrap(wording.comparison_sentence(entry), WIDTH)]
    rows = [(entry, key, metric) for entry in entries for key, metric in entry["metrics"].items()]
    if rows:
        lines += ["", *render(_columns(rows))]
    lines.append("")
    for entry in entries:
        flips = entry["flips"]
        lines.append(
            f"{entry['run']}: {flips['gained']} gained, {flips['lost']} lost, {flips['changed']} otherwise changed"
        )
        lines += [f"{entry['run']}: {score_sentence(head, found)}" for head, found in entry["scores"].items()]
    for note in (*results["notes"], missing_note(results)):
        if note:
            lines += ["", *textwrap.wrap(note, WIDTH)]
    return "\n".join(lines) + "\n"


def score_sentence(head: str, found: Mapping[str, Any]) -> str:
    """How far two runs' scores of a head lie apart, or why that is not known."""
    name = wording.head_label(head)
    if found["kind"] is None:
        return f"{name}scores are not compared: {found['reason']}"
    without = f"; {found['n_without']} videos without numbers left out" if found["n_without"] else ""
    if not found["largest"]:
        return f"{name}{found['kind']} are the same to the last digit{without}"
    return (
        f"{name}{found['kind']} differ by {small(found['mean'])} on average and at most {small(found['largest'])} "
        f"({found['video']}, class {found['class']}){without}"
    )


def small(value: float) -> str:
    """A number that may be tiny, with three significant digits."""
    return f"{value:.2e}" if 0 < abs(value) < 1e-3 else wording.number(value)


def _columns(rows: list[tuple[Mapping[str, Any], str, Mapping[str, Any]]]) -> list[Column]:
    def both(metric: Mapping[str, Any], which: str) -> str:
        return f"{wording.percent(metric[which]['value'])} {wording.interval(metric[which])}"

    return [
        Column("run", [[entry["run"]] for entry, _, _ in rows], left=True),
        Column("metric", [[wording.metric_label(key)] for _, key, _ in rows], left=True),
        Column("accuracy", [[both(metric, "run")] for _, _, metric in rows]),
        Column("baseline's", [[both(metric, "baseline")] for _, _, metric in rows]),
        Column("difference", [[difference(metric)] for _, _, metric in rows]),
        Column("McNemar p", [[wording.p_value(metric["mcnemar_p"])] for _, _, metric in rows]),
    ]


def difference(metric: Mapping[str, Any]) -> str:
    """A difference with its interval, in points."""
    return f"{wording.points(metric['difference'])} {difference_interval(metric)}"


def difference_interval(metric: Mapping[str, Any]) -> str:
    """The interval of a difference, in points."""
    return f"[{wording.points(metric['low'])}, {wording.points(metric['high'])}]"


def _span(values: list[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
