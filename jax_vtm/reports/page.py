"""The results as one HTML page that needs nothing outside itself."""

import base64
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import wording
from jax_vtm.reports.markup import cell, details, figure, nonbreaking, row_head, safe, table
from jax_vtm.reports.picture import Picture

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


def date(stamp: str | None) -> str:
    """`2026-11-24T03:00:00Z` as `24 November 2026, 03:00 UTC`; anything else as it is."""
    try:
        moment = datetime.datetime.fromisoformat(stamp or "")
    except ValueError:
        return stamp or ""
    zone = f" {moment.tzname()}" if moment.tzname() else ""
    return f"{moment.day} {moment:%B %Y, %H:%M}{zone}"


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
