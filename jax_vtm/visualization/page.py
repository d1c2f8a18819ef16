"""The page of clips and their token groups."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jax_vtm.reports import Column, Page, Table, render_page
from jax_vtm.reports.formatting import TIMES, counted, head_label, number, percent, ratio, shortened, tokens_per_layer
from jax_vtm.reports.membership_picture import contact_sheet
from jax_vtm.visualization.group_plots import group_plots
from jax_vtm.visualization.viewer import Layer, frame_source, viewer

_DONE = {
    "merge": "Merging made {after} tokens of {before}",
    "random_merge": "Random merging made {after} tokens of {before}",
    "hybrid": "Hybrid merging made {after} tokens of {before}",
    "drop": "Dropping left {after} of {before} tokens",
    "random_drop": "Random dropping left {after} of {before} tokens",
}


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


def visualization_headline(results: Mapping[str, Any]) -> str:
    """What merging did to the tokens, the arithmetic and the predictions, in one sentence.

    Args:
        results: What `visualize.json` holds.
    """
    run, clips = results["run"], results["clips"]
    tokens = run["tokens_per_layer"]
    done = _DONE[run["reduction"]["mode"]].format(before=tokens[0], after=tokens[-1])
    where = " in each time step" if run["tokens_per_time_step"] else ""
    return f"{done}{where}, with {100 * run['mac_ratio']:.0f} % of the arithmetic{_outcome(clips)}."


def visualization_page(
    results: Mapping[str, Any], clips: Sequence[ShownClip], patch: tuple[int, int, int], fps: float
) -> Page:
    """Makes the page.

    Args:
        results: What `visualize.json` holds.
        clips: What it does not hold, clip by clip.
        patch: Frames and pixels per patch.
        fps: Frames per second when a clip plays.
    """
    ids = ", ".join(clip["id"] for clip in results["clips"][:3]) + (" and more" if len(clips) > 3 else "")
    run = results["run"]
    return render_page(
        "visualization/page.html.j2",
        title=str(results["name"]),
        kind="visualization",
        eyebrow=[results["name"], ids],
        headline=visualization_headline(results),
        warnings=results["warnings"],
        within_time_steps=run["within_time_steps"],
        clips=[
            _clip(f"clip-{index}", numbers, clip, results, patch, fps)
            for index, (numbers, clip) in enumerate(zip(results["clips"], clips, strict=True), start=1)
        ],
        facts=_facts(results),
        folders=[clip["folder"] for clip in results["clips"]],
    )


def prediction_is_unchanged(predictions: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
    """Whether the most likely class of every head is the same with and without merging."""
    return all(_first(classes, "unmerged") is _first(classes, "merged") for classes in predictions.values())


def probability(share: float) -> str:
    """A probability in percent; what is neither 0 nor 1 is not written as if it were."""
    text = percent(share)
    return {"100.0": ">99.9", "0.0": "<0.1"}.get(text, text) if 0 < share < 1 else text


def _outcome(clips: Sequence[Mapping[str, Any]]) -> str:
    """Whether predictions are still the same; nothing where there are none."""
    predictions = clips[0]["predictions"]
    if not predictions:
        return ""
    if len(clips) > 1:
        same = sum(prediction_is_unchanged(clip["predictions"]) for clip in clips)
        return f"; the prediction is unchanged in {same} of {len(clips)} clips"
    changed = []
    for head, classes in predictions.items():
        before, after = (_first(classes, which) for which in ("unmerged", "merged"))
        if before is not after:
            changed.append(f"{head_label(head)}{shortened(before['name'], 24)} → {shortened(after['name'], 24)}")
    return f"; prediction changed: {', '.join(changed)}" if changed else "; prediction unchanged"


def _first(classes: Sequence[Mapping[str, Any]], which: str) -> Mapping[str, Any]:
    return max(classes, key=lambda one: one[which])


def _clip(
    key: str,
    numbers: Mapping[str, Any],
    clip: ShownClip,
    results: Mapping[str, Any],
    patch: tuple[int, int, int],
    fps: float,
) -> dict[str, Any]:
    run = results["run"]
    return {
        "id": numbers["id"],
        "view_text": numbers["view_text"],
        "viewer": viewer(key, numbers["id"], clip.frames, clip.layers, patch, fps),
        "predictions": _predictions(numbers, run["name"]),
        "sheet": [(name, frame_source(contact_sheet(pictures, len(pictures)))) for name, pictures in clip.rows],
        "figures": group_plots(
            numbers["folder"], numbers["layers"], results["layers_shown"], within_steps=run["within_time_steps"]
        ),
        "layers": _layer_table(numbers["id"], numbers["layers"], within_steps=run["within_time_steps"]),
    }


def _predictions(numbers: Mapping[str, Any], run: str) -> list[Table]:
    tables = []
    for head, classes in numbers["predictions"].items():
        columns = (
            Column("name", head_label(head).strip() or "class"),
            Column("unmerged", "unmerged", "%", probability),
            Column("merged", run, "%", probability),
        )
        label = numbers["labels"].get(head)
        rows = [{**one, "name": one["name"] + (" (label)" if one["class"] == label else "")} for one in classes]
        tables.append(Table(f"{numbers['id']}: most likely classes {head_label(head)}".strip(), columns, rows))
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
        columns.append(Column("share", "discarded", "%", percent, "Patches that no token stands for."))
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
            f"{time} time steps of {height} {TIMES} {width}, each {counted(depth, 'frame')} deep and "
            f"{rows} {TIMES} {columns} pixels",
        ),
        ("Protocol", results["protocol"]["description"]),
        ("Software", ", ".join(f"{key} {value}" for key, value in results["environment"].items())),
    ]
