"""Clips and their token groups as one HTML page that needs nothing outside itself."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jax_vtm.reports import wording
from jax_vtm.reports.document import document
from jax_vtm.reports.markup import cell, row_head, safe, section, table
from jax_vtm.reports.membership_picture import contact_sheet
from jax_vtm.visualization.group_plots import group_plots
from jax_vtm.visualization.text import percent, visualisation_headline
from jax_vtm.visualization.viewer import SCRIPT, STYLE, Layer, viewer
from jax_vtm.visualization.viewer.viewer import frame_source

_NOTES = (
    ("patch", "A part of the clip that becomes one token before the first layer."),
    ("group", "The patches that a token stands for. Class tokens are no patches and are left out."),
    ("time step", "The frames that a patch is deep; patches of one time step lie beside each other."),
    ("reach", "Time steps in which a group has patches."),
    ("discarded", "Patches that no token stands for; black in the pictures."),
)

_NPZ = (
    "<code>membership</code>, int32 [1 + layers, time steps, rows, columns]: the group of every patch after every "
    "layer (entry 0 is before the first), -1 if discarded; <code>sizes/LAYER</code>: initial tokens that each token "
    "stands for, by its number, class tokens included; <code>frames</code>: the pixels that the patches are of."
)


@dataclasses.dataclass(frozen=True)
class ShownClip:
    """What the page shows of a clip beside its numbers.

    Attributes:
        frames: The clip, cut to what becomes patches.
        layers: Its groups, from before the first layer to after the last.
        rows: (what it shows, pictures) of each row of the contact sheet.
    """

    frames: UInt8[np.ndarray, "T H W 3"]
    layers: Sequence[Layer]
    rows: Sequence[tuple[str, UInt8[np.ndarray, "n H W 3"]]]


def render_visualisation(
    results: Mapping[str, Any], clips: Sequence[ShownClip], patch: tuple[int, int, int], fps: float
) -> str:
    """One self-contained HTML page: the answer, each clip to move through, its predictions, sheet, plots and table.

    Args:
        results: What `visualize.json` holds.
        clips: What it does not hold, clip by clip.
        patch: Frames and pixels per patch.
        fps: Frames per second when a clip plays.
    """
    sections = [
        section(
            safe(numbers["id"]) if len(clips) > 1 else "The clip",
            _clip(f"clip-{index}", numbers, clip, results, patch, fps),
        )
        for index, (numbers, clip) in enumerate(zip(results["clips"], clips, strict=True), start=1)
    ]
    sections += [
        section("How it was made", _facts(results)),
        section("What the words mean", _definitions([(name, safe(text)) for name, text in _NOTES])),
    ]
    name = results["name"]
    ids = ", ".join(clip["id"] for clip in results["clips"][:3]) + (" and more" if len(clips) > 3 else "")
    return document(
        f"{name}: groups of tokens",
        f"{name} · {ids}",
        visualisation_headline(results),
        results["warnings"],
        sections,
        style=STYLE,
        script=SCRIPT,
    )


def _clip(
    key: str,
    numbers: Mapping[str, Any],
    clip: ShownClip,
    results: Mapping[str, Any],
    patch: tuple[int, int, int],
    fps: float,
) -> str:
    run = results["run"]
    whole = "within its time step" if run["within_time_steps"] else "in every frame that it reaches"
    about = (
        f"Point at a patch to see its whole group, {whole}. A click or a tap holds it; with the keyboard, arrow keys "
        "go from patch to patch."
    )
    return f"""<div class="clip">
<p class="caption"><span class="hint">{safe(about)} </span>{safe(numbers["view_text"])}</p>
{viewer(key, numbers["id"], clip.frames, clip.layers, patch, fps)}
{_predictions(numbers, run["name"])}
<h3>The same as a sheet</h3>
{_sheet(clip)}
<h3>In numbers</h3>
{group_plots(numbers["layers"], results["layers_shown"], within_steps=run["within_time_steps"])}
{_layer_table(numbers["layers"], run)}
</div>"""


def _sheet(clip: ShownClip) -> str:
    rows = []
    for name, pictures in clip.rows:
        source = frame_source(contact_sheet(pictures, len(pictures)))
        rows.append(f'<dt>{safe(name)}</dt><dd><img alt="{safe(name)}" src="{source}"></dd>')
    sheet = f'<dl class="sheet">{"".join(rows)}</dl>'
    return f'<div class="scroll sheets" role="region" aria-label="Sheet" tabindex="0">{sheet}</div>'


def _predictions(numbers: Mapping[str, Any], run: str) -> str:
    tables = []
    for head, classes in numbers["predictions"].items():
        label = numbers["labels"].get(head)
        name = wording.head_label(head).strip()
        rows = [
            f"<tr>{row_head(one['name'] + (' (label)' if one['class'] == label else ''))}"
            f"{_probability(one, 'unmerged')}{_probability(one, 'merged')}</tr>\n"
            for one in classes
        ]
        heads = [(name or "class", "text"), ("unmerged", "number"), (run, "number")]
        tables.append(f"<figure>{table(f'Most likely classes {name}', heads, rows, 'sortable fitted')}</figure>")
    if not tables:
        return ""
    return f'<h3>Predictions of this view</h3>\n<div class="predictions">{"".join(tables)}</div>'


def _probability(one: Mapping[str, Any], which: str) -> str:
    return cell(percent(one[which]), one[which], below="first" if one[f"{which}_rank"] == 1 else "")


def _layer_table(layers: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> str:
    rows = []
    discards = any(layer["discarded"] for layer in layers)
    for number, layer in enumerate(layers):
        size = layer["group_size"]
        cells = [
            cell(str(layer["groups"]), layer["groups"]),
            cell(wording.number(size["mean"]), size["mean"]),
            cell(wording.number(size["median"]), size["median"]),
            cell(str(size["largest"]), size["largest"]),
        ]
        if not run["within_time_steps"]:
            several = layer["groups_in_several_steps"]
            cells += [cell(str(several), several), cell(str(layer["longest_reach"]), layer["longest_reach"])]
        if discards:
            cells.append(cell(wording.percent(layer["discarded"] / layer["patches"]), layer["discarded"]))
        rows.append(f"<tr>{row_head(str(number) if number else 'before', number)}{''.join(cells)}</tr>\n")
    reach = () if run["within_time_steps"] else ("in several time steps", "longest reach")
    heads = ("groups", "mean size", "median", "largest", *reach, *(("discarded",) if discards else ()))
    return table(
        "Groups after every layer", [("layer", "text"), *((text, "number") for text in heads)], rows, "sortable fitted"
    )


def _facts(results: Mapping[str, Any]) -> str:
    run, model = results["run"], results["model"]
    tokens = wording.tokens_per_layer(run["tokens_per_layer"], "→")
    folders = ", ".join(f"<code>{safe(clip['folder'])}/</code>" for clip in results["clips"])
    per_step = ", in each time step" if run["tokens_per_time_step"] else ""
    facts = [
        ("Model", safe(f"{model['name']}, {run['name']}")),
        ("Weights", safe(model["weights"])),
        ("Tokens per layer", safe(f"{tokens}{per_step}")),
        (
            "Arithmetic",
            safe(f"{wording.number(run['macs_per_clip'] / 1e9)} GMACs, {wording.ratio(run['mac_ratio'])} of unmerged"),
        ),
        ("Patches", safe(_patches(results))),
        ("Protocol", safe(results["protocol"]["description"])),
        ("Software", safe(", ".join(f"{key} {value}" for key, value in results["environment"].items()))),
        (
            "Files",
            f"{folders}, with <code>sheet.png</code>, <code>groups.mp4</code>, <code>groups.gif</code> and"
            " <code>membership.npz</code>",
        ),
        ("In membership.npz", _NPZ),
    ]
    return _definitions(facts)


def _patches(results: Mapping[str, Any]) -> str:
    time, height, width = results["grid"]
    depth, rows, columns = results["patch"]
    deep = f"{depth} frame{'s' if depth > 1 else ''} deep"
    times = wording.TIMES
    return f"{time} time steps of {height} {times} {width}, each {deep} and {rows} {times} {columns} pixels"


def _definitions(facts: Sequence[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{text}</dd>' for name, text in facts if text)}</dl>"
