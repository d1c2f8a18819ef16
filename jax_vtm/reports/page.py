"""The results as one HTML page that needs nothing outside itself."""

import base64
import datetime
import html
import importlib.resources
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import svg, wording
from jax_vtm.reports.picture import Picture

PICTURE_WIDTH = 720  # small pictures are enlarged by whole factors up to about this many CSS pixels

# A row is sorted by the number in data-sort; without scripts the table simply keeps its order.
_SORT_SCRIPT = """
for (const head of document.querySelectorAll("table.sortable thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0];
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const key = (row) => row.cells[head.cellIndex].dataset.sort;
    const compare = (a, b) => (isNaN(a) || isNaN(b) || a === "" || b === "" ? a.localeCompare(b) : a - b);
    const rows = [...body.rows].sort((a, b) => compare(key(a), key(b)) * (rising ? 1 : -1));
    body.append(...rows);
  });
}
"""

_COLUMN_NOTES = (
    ("clips/s", "Clips through the model per second of wall time, compilation excluded."),
    ("speed-up", "Clips per second over the unmerged run's."),
    ("GMACs", "Multiply-accumulate operations for one clip, in thousand millions, counted from the shapes."),
    ("ratio", "GMACs as a share of the unmerged run's."),
    ("tokens per layer", "Tokens entering each layer, then those leaving the last; a class token counts."),
)
_METRIC_NOTE = (
    "Share of videos whose label is among the model's first 1 or 5 classes, with its 95 % interval below it. "
    "An action counts when both its verb and its noun are right."
)


def render_report(results: Mapping[str, Any], pictures: Sequence[Picture] = ()) -> str:
    """One self-contained HTML page: the answer, the table, plots, pictures, and how it was measured.

    It loads nothing from anywhere, follows the reader's light or dark setting, fits a phone and prints.

    Args:
        results: what `results.json` holds.
        pictures: shown in this order, embedded as PNG.
    """
    name = str(results.get("name", "results"))
    answer = wording.headline(results)
    failures = wording.failure_note(results)
    warning = f'<p class="warning" role="note">{_safe(failures)}</p>' if failures else ""
    sections = [
        _section("Results", _table(results) + _comparisons(results)) if results["runs"] else "",
        _section("Accuracy and cost" if wording.metric_keys(results) else "Cost", _plots(results)),
        _section("Predictions", _predictions(results)),
        _section("What became one token", "".join(_picture(picture) for picture in pictures)),
        _section("How it was measured", _measured(results)),
        _section("What the columns mean", _column_notes(results)),
    ]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{_safe(name)} · video token merging</title>
<style>
{importlib.resources.files("jax_vtm.reports").joinpath("report.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<p class="eyebrow">{_safe(_eyebrow(results))}</p>
<h1>{_nonbreaking(answer)}</h1>
{warning}
</header>
<main>
{"".join(sections)}</main>
<script>{_SORT_SCRIPT}</script>
</body>
</html>
"""


def _safe(value: object) -> str:
    return html.escape(str(value))


def _nonbreaking(text: str) -> str:
    """Keeps a number and its unit on one line."""
    return _safe(text).replace(" %", "\u00a0%").replace("r = ", "r\u00a0=\u00a0")


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>\n" if content else ""


def _eyebrow(results: Mapping[str, Any]) -> str:
    parts = [results.get("name"), results["dataset"].get("description"), _date(results.get("created"))]
    return " · ".join(str(part) for part in parts if part)


def _date(stamp: str | None) -> str:
    """`2026-11-24T03:00:00Z` as `24 November 2026, 03:00 UTC`; anything else as it is."""
    try:
        moment = datetime.datetime.fromisoformat(stamp or "")
    except ValueError:
        return stamp or ""
    zone = f" {moment.tzname()}" if moment.tzname() else ""
    return f"{moment.day} {moment:%B %Y, %H:%M}{zone}"


def _table(results: Mapping[str, Any]) -> str:
    keys = wording.metric_keys(results)
    # Outcome before cost, and the widest last: on a phone only the first columns are seen without scrolling.
    costs = ["clips/s", "speed-up", "GMACs", "ratio"]
    heads = ["run", *map(wording.metric_label, keys), *costs, "tokens per layer"]
    kinds = ["text", *["number"] * (len(heads) - 2), "text"]
    head = "".join(
        f'<th scope="col" class="{kind}">{_safe(text)}</th>' for text, kind in zip(heads, kinds, strict=True)
    )
    baseline = wording.baseline_run(results)
    rows = "".join(_row(run, keys, run is baseline) for run in results["runs"])
    # A region that scrolls has to be reachable with the keyboard.
    return (
        '<div class="scroll" role="region" aria-label="Results of every run" tabindex="0">'
        '<table class="sortable">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )


def _row(run: Mapping[str, Any], keys: Sequence[str], baseline: bool) -> str:
    tokens = run.get("tokens_per_layer") or []
    macs = run.get("macs_per_clip")
    rate, factor, share = wording.clips_per_second(run), wording.speedup(run), run.get("mac_ratio")
    cells = [f'<th scope="row" data-sort="{_safe(run["name"])}">{_safe(run["name"])}</th>']
    for key in keys:
        metric = (run.get("metrics") or {}).get(key) or {}
        counted = f"{metric['correct']} of {metric['count']}" if "correct" in metric and "count" in metric else ""
        cells.append(
            _cell(
                wording.percent(metric.get("value")),
                metric.get("value"),
                below=wording.interval(metric),
                hint=counted,
            )
        )
    cells += [
        _cell(wording.number(rate), rate),
        _cell(wording.times(factor), factor),
        _cell(wording.number(None if macs is None else macs / 1e9), macs),
        _cell(wording.ratio(share), share),
        _cell(wording.tokens_per_layer(tokens, "→"), tokens[-1] if tokens else None, "text"),
    ]
    kind = ' class="baseline"' if baseline else ""
    return f"<tr{kind}>{''.join(cells)}</tr>\n"


def _cell(text: str, sort: object, kind: str = "number", *, below: str = "", hint: str = "") -> str:
    second = f"<small>{_safe(below)}</small>" if below else ""
    title = f' title="{_safe(hint)}"' if hint else ""
    key = _safe("" if sort is None else sort)
    return f'<td class="{kind}" data-sort="{key}"{title}>{_safe(text)}{second}</td>'


def _comparisons(results: Mapping[str, Any]) -> str:
    entries = results.get("comparison") or []
    if len(results["runs"]) == 2 and len(entries) == 1:
        return ""  # the page's first sentence has said it
    items = "".join(f"<li>{_nonbreaking(wording.comparison_sentence(entry))}</li>" for entry in entries)
    return f'<ul class="comparisons">{items}</ul>' if items else ""


def _plots(results: Mapping[str, Any]) -> str:
    plots = [
        *_accuracy_plots(results),
        _trade_off_plot(results),
        _cost_plot(results),
        _token_plot(results),
    ]
    figures = "".join(
        f"<figure><h3>{_safe(title)}</h3>{drawing}<figcaption>{_safe(caption)}</figcaption></figure>\n"
        for title, drawing, caption in plots
        if drawing
    )
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
    for key in wording.metric_keys(results):
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
        if run["name"] in by_name and (factor := wording.speedup(run)) is not None
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
        if factor := wording.speedup(run):
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
    top = "".join(f'<th scope="col">{_safe(run["name"])}: {_safe(head)}</th>' for run, head in columns)
    by_run = {run["name"]: {entry["id"]: entry for entry in run["predictions"]} for run in runs}
    rows = ""
    for video in by_run[runs[0]["name"]]:
        cells = [by_run[run["name"]].get(video, {}).get(head, wording.MISSING) for run, head in columns]
        rows += f'<tr><th scope="row">{_safe(video)}</th>'
        rows += "".join(f'<td class="text">{_safe(_classes(cell))}</td>' for cell in cells) + "</tr>\n"
    return (
        '<div class="scroll" role="region" aria-label="Predictions" tabindex="0"><table>'
        f'<thead><tr><th scope="col">video</th>{top}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>'
    )


def _classes(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _picture(picture: Picture) -> str:
    width, height = picture.size
    shown = width * max(1, PICTURE_WIDTH // width)
    source = base64.b64encode(picture.png).decode("ascii")
    return (
        f'<figure class="picture"><h3>{_safe(picture.title)}</h3>'
        f'<img alt="{_safe(picture.title)}" width="{width}" height="{height}" style="width:{shown}px" '
        f'src="data:image/png;base64,{source}"><figcaption>{_safe(picture.caption)}</figcaption></figure>\n'
    )


def _measured(results: Mapping[str, Any]) -> str:
    dataset, model = results["dataset"], results.get("model") or {}
    environment = dict(results.get("environment") or {})
    heads = ", ".join(f"{head} ({classes} classes)" for head, classes in (model.get("heads") or {}).items())
    device = " ".join(str(environment.pop(key, "")) for key in ("num_devices", "device_kind", "backend")).split()
    facts = [
        ("Protocol", _safe((results.get("protocol") or {}).get("description", ""))),
        ("Videos", _safe(_videos(dataset))),
        ("Model", _safe(model.get("name", ""))),
        ("Parameters", f"{model['parameters']:,}".replace(",", "\u202f") if "parameters" in model else ""),
        ("Heads", _safe(heads)),
        ("Checkpoint", _safe(model.get("checkpoint") or "")),
        (
            "SHA-256",
            f"<code>{_safe(model['checkpoint_sha256'])}</code>" if model.get("checkpoint_sha256") else "",
        ),
        (
            "Devices",
            _safe(f"{device[0]} {wording.TIMES} {' · '.join(device[1:])}" if len(device) > 1 else ""),
        ),
        ("Software", _safe(", ".join(f"{key} {value}" for key, value in environment.items()))),
        ("Compile and run time", _safe(_times(results))),
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
        timing = run.get("timing") or {}
        spans = [
            f"{wording.number(timing[key])} s {word}"
            for key, word in (("compile_s", "compiling"), ("run_s", "running"))
            if timing.get(key) is not None
        ]
        if spans:
            entries.append(f"{run['name']}: {', '.join(spans)}")
    return "; ".join(entries)


def _column_notes(results: Mapping[str, Any]) -> str:
    notes = list(_COLUMN_NOTES)
    if keys := wording.metric_keys(results):
        notes.insert(0, (", ".join(map(wording.metric_label, keys)), _METRIC_NOTE))
    return f"<dl>{''.join(f'<dt>{_safe(name)}</dt><dd>{_safe(text)}</dd>' for name, text in notes)}</dl>"
