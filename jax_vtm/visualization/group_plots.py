"""Plots of the groups of one clip: their sizes over layers and over time, and where the tokens went."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports.line_plot import Line, Part, bars, lines
from jax_vtm.reports.markup import figure


def group_plots(layers: Sequence[Mapping[str, Any]], shown: Sequence[int], *, within_steps: bool) -> str:
    """The plots, in a row.

    Args:
        layers: What `visualize.json` holds of every layer, the first entry being before the first layer.
        shown: The layers that have a line over time.
        within_steps: Whether groups never reach another time step.
    """
    plots = [_sizes(layers), _size_over_time(layers, shown), _tokens_over_time(layers, shown)]
    if not within_steps:
        plots.append(_reach(layers))
    return f'<div class="plots">{"".join(plots)}</div>'


def _sizes(layers: Sequence[Mapping[str, Any]]) -> str:
    """How the clip's patches are spread over groups of one, two or three, four to seven and so on."""
    largest = max(layer["group_size"]["largest"] for layer in layers)
    classes = [(2**power, 2 ** (power + 1) - 1) for power in range(largest.bit_length())] or [(1, 1)]
    patches = layers[0]["patches"]
    parts = []
    for place, (low, high) in enumerate(classes):
        shares = [
            100
            * sum(int(size) * count for size, count in layer["group_sizes"].items() if low <= int(size) <= high)
            / patches
            for layer in layers
        ]
        opacity = 0.2 + 0.8 * place / max(1, len(classes) - 1)
        parts.append(Part(f"of {low}" if low == high else f"of {low} to {high}", shares, "s1", opacity))
    discarded = [100 * layer["discarded"] / patches for layer in layers]
    if any(discarded):
        parts.append(Part("discarded", discarded, "s0"))
    drawing = bars("Share of patches in groups of each size", parts, "after layer", first=0)
    return figure(
        "Sizes of groups", drawing, "Share of the clip's patches that are in a group of so many; 0 is before merging."
    )


def _size_over_time(layers: Sequence[Mapping[str, Any]], shown: Sequence[int]) -> str:
    series = [_over_time(layers[layer], layer, "mean_group_size") for layer in shown]
    drawing = lines("Mean size of the groups of each time step's patches", series, "time step")
    return figure("Size of groups over time", drawing, "Mean over the time step's patches of the size of their group.")


def _tokens_over_time(layers: Sequence[Mapping[str, Any]], shown: Sequence[int]) -> str:
    series = [_over_time(layers[layer], layer, "tokens") for layer in shown]
    drawing = lines("Tokens kept for each time step", series, "time step")
    caption = (
        "A token of several time steps counts in each by its share of patches there, so they add up to the tokens."
    )
    return figure("Tokens kept over time", drawing, caption)


def _over_time(layer: Mapping[str, Any], number: int, key: str) -> Line:
    values = [math.nan if value is None else value for value in layer["per_time_step"][key]]
    return Line(f"after layer {number}", values)


def _reach(layers: Sequence[Mapping[str, Any]]) -> str:
    """How much is merged over time."""
    series = [
        Line("groups", [_share(layer["groups_in_several_steps"], layer["groups"]) for layer in layers]),
        Line(
            "patches in such groups",
            [_share(layer["patches_in_several_steps"], layer["patches"]) for layer in layers],
        ),
    ]
    caption = "Share of the groups that reach over more than one time step, and of the patches that are in such groups."
    drawing = lines("Share in more than one time step", series, "after layer", first=0, unit=" %")
    return figure("Merged over time", drawing, caption)


def _share(part: int, whole: int) -> float:
    return 100 * part / whole if whole else math.nan
