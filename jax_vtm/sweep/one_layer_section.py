"""Of a sweep: what it costs to reduce tokens in one layer alone, and what each layer puts together."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import wording
from jax_vtm.reports.layer_plot import LayerSeries, LayerValue, over_layers
from jax_vtm.reports.markup import cell, figure, nonbreaking, row_head, section, table

_NOTE = (
    "Each of these runs reduces tokens in one layer alone, so many times in a row before its MLP. Layers are counted "
    "from 0. Of the same r and times, all layers end with equally many tokens; the earlier the layer, the more of the "
    "arithmetic is spared."
)
_CAPTION = "Percent of videos, with 95 % intervals; the axis does not start at zero."
_TIME_CAPTION = (
    "Percent of the merged patch tokens that share a group with one of another time index. The unbroken line is what "
    "was found, the dashed one what groups of the same sizes would hold if chance filled them."
)


def one_layer_answer(results: Mapping[str, Any]) -> str:
    """What the layers cost, in a sentence, for a sweep of nothing but single layers; empty for any other."""
    reduced = [run for run in results["runs"] if run is not wording.baseline_run(results)]
    alone = _alone(results)
    values, label = _values(results)
    baseline = wording.baseline_run(results)
    if len(alone) < 2 or len(alone) < len(reduced) or baseline is None or baseline["name"] not in values:
        return ""
    # Where the least is left, layers differ most.
    amount, times = max(_kinds(alone), key=lambda kind: kind[0] * kind[1])
    compared = [run for run in alone if _kind(run) == (amount, times) and run["name"] in values]
    if len(compared) < 2:
        return ""
    reference = values[baseline["name"]].value
    losses = {run["one_layer"]["layer"]: values[run["name"]].value - reference for run in compared}
    best, worst = max(losses, key=lambda layer: losses[layer]), min(losses, key=lambda layer: losses[layer])
    facts = compared[0]["one_layer"]
    how = f"{times} times r = {amount}" if times > 1 else f"r = {amount}"
    return (
        f"Reducing {facts['tokens']} tokens to {facts['groups']:.0f} in one layer alone ({how}) changes "
        f"{label} by {wording.points(losses[worst] / 100)} points in layer {worst}, where it costs most, and by "
        f"{wording.points(losses[best] / 100)} in layer {best}, where it costs least."
    )


def one_layer_section(results: Mapping[str, Any], prefix: str, picture: str) -> str:
    """The section; nothing where no run reduces in one layer alone.

    Args:
        results: Of one model on one data set.
        prefix: Before the section's title.
        picture: Finished HTML of what the layers make of a clip.
    """
    alone = _alone(results)
    if not alone:
        return ""
    plots = _accuracy_plot(results, alone) + _time_plot(alone)
    content = f'<p>{nonbreaking(_NOTE)}</p>\n<div class="plots pair">{plots}</div>\n{_table(results, alone)}{picture}'
    return section(f"{prefix}One layer alone", content)


def _alone(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [run for run in results["runs"] if run.get("one_layer")]


def _kind(run: Mapping[str, Any]) -> tuple[int, int]:
    return run["one_layer"]["r"], run["one_layer"]["times"]


def _kinds(runs: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    return sorted({_kind(run) for run in runs})


def _name(kind: tuple[int, int], kinds: Sequence[tuple[int, int]]) -> str:
    amount, times = kind
    text = "once" if times == 1 else f"{times} times"
    return text if len({r for r, _ in kinds}) == 1 else f"r = {amount}, {text}"


def _values(results: Mapping[str, Any]) -> tuple[dict[str, LayerValue], str]:
    """Accuracy of every run in percent, or agreement with the unmerged model; and what it is called."""
    key = wording.main_metric(results)
    found = {}
    for run in results["runs"]:
        layer = (run.get("one_layer") or {}).get("layer", -1)
        metric = (run.get("metrics") or {}).get(key) or {}
        if wording.known(metric.get("value")):
            low, high = metric.get("low"), metric.get("high")
            bounds = (low, high) if wording.known(low) and wording.known(high) else (metric["value"],) * 2
            found[run["name"]] = LayerValue(layer, *(100 * value for value in (metric["value"], *bounds)))
    if key:
        return found, wording.accuracy_name(key)
    agreements = {entry["run"]: entry["agreement"] for entry in results["comparison"]}
    for run in results["runs"]:
        share = 1.0 if wording.mode(run) == "none" else agreements.get(run["name"])
        if wording.known(share):
            found[run["name"]] = LayerValue((run.get("one_layer") or {}).get("layer", -1), *(3 * [100 * share]))
    return found, "agreement with unmerged"


def _accuracy_plot(results: Mapping[str, Any], alone: Sequence[Mapping[str, Any]]) -> str:
    values, label = _values(results)
    kinds = _kinds(alone)
    series = []
    for number, kind in enumerate(kinds):
        points = sorted(
            (values[run["name"]] for run in alone if _kind(run) == kind and run["name"] in values),
            key=lambda point: point.layer,
        )
        if points:
            least, most = min(point.value for point in points), max(point.value for point in points)
            summary = f"{least:.1f} to {most:.1f} %" if len(points) > 1 else f"{least:.1f} %"
            series.append(LayerSeries(_name(kind, kinds), points, number + 1, summary=summary))
    if not series:
        return ""
    baseline = wording.baseline_run(results)
    guide = (baseline["name"], values[baseline["name"]].value) if baseline and baseline["name"] in values else None
    title = f"{label[0].upper()}{label[1:]} over the layer"
    return figure(title, over_layers(title, series, x_label="layer that alone reduces", guide=guide), _CAPTION)


def _time_plot(alone: Sequence[Mapping[str, Any]]) -> str:
    kinds = _kinds(alone)
    series = []
    for number, kind in enumerate(kinds):
        runs = sorted(
            (run["one_layer"] for run in alone if _kind(run) == kind and run["one_layer"]["merged_tokens"]),
            key=lambda facts: facts["layer"],
        )
        for words, key, dashed in (("", "mixed_tokens", False), (", by chance", "chance_tokens", True)):
            points = [LayerValue(facts["layer"], *(3 * [100 * facts[key] / facts["merged_tokens"]])) for facts in runs]
            if points:
                series.append(LayerSeries(f"{_name(kind, kinds)}{words}", points, number + 1, dashed))
    if not series:
        return ""
    title = "Merged with tokens of another time"
    return figure(title, over_layers(title, series, x_label="layer that alone reduces", zero=True), _TIME_CAPTION)


def _table(results: Mapping[str, Any], alone: Sequence[Mapping[str, Any]]) -> str:
    values, label = _values(results)
    heads = [
        ("run", "text"),
        *((text, "number") for text in ("layer", "times", "r", label, "GMACs", "ratio", "patch groups")),
        *((text, "number") for text in ("merged tokens", "across times", "by chance")),
    ]
    rows = []
    for run in alone:
        facts, value = run["one_layer"], values.get(run["name"])
        merged = facts["merged_tokens"]
        shares = [facts[key] / merged if merged else None for key in ("mixed_tokens", "chance_tokens")]
        share = merged / (facts["clips"] * facts["tokens"])
        between = f"[{value.low:.1f}, {value.high:.1f}]" if value and value.high > value.low else ""
        cells = [
            *(cell(str(facts[key]), facts[key]) for key in ("layer", "times", "r")),
            cell(f"{value.value:.1f} %" if value else wording.MISSING, value and value.value, below=between),
            cell(wording.number(run["macs_per_clip"] / 1e9), run["macs_per_clip"]),
            cell(wording.ratio(run["mac_ratio"]), run["mac_ratio"]),
            cell(f"{facts['groups']:.0f}", facts["groups"]),
            cell(wording.percent(share), share),
            *(cell(wording.percent(value), value) for value in shares),
        ]
        rows.append(f"<tr>{row_head(run['name'])}{''.join(cells)}</tr>\n")
    clips = alone[0]["one_layer"]["clips"]
    note = (
        f'<p class="caption">Groups and merged tokens are those of {clips} clip{"s" if clips > 1 else ""}, after the '
        "layer: patch groups that are left on average, the share of patch tokens in groups of two or more, and how "
        "many of these share their group with a token of another time index, found and by chance.</p>\n"
    )
    return table("One layer alone", heads, rows) + note
