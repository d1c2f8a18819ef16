"""The results of splices as one HTML page: what merges across, and whom the prediction follows."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import wording
from jax_vtm.reports.document import document
from jax_vtm.reports.layer_plot import LayerSeries, LayerValue, over_layers
from jax_vtm.reports.markup import cell, figure, nonbreaking, row_head, safe, section, table
from jax_vtm.reports.page import date, failure_table, measured_facts, picture_figure
from jax_vtm.reports.picture import Picture
from jax_vtm.reports.svg import Estimate, intervals

UNSPLICED = "unspliced"
_ACTION = "action"

_KINDS = {
    UNSPLICED: "unspliced",
    "random": "random donor",
    "same_class": "donor of the same class",
    "different_class": "donor of another class",
}
_SHARE_CAPTION = (
    "Percent of the merged patch tokens whose group holds tokens of both clips, with 95 % intervals (bootstrap over "
    "videos). Unspliced: across the same borders of the clips as they are. By chance: what groups of the same sizes "
    "would hold if they were filled with tokens at random. Layers are counted from 0."
)
_ACCURACY_CAPTION = "Percent of clips whose prediction is the host's label, with 95 % intervals."


def splice_headline(results: Mapping[str, Any]) -> str:
    """What the splices show, in a sentence or two."""
    found = _last_layer(results)
    kind = _telling(results)
    facts = results["splice"]
    shares = found[kind], found[UNSPLICED]
    if not shares[0]["merged_tokens"]:
        return "Nothing was merged, so nothing was merged across splices."
    values = [100 * entry["share_of_tokens"]["value"] for entry in shares]
    sentence = (
        f"With {facts['tubelets']} of {facts['of']} tubelets from {_a_donor(kind)}, {values[0]:.1f} % of the merged "
        f"tokens share their group with tokens of the other clip, against {values[1]:.1f} % across the same borders of "
        f"unspliced clips and {100 * shares[0]['chance_of_tokens']:.1f} % by chance."
    )
    return f"{sentence} {_with_same_class(found, kind)}".strip()


def render_splices(results: Mapping[str, Any], pictures: Sequence[Picture] = ()) -> str:
    """One self-contained HTML page, like that of an evaluation.

    Args:
        results: What the `results.json` of the command `splice` holds.
        pictures: Shown in this order.
    """
    name = str(results["name"])
    created = date(results["measured"].get("created"))
    eyebrow = " · ".join(filter(None, (name, results["dataset"].get("description"), created)))
    notes = [note for note in (wording.failure_note(results),) if note]
    sections = [
        section("What merges across a splice", _plots(results)),
        section("A splice", "".join(picture_figure(picture) for picture in pictures)),
        section("Whom the prediction follows", _followed(results) + _predictions(results)),
        section("Layer by layer", _layers(results)),
        section("Videos that could not be read", failure_table(results)),
        section("How it was measured", _how(results) + measured_facts({**results, "runs": []})),
    ]
    return document(f"{name}, splices", eyebrow, splice_headline(results), notes, sections)


def _a_donor(kind: str) -> str:
    return {"random": "a random video", "same_class": "a video of the same class"}.get(kind, "a video of another class")


def _with_same_class(found: Mapping[str, Mapping[str, Any]], kind: str) -> str:
    if kind != "different_class" or "same_class" not in found:
        return ""
    return f"With a donor of the same class it is {100 * found['same_class']['share_of_tokens']['value']:.1f} %."


def _telling(results: Mapping[str, Any]) -> str:
    """The kind of donor whose tokens have least in common with the host's."""
    kinds = results["splice"]["donors"]
    return next(kind for kind in ("different_class", "random", "same_class") if kind in kinds)


def _last_layer(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The entries after the last layer, by kind of clips."""
    return {entry["clips"]: entry for entry in results["layers"]}


def _head(results: Mapping[str, Any]) -> str | None:
    """The head whose predictions are shown: the one that decides classes, else all together, else the only one."""
    chosen = results["splice"]["classes"]
    heads = results["predictions"][0]["heads"]
    return next((head for head in (chosen, _ACTION, *heads) if head in heads), None)


def _followed(results: Mapping[str, Any]) -> str:
    kind, head, parts = _telling(results), _head(results), []
    for entry in results["predictions"]:
        follows = entry["heads"].get(head, {}) if entry["clips"] == kind else {}
        if follows.get("follows_host"):
            host, donor = (wording.percent(follows[f"follows_{whom}"]["value"]) for whom in ("host", "donor"))
            parts.append(f"{host} and {donor} ({entry['run']})")
    if not parts or head is None:
        return ""
    said = f"With {_a_donor(kind)}, {wording.head_label(head)}predictions follow host and donor in {', '.join(parts)}."
    return f"<p>{nonbreaking(said)}</p>\n"


def _plots(results: Mapping[str, Any]) -> str:
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for entry in results["layers"]:
        if entry["merged_tokens"]:
            by_kind.setdefault(entry["clips"], []).append(entry)
    series = []
    for number, (kind, entries) in enumerate(by_kind.items()):
        points = [
            LayerValue(entry["layer"], *(100 * entry["share_of_tokens"][key] for key in ("value", "low", "high")))
            for entry in entries
        ]
        series.append(LayerSeries(_KINDS[kind], points, number, summary=f"{points[-1].value:.1f} %"))
    if not series:
        return ""
    kind = _telling(results)
    chance = [LayerValue(entry["layer"], *(3 * [100 * entry["chance_of_tokens"]])) for entry in by_kind.get(kind, [])]
    colour = list(by_kind).index(kind)
    series.append(LayerSeries(f"{_KINDS[kind]}, by chance", chance, colour, True, f"{chance[-1].value:.1f} %"))
    title = "Merged across the splice, after each layer"
    plots = figure(title, over_layers(title, series, x_label="layer", zero=True), _SHARE_CAPTION)
    return f'<div class="plots pair">{plots}{_accuracy_plot(results)}</div>'


def _accuracy_plot(results: Mapping[str, Any]) -> str:
    head = _head(results)
    rows = []
    for entry in results["predictions"]:
        metric = entry["heads"].get(head, {}).get("accuracy") or {}
        if wording.known(metric.get("value")):
            value, low, high = (100 * metric[key] for key in ("value", "low", "high"))
            name = f"{_KINDS[entry['clips']]}, {entry['run']}"
            rows.append(Estimate(name, value, low, high, baseline=entry is results["predictions"][0]))
    if not rows or head is None:
        return ""
    title = f"{wording.accuracy_name(f'{head}/top1').capitalize()} of the host"
    return figure(title, intervals(title, rows), _ACCURACY_CAPTION)


def _predictions(results: Mapping[str, Any]) -> str:
    heads = [("clips", "text"), ("run", "text"), ("as unspliced", "number")]
    named = list(results["predictions"][0]["heads"])
    for head in named:
        label = wording.head_label(head)
        heads += [(f"{label}{text}", "number") for text in ("accuracy", "follows host", "follows donor", "neither")]
    rows = []
    for entry in results["predictions"]:
        cells = [cell(entry["run"], entry["run"], "text"), _share(entry.get("as_unspliced"))]
        for head in named:
            found = entry["heads"][head]
            cells += [
                _share(found.get(key)) for key in ("accuracy", "follows_host", "follows_donor", "follows_neither")
            ]
        kind = ' class="baseline"' if entry["clips"] == UNSPLICED else ""
        rows.append(f"<tr{kind}>{row_head(_KINDS[entry['clips']])}{''.join(cells)}</tr>\n")
    note = (
        '<p class="caption">As unspliced: share of clips with the prediction that the same run makes of the clip as it '
        "is. Accuracy is of the host's label. Whom a prediction follows is counted where host and donor have different "
        "labels; with donors of the same class that is nowhere, or only in heads that do not decide the class.</p>\n"
    )
    return table("Predictions", heads, rows) + note


def _share(metric: Mapping[str, Any] | None) -> str:
    metric = metric or {}
    value = metric.get("value")
    counted = f"{metric['correct']} of {metric['count']}" if metric.get("count") else ""
    return cell(wording.percent(value), value, below=wording.interval(metric), hint=counted)


def _layers(results: Mapping[str, Any]) -> str:
    heads = [
        ("clips", "text"),
        *((text, "number") for text in ("layer", "of tokens", "by chance", "over unspliced", "of groups", "by chance")),
        *((text, "number") for text in ("merged tokens", "merged groups")),
    ]
    rows = []
    videos = results["dataset"]["n_ok"] * results["protocol"]["num_clips"] * results["protocol"]["num_crops"]
    for entry in results["layers"]:
        over = entry.get("over_unspliced") or {}
        known = wording.known(over.get("value"))
        change = wording.points(over["value"]) if known else wording.MISSING
        between = f"[{wording.points(over['low'])}, {wording.points(over['high'])}]" if known else ""
        cells = [
            cell(str(entry["layer"]), entry["layer"]),
            _share(entry["share_of_tokens"]),
            cell(wording.percent(entry["chance_of_tokens"]), entry["chance_of_tokens"]),
            cell(change, over.get("value"), below=between),
            _share(entry["share_of_groups"]),
            cell(wording.percent(entry["chance_of_groups"]), entry["chance_of_groups"]),
            cell(wording.number(entry["merged_tokens"] / videos), entry["merged_tokens"]),
            cell(wording.number(entry["merged_groups"] / videos), entry["merged_groups"]),
        ]
        kind = ' class="baseline"' if entry["clips"] == UNSPLICED else ""
        rows.append(f"<tr{kind}>{row_head(_KINDS[entry['clips']])}{''.join(cells)}</tr>\n")
    note = (
        f"<p>{nonbreaking('After every layer of ' + results['layers'][0]['run'])}: the share of merged patch tokens, "
        "and of merged groups, that are across the splice. Over unspliced is the difference of the tokens' shares in "
        "points. The last two columns are means per clip.</p>\n"
    )
    return note + table("Layer by layer", heads, rows)


def _how(results: Mapping[str, Any]) -> str:
    facts = results["splice"]
    frames = facts["tubelets"] * facts["frames_per_tubelet"]
    return (
        f"<p>In every clip {frames} frames, {facts['tubelets']} tubelets, are replaced by the same ones of a donor's "
        "clip: whole tubelets, before normalisation, so that no token sees both. Where they begin is drawn for every "
        "video; so are the donors, among all other videos, those of the same class or of other classes. Classes are "
        f"those of {safe(facts['classes'])}; seed {facts['seed']}. videos.csv names them all.</p>\n"
    )
