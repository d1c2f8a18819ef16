"""Figures of the groups of one clip: their sizes over layers and over time, and where the tokens went."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import Figure, Interval, plots

Layers = Sequence[Mapping[str, Any]]


def group_plots(clip: str, layers: Layers, shown: Sequence[int], *, within_steps: bool) -> list[Figure]:
    """The figures of a clip.

    Args:
        clip: Begins the names of the figures' files.
        layers: What `visualize.json` holds of every layer, the first entry being before the first layer.
        shown: The layers that have a line over time.
        within_steps: Whether groups never reach another time step.
    """
    made = [
        _sizes(clip, layers),
        _over_time(clip, layers, shown, "mean_group_size", "Size of groups over time", "patches of a group (mean)"),
        _over_time(clip, layers, shown, "tokens", "Tokens kept over time", "tokens"),
    ]
    return made if within_steps else [*made, _reach(clip, layers)]


def _names(layers: Layers) -> list[str]:
    return ["before", *map(str, range(len(layers) - 1))]


def _sizes(clip: str, layers: Layers) -> Figure:
    """How the clip's patches are spread over groups of one, two or three, four to seven and so on."""
    largest = max(layer["group_size"]["largest"] for layer in layers)
    classes = [(2**power, 2 ** (power + 1) - 1) for power in range(largest.bit_length())] or [(1, 1)]
    patches = layers[0]["patches"]
    parts = {}
    for low, high in classes:
        parts[f"of {low}" if low == high else f"of {low} to {high}"] = [
            100
            * sum(int(size) * count for size, count in layer["group_sizes"].items() if low <= int(size) <= high)
            / patches
            for layer in layers
        ]
    discarded = [100 * layer["discarded"] / patches for layer in layers]
    return plots.shares(
        f"{clip} sizes",
        "Sizes of groups",
        parts,
        "Patches in groups of so many.",
        rest=("discarded", discarded) if any(discarded) else None,
        names=_names(layers),
        x_label="after layer",
        y_label="patches (%)",
    )


def _over_time(clip: str, layers: Layers, shown: Sequence[int], key: str, title: str, y_label: str) -> Figure:
    series = []
    for number, layer in enumerate(shown):
        values = layers[layer + 1]["per_time_step"][key]
        known = [Interval(math.nan if value is None else value) for value in values]
        places = list(range(1, len(values) + 1))
        series.append(plots.Series(f"after layer {layer}", places, known, 1 + number, marker=number))
    caption = "A token of several time steps counts in each by its share of patches there." if key == "tokens" else ""
    return plots.lines(f"{clip} {key}", title, series, caption, x_label="time step", y_label=y_label, from_zero=True)


def _reach(clip: str, layers: Layers) -> Figure:
    """How much is merged over time."""
    places = list(range(len(layers)))
    groups = [_share(layer["groups_in_several_steps"], layer["groups"]) for layer in layers]
    patches = [_share(layer["patches_in_several_steps"], layer["patches"]) for layer in layers]
    return plots.lines(
        f"{clip} reach",
        "Merged over time",
        [
            plots.Series("groups", places, groups, 1),
            plots.Series("patches in such groups", places, patches, 2, marker=1),
        ],
        "Groups that reach over more than one time step, and patches that are in such groups.",
        x_label="after layer",
        y_label="share (%)",
        from_zero=True,
        names=_names(layers),
    )


def _share(part: int, whole: int) -> Interval:
    return Interval(100 * part / whole if whole else math.nan)
