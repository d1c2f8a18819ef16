"""The results as one HTML page that needs nothing outside itself."""

import base64
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import svg, wording
from jax_vtm.reports.classes import Confusions, class_section
from jax_vtm.reports.document import document
from jax_vtm.reports.markup import cell, details, figure, nonbreaking, row_head, safe, section, table
from jax_vtm.reports.picture import Picture
from jax_vtm.reports.published_section import published_section

FAILURES_IN_VIEW = 5
PICTURE_WIDTH = 720  # small pictures are enlarged by whole factors up to about this many CSS pixels

_COLUMN_NOTES = (
    ("clips/s", "Clips through the model per second of wall time, compilation excluded."),
    ("speed-up", "Clips per second over the unmerged run's."),
    ("GMACs", "Multiply-accumulate operations for one clip, in thousand millions, counted from the shapes."),
    ("ratio", "GMACs as a share of the unmerged run's."),
    ("tokens per layer", "Tokens entering each layer, then those leaving the last; a class token counts."),
)
_METRIC_NOTES = {
    "top1": "Share of videos whose label is the model's first class, with its 95 % interval below it.",
    "top5": "Share of videos whose label is among the model's first five classes.",
    "action/top1": "Share of videos for which every head's first class is right.",
    "action/top5_each": "Share of videos for which every head's label is among that head's first five classes; the "
    "PyTorch reference of the method counts this.",
    "action/top5_joint": "Share of videos whose labels are one of the five most likely combinations of the heads' "
    "classes, by the product of their probabilities; Scenic counts this. It asks for more than top-5, each head.",
}
_MEAN_NOTE = (
    "The accuracy of each class, averaged over the classes, so that rare ones count as much as common ones. Classes "
    "without videos are left out."
)


def render_report(
    results: Mapping[str, Any], pictures: Sequence[Picture] = (), confusions: Confusions | None = None
) -> str:
    """One self-contained HTML page: the answer, the table, plots, pictures, and how it was measured.

    It loads nothing from anywhere, follows the reader's light or dark setting, fits a phone and prints.

    Args:
        results: what `results.json` holds.
        pictures: shown in this order, embedded as PNG.
        confusions: {run: {head: matrix}} of videos, rows the true class, columns the predicted one.
    """
    name = str(results.get("name", "results"))
    answer = wording.headline(results)
    notes = [note for note in (wording.failure_note(results), wording.prediction_note(results)) if note]
    sections = [
        section("Results", _table(results) + _comparisons(results)) if results["runs"] else "",
        section("Accuracy and cost" if wording.metric_keys(results) else "Cost", _plots(results)),
        section("What became one token", "".join(picture_figure(picture) for picture in pictures)),
        section("More accuracies", _other_accuracies(results)),
        section("Published numbers", published_section(results)),
        section("Class by class", class_section(results, confusions or {})),
        section("Predictions", _predictions(results)),
        section("Videos that could not be read", failure_table(results)),
        section("How it was measured", measured_facts(results)),
        section("What the columns mean", column_facts(results)),
    ]
    return document(name, _eyebrow(results), answer, notes, sections)


def _eyebrow(results: Mapping[str, Any]) -> str:
    parts = [
        results.get("name"),
        results["dataset"].get("description"),
        date((results.get("measured") or {}).get("created")),
    ]
    return " · ".join(str(part) for part in parts if part)


def date(stamp: str | None) -> str:
    """`2026-11-24T03:00:00Z` as `24 November 2026, 03:00 UTC`; anything else as it is."""
    try:
        moment = datetime.datetime.fromisoformat(stamp or "")
    except ValueError:
        return stamp or ""
    zone = f" {moment.tzname()}" if moment.tzname() else ""
    return f"{moment.day} {moment:%B %Y, %H:%M}{zone}"


def _table(results: Mapping[str, Any]) -> str:
    keys = wording.leading_metrics(results)
    # Outcome before cost, and the widest last: on a phone only the first columns are seen without scrolling.
    numbers = [*map(wording.metric_label, keys), "clips/s", "speed-up", "GMACs", "ratio"]
    heads = [("run", "text"), *((text, "number") for text in numbers), ("tokens per layer", "text")]
    rows = [_row(run, [*metric_cells(run, keys), *cost_cells(run, results)], results) for run in results["runs"]]
    return table("Results of every run", heads, rows)


def _row(run: Mapping[str, Any], cells: Sequence[str], results: Mapping[str, Any]) -> str:
    kind = ' class="baseline"' if run is wording.baseline_run(results) else ""
    return f"<tr{kind}>{row_head(run['name'])}{''.join(cells)}</tr>\n"


def metric_cells(run: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """A run's metrics with their intervals, one cell each."""
    cells = []
    for key in keys:
        metric = (run.get("metrics") or {}).get(key) or {}
        value = metric.get("value")
        counted = f"{metric['correct']} of {metric['count']}" if "correct" in metric and "count" in metric else ""
        cells.append(cell(wording.percent(value), value, below=wording.interval(metric), hint=counted))
    return cells


def cost_cells(run: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    """A run's clips/s, speed-up, GMACs, their ratio, and tokens per layer."""
    tokens = run.get("tokens_per_layer") or []
    macs = run.get("macs_per_clip")
    rate, factor, share = wording.clips_per_second(run, results), wording.speedup(run, results), run.get("mac_ratio")
    return [
        cell(wording.number(rate), rate),
        cell(wording.times(factor), factor),
        cell(wording.number(None if macs is None else macs / 1e9), macs),
        cell(wording.ratio(share), share),
        cell(wording.tokens_per_layer(tokens, "→"), tokens[-1] if tokens else None, "text"),
    ]


def _other_accuracies(results: Mapping[str, Any]) -> str:
    """What the first table has no room for: top-5 of several heads and of actions, means over classes."""
    leading = wording.leading_metrics(results)
    keys = [key for key in wording.metric_keys(results) if key not in leading]
    means = list(dict.fromkeys(head for run in results["runs"] for head in run.get("class_means") or {}))
    if not keys and not means:
        return ""
    texts = [*map(wording.metric_label, keys), *(f"{head} mean per class" for head in means)]
    rows = [_row(run, [*metric_cells(run, keys), *_mean_cells(run, means)], results) for run in results["runs"]]
    heads = [("run", "text"), *((text, "number") for text in texts)]
    return table("More accuracies of every run", heads, rows, "sortable fitted")


def _mean_cells(run: Mapping[str, Any], heads: Sequence[str]) -> list[str]:
    cells = []
    for head in heads:
        means = (run.get("class_means") or {}).get(head) or {}
        value, absent = means.get("accuracy"), means.get("classes_without_videos")
        without = f", {absent} without videos left out" if absent else ""
        below = f"{means['classes']} classes{without}" if "classes" in means else ""
        cells.append(cell(wording.percent(value), value, below=below))
    return cells


def _comparisons(results: Mapping[str, Any]) -> str:
    entries = results.get("comparison") or []
    if len(results["runs"]) == 2 and len(entries) == 1:
        return ""  # the page's first sentence has said it
    items = "".join(f"<li>{nonbreaking(wording.comparison_sentence(entry))}</li>" for entry in entries)
    return f'<ul class="comparisons">{items}</ul>' if items else ""


def _plots(results: Mapping[str, Any]) -> str:
    plots = [
        *_accuracy_plots(results),
        _trade_off_plot(results),
        _cost_plot(results),
        _token_plot(results),
    ]
    figures = "".join(figure(title, drawing, caption) for title, drawing, caption in plots if drawing)
    return f'<div class="plots">{figures}</div>' if figures else ""


def _estimates(results: Mapping[str, Any], key: str) -> list[svg.Estimate]:
    """A metric of every run that has it, in percent."""
    baseline = wording.baseline_run(results)
    found = []
    for run in results["runs"]:
        metric = (run.get("metrics") or {}).get(key)
        if metric is None or not wording.known(metric.get("value")):
            continue
        value, low, high = (metric.get(part) for part in ("value", "low", "high"))
        low, high = (bound if wording.known(bound) else value for bound in (low, high))
        found.append(svg.Estimate(run["name"], 100 * value, 100 * low, 100 * high, run is baseline))
    return found


def _accuracy_plots(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    plots = []
    for key in wording.leading_metrics(results):
        title = wording.metric_label(key).capitalize()
        estimates = _estimates(results, key)
        drawing = svg.intervals(f"{title} of every run", estimates) if estimates else ""
        plots.append((title, drawing, "Percent of videos, with the 95 % interval. The axis does not start at zero."))
    return plots


def _trade_off_plot(results: Mapping[str, Any]) -> tuple[str, str, str]:
    """Only for a sweep: of two runs, the table says the same in less space."""
    key = wording.main_metric(results)
    by_name = {estimate.name: estimate for estimate in _estimates(results, key)} if key else {}
    points = [
        svg.Point(run["name"], factor, by_name[run["name"]])
        for run in results["runs"]
        if run["name"] in by_name and (factor := wording.speedup(run, results)) is not None
    ]
    title = f"{wording.metric_label(key).capitalize()} against speed" if key else ""
    drawing = svg.trade_off(title, points) if len(points) > 2 else ""
    return title, drawing, "Up and to the right is better. Neither axis starts at zero."


def _cost_plot(results: Mapping[str, Any]) -> tuple[str, str, str]:
    baseline = wording.baseline_run(results)
    rows = []
    for run in results["runs"]:
        bars = []
        if wording.known(share := run.get("mac_ratio")):
            bars.append(("arithmetic", 100 * share, wording.share_of_arithmetic(share)))
        if factor := wording.speedup(run, results):
            bars.append(("time", 100 / factor, f"{100 / factor:.0f} %"))
        if bars and run is not baseline:
            rows.append(svg.Shares(run["name"], bars))
    name = baseline["name"] if baseline else "unmerged"
    title = f"Cost, with {name} as 100 %"
    caption = "Time per clip falls less than arithmetic does where merging itself and fixed costs weigh in."
    return title, svg.shares(title, rows) if rows else "", caption


def _token_plot(results: Mapping[str, Any]) -> tuple[str, str, str]:
    series = [svg.Steps(run["name"], run["tokens_per_layer"]) for run in results["runs"] if run.get("tokens_per_layer")]
    title = "Tokens in every layer"
    return title, svg.steps(title, series) if series else "", "A class token counts, where the model has one."


def _predictions(results: Mapping[str, Any]) -> str:
    """What each run sees in each video, where the runs list it."""
    runs = [run for run in results["runs"] if run.get("predictions")]
    if not runs:
        return ""
    heads = [name for name in runs[0]["predictions"][0] if name != "id"]
    columns = [(run, head) for run in runs for head in heads]
    by_run = {run["name"]: {entry["id"]: entry for entry in run["predictions"]} for run in runs}
    rows = []
    for video in by_run[runs[0]["name"]]:
        said = [by_run[run["name"]].get(video, {}).get(head) for run, head in columns]
        cells = "".join(cell(_classes(one), _classes(one), "text") for one in said)
        rows.append(f"<tr>{row_head(video)}{cells}</tr>\n")
    names = [("video", "text"), *((f"{run['name']}: {head}", "text") for run, head in columns)]
    return table("Predictions", names, rows)


def _classes(value: object) -> str:
    if value is None:
        return wording.MISSING
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def picture_figure(picture: Picture) -> str:
    """A picture with its words, embedded as PNG."""
    width, height = picture.size
    shown = width * max(1, PICTURE_WIDTH // width)
    source = base64.b64encode(picture.png).decode("ascii")
    image = (
        f'<img alt="{safe(picture.title)}" width="{width}" height="{height}" style="width:{shown}px" '
        f'src="data:image/png;base64,{source}">'
    )
    return figure(picture.title, image, picture.caption, "picture")


def failure_table(results: Mapping[str, Any]) -> str:
    """The videos that failed, with the reason: in view if they are few."""
    failures = results.get("failures") or []
    if not failures:
        return ""
    rows = [
        f"<tr>{row_head(failure['id'])}{cell(failure['reason'], failure['reason'], 'text wrapped')}</tr>\n"
        for failure in failures
    ]
    shown = table("Videos that could not be read", [("video", "text"), ("reason", "text")], rows, "sortable fitted")
    hidden = results["dataset"]["n_failed"] - len(failures)
    if hidden > 0:
        shown += f"<p>{hidden} more are in <code>failures.csv</code>.</p>\n"
    return shown if len(failures) <= FAILURES_IN_VIEW else details(f"The first {len(failures)} of them", shown)


def measured_facts(results: Mapping[str, Any]) -> str:
    """What was measured of what, with what, on what, as a list of facts."""
    dataset, model = results["dataset"], results.get("model") or {}
    environment = dict(results.get("environment") or {})
    heads = ", ".join(f"{head} ({classes} classes)" for head, classes in (model.get("heads") or {}).items())
    device = " ".join(str(environment.pop(key, "")) for key in ("num_devices", "device_kind", "backend")).split()
    facts = [
        ("Protocol", safe((results.get("protocol") or {}).get("description", ""))),
        ("Views", safe(wording.view_note(results))),
        ("Videos", safe(_videos(dataset))),
        ("Model", safe(model.get("name", ""))),
        ("Parameters", f"{model['parameters']:,}".replace(",", "\u202f") if "parameters" in model else ""),
        ("Heads", safe(heads)),
        ("Checkpoint", safe(model.get("checkpoint") or "")),
        (
            "SHA-256",
            f"<code>{safe(model['checkpoint_sha256'])}</code>" if model.get("checkpoint_sha256") else "",
        ),
        (
            "Devices",
            safe(f"{device[0]} {wording.TIMES} {' · '.join(device[1:])}" if len(device) > 1 else ""),
        ),
        ("Software", safe(", ".join(f"{key} {value}" for key, value in environment.items()))),
        ("Compile and run time", safe(_times(results))),
        ("Waiting", nonbreaking(wording.wait_note(results))),
    ]
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{text}</dd>' for name, text in facts if text)}</dl>"


def _videos(dataset: Mapping[str, Any]) -> str:
    failed = dataset.get("n_failed") or 0
    counted = f"{dataset.get('n_ok')} of {dataset.get('n_videos')} evaluated, {failed} failed"
    labels = "labelled" if dataset.get("labelled", True) else "without labels"
    return f"{dataset.get('name', '')}: {counted}; {labels}"


def _times(results: Mapping[str, Any]) -> str:
    entries = []
    for run in results["runs"]:
        timing = wording.timing(run, results)
        spans = [
            f"{wording.number(timing[key])} s {word}"
            for key, word in (("compile_s", "compiling"), ("run_s", "running"))
            if timing.get(key) is not None
        ]
        if spans:
            entries.append(f"{run['name']}: {', '.join(spans)}")
    return "; ".join(entries)


def column_facts(results: Mapping[str, Any]) -> str:
    """What the columns of the tables mean, as a list of facts."""
    by_note: dict[str, list[str]] = {}
    for key in wording.metric_keys(results):
        note = _METRIC_NOTES.get(key) or _METRIC_NOTES.get(key.rpartition("/")[2])
        if note:
            by_note.setdefault(note, []).append(wording.metric_label(key))
    notes = [(", ".join(labels), note) for note, labels in by_note.items()]
    if any(run.get("class_means") for run in results["runs"]):
        notes.append(("mean per class", _MEAN_NOTE))
    notes += _COLUMN_NOTES
    return f"<dl>{''.join(f'<dt>{safe(name)}</dt><dd>{safe(text)}</dd>' for name, text in notes)}</dl>"
