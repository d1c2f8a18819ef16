"""The page of `visualize`: clips and their token groups."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.evaluation.run_names import mode_name
from jax_vtm.reports import Column, Figure, Interval, Page, Table, plots, render_page
from jax_vtm.reports.formatting import TIMES, head_label, number, percent, plural, ratio, shortened, tokens_per_layer
from jax_vtm.reports.membership_picture import contact_sheet
from jax_vtm.visualization.clip_files import ShownClip
from jax_vtm.visualization.viewer import frame_source, viewer

Layers = Sequence[Mapping[str, Any]]

_OVER_TIME = (
    ("mean_group_size", "Size of groups over time", "patches per group (mean)", ""),
    (
        "tokens",
        "Tokens kept over time",
        "tokens",
        "A token of several time steps counts in each by the share of its patches there.",
    ),
)

_DONE = {
    "merge": "Merging made {after} tokens of {before}",
    "random_merge": "Random merging made {after} tokens of {before}",
    "hybrid": "Hybrid merging made {after} tokens of {before}",
    "drop": "Dropping left {after} of {before} tokens",
    "random_drop": "Random dropping left {after} of {before} tokens",
}
_SEVERAL = "Reducing, in another way from layer to layer, left {after} of {before} tokens"


def visualization_headline(results: Mapping[str, Any]) -> str:
    """Returns tokens, arithmetic and whether predictions change, from `visualize.json`."""
    run, clips = results["run"], results["clips"]
    before, after = run["tokens_unmerged"], run["tokens_per_layer"][-1]
    done = _DONE.get(mode_name(run["reduction"]["mode"]), _SEVERAL).format(before=before, after=after)
    where = " in each time step" if run["tokens_per_time_step"] else ""
    return f"{done}{where}, with {100 * run['mac_ratio']:.0f} % of the arithmetic{_change(clips)}."


def visualization_page(results: Mapping[str, Any], clips: Sequence[ShownClip], fps: float) -> Page:
    """Makes the page from the content of `visualize.json` and the drawn clips, which play at `fps`."""
    ids = ", ".join(clip["id"] for clip in results["clips"][:3]) + (" and more" if len(clips) > 3 else "")
    within_steps = results["run"]["within_time_steps"]
    shown = []
    for numbers, clip in zip(results["clips"], clips, strict=True):
        name, patch, layers = numbers["id"], results["patch"], numbers["layers"]
        shown.append(
            {
                "id": name,
                "view_text": numbers["view_text"],
                "viewer": viewer(clip.frames, clip.groups, clip.names, patch, fps),
                "predictions": _predictions(numbers, results["run"]["name"]),
                "sheet": [(text, frame_source(contact_sheet(row, len(row)))) for text, row in clip.rows],
                "figures": _figures(numbers["folder"], layers, results["layers_shown"], within_steps=within_steps),
                "layers": _layer_table(name, layers, within_steps=within_steps),
            }
        )
    return render_page(
        "visualization/page.html.j2",
        title=str(results["name"]),
        kind="visualization",
        eyebrow=[results["name"], ids],
        headline=visualization_headline(results),
        warnings=results["warnings"],
        within_time_steps=within_steps,
        clips=shown,
        facts=_facts(results),
        folders=[clip["folder"] for clip in results["clips"]],
    )


def probability(share: float) -> str:
    """Formats a probability in percent; only exactly 0 and 1 are `0.0` and `100.0`."""
    text = percent(share)
    return {"100.0": ">99.9", "0.0": "<0.1"}.get(text, text) if 0 < share < 1 else text


def _change(clips: Sequence[Mapping[str, Any]]) -> str:
    if not clips[0]["predictions"]:
        return ""
    changes = [_changes(clip["predictions"]) for clip in clips]
    if len(clips) > 1:
        return f"; the prediction is unchanged in {changes.count([])} of {len(clips)} clips"
    return f"; prediction changed: {', '.join(changes[0])}" if changes[0] else "; prediction unchanged"


def _changes(predictions: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Returns the most likely classes without and with merging of the heads where they differ."""
    changes = []
    for head, classes in predictions.items():
        before, after = (max(classes, key=lambda one, which=which: one[which]) for which in ("unmerged", "merged"))
        if before is not after:
            changes.append(f"{head_label(head)}{shortened(before['name'], 24)} → {shortened(after['name'], 24)}")
    return changes


def _predictions(numbers: Mapping[str, Any], run: str) -> list[Table]:
    tables = []
    for head, classes in numbers["predictions"].items():
        title = head_label(head).strip()
        columns = [
            Column("name", title or "class"),
            Column("unmerged", "unmerged", "%", probability),
            Column("merged", run, "%", probability),
        ]
        label = numbers["labels"].get(head)
        rows = [{**one, "name": one["name"] + (" (label)" if one["class"] == label else "")} for one in classes]
        tables.append(Table(f"{numbers['id']}: most likely classes {title}".strip(), columns, rows))
    return tables


def _layer_table(clip: str, layers: Sequence[Mapping[str, Any]], *, within_steps: bool) -> Table:
    columns = [
        Column("layer", "after layer"),
        Column("groups", "groups", "", str),
        Column("mean", "mean size", "", number, "Patches of a group."),
        Column("median", "median size", "", number, "Patches of a group."),
        Column("largest", "largest", "", str, "Patches of a group."),
    ]
    if not within_steps:
        columns.append(Column("groups_in_several_steps", "in several time steps", "", str, "Groups."))
        columns.append(Column("longest_reach", "longest reach", "", str, "Time steps in which a group has patches."))
    if any(layer["discarded"] for layer in layers):
        columns.append(Column("share", "discarded", "%", percent, "Patches of dropped tokens."))
    rows = [
        {
            **layer,
            **layer["group_size"],
            "layer": str(place - 1) if place else "before",
            "share": layer["discarded"] / layer["patches"],
        }
        for place, layer in enumerate(layers)
    ]
    return Table(f"{clip}: groups after every layer", columns, rows)


def _facts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    run, model = results["run"], results["model"]
    time, height, width = results["grid"]
    depth, rows, columns = results["patch"]
    per_step = ", in each time step" if run["tokens_per_time_step"] else ""
    return [
        ("Model", f"{model['name']}, {run['name']}"),
        ("Weights", model["weights"]),
        ("Tokens per layer", f"{tokens_per_layer(run['tokens_per_layer'])}{per_step}"),
        ("Arithmetic", f"{number(run['macs_per_clip'] / 1e9)} GMACs, {ratio(run['mac_ratio'])} of unmerged"),
        (
            "Patches",
            f"{time} time steps of {height} {TIMES} {width}, each {plural(depth, 'frame')} deep and "
            f"{rows} {TIMES} {columns} pixels",
        ),
        ("Protocol", results["protocol"]["description"]),
        ("Software", ", ".join(f"{key} {value}" for key, value in results["environment"].items())),
    ]


def _figures(clip: str, layers: Layers, shown: Sequence[int], *, within_steps: bool) -> list[Figure]:
    """Draws the figures of a clip.

    Args:
        clip: Prefix of the figures' names.
        layers: Of `visualize.json`; the first entry is before the first layer.
        shown: Layers with a line over time.
        within_steps: Whether the model merges within time steps only.
    """
    names = ["before", *map(str, range(len(layers) - 1))]
    figures = [_sizes(clip, layers, names)]
    for key, title, y_label, caption in _OVER_TIME:
        series = []
        for colour, layer in enumerate(shown, 1):
            values = [Interval.of({"value": value}) for value in layers[layer + 1]["per_time_step"][key]]
            series.append(plots.Series(f"after layer {layer}", range(1, len(values) + 1), values, colour))
        look = {"x_label": "time step", "y_label": y_label, "from_zero": True}
        figures.append(plots.lines(f"{clip} {key}", title, series, caption, **look))
    if not within_steps:
        series = []
        for colour, (unit, text) in enumerate({"groups": "groups", "patches": "patches in such groups"}.items(), 1):
            parts = [(layer[f"{unit}_in_several_steps"], layer[unit]) for layer in layers]
            shares = [Interval.of({"value": 100 * some / every if every else None}) for some, every in parts]
            series.append(plots.Series(text, range(len(layers)), shares, colour))
        caption = "Groups of several time steps, and patches in such groups."
        look = {"x_label": "after layer", "y_label": "share (%)", "from_zero": True, "names": names}
        figures.append(plots.lines(f"{clip} reach", "Merged over time", series, caption, **look))
    return figures


def _sizes(clip: str, layers: Layers, names: Sequence[str]) -> Figure:
    """Draws the patches in groups of 1, 2 to 3, 4 to 7 and so on."""
    largest = max(layer["group_size"]["largest"] for layer in layers)
    patches, parts = layers[0]["patches"], {}
    for low in [2**power for power in range(largest.bit_length())] or [1]:
        counts = [
            sum(int(size) * count for size, count in layer["group_sizes"].items() if low <= int(size) < 2 * low)
            for layer in layers
        ]
        parts["of 1" if low == 1 else f"of {low} to {2 * low - 1}"] = [100 * count / patches for count in counts]
    discarded = [100 * layer["discarded"] / patches for layer in layers]
    return plots.shares(
        f"{clip} sizes",
        "Sizes of groups",
        parts,
        "Patches by the size of their group.",
        rest=("discarded", discarded) if any(discarded) else None,
        names=names,
        x_label="after layer",
        y_label="patches (%)",
    )
