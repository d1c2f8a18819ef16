"""Figures of the groups of one clip: their sizes over layers and over time, and where the tokens went."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import Figure, Interval, plots

Layers = Sequence[Mapping[str, Any]]

# Over time: what of a layer, its title, its axis, and what is to be known of it.
_OVER_TIME = (
    ("mean_group_size", "Size of groups over time", "patches of a group (mean)", ""),
    (
        "tokens",
        "Tokens kept over time",
        "tokens",
        "A token of several time steps counts in each by its share of patches there.",
    ),
)


def group_plots(clip: str, layers: Layers, shown: Sequence[int], *, within_steps: bool) -> list[Figure]:
    """The figures of a clip.

    Args:
        clip: Begins the names of the figures' files.
        layers: What `visualize.json` holds of every layer, the first entry being before the first layer.
        shown: The layers that have a line over time.
        within_steps: Whether groups never reach another time step.
    """
    names = ["before", *map(str, range(len(layers) - 1))]
    figures = [_sizes(clip, layers, names)]
    for key, title, y_label, caption in _OVER_TIME:
        series = []
        for number, layer in enumerate(shown, 1):
            values = [Interval.of({"value": value}) for value in layers[layer + 1]["per_time_step"][key]]
            series.append(plots.Series(f"after layer {layer}", range(1, len(values) + 1), values, number))
        look = {"x_label": "time step", "y_label": y_label, "from_zero": True}
        figures.append(plots.lines(f"{clip} {key}", title, series, caption, **look))
    if not within_steps:
        series = []
        for number, (unit, text) in enumerate({"groups": "groups", "patches": "patches in such groups"}.items(), 1):
            parts = [(layer[f"{unit}_in_several_steps"], layer[unit]) for layer in layers]
            shares = [Interval.of({"value": 100 * some / every if every else None}) for some, every in parts]
            series.append(plots.Series(text, range(len(layers)), shares, number))
        caption = "Groups that reach over more than one time step, and patches that are in such groups."
        look = {"x_label": "after layer", "y_label": "share (%)", "from_zero": True, "names": names}
        figures.append(plots.lines(f"{clip} reach", "Merged over time", series, caption, **look))
    return figures


def _sizes(clip: str, layers: Layers, names: Sequence[str]) -> Figure:
    """How the clip's patches are spread over groups of one, two or three, four to seven and so on."""
    largest = max(layer["group_size"]["largest"] for layer in layers)
    patches, parts = layers[0]["patches"], {}
    for low in [2**power for power in range(largest.bit_length())] or [1]:
        counted = [
            sum(int(size) * count for size, count in layer["group_sizes"].items() if low <= int(size) < 2 * low)
            for layer in layers
        ]
        parts["of 1" if low == 1 else f"of {low} to {2 * low - 1}"] = [100 * count / patches for count in counted]
    discarded = [100 * layer["discarded"] / patches for layer in layers]
    return plots.shares(
        f"{clip} sizes",
        "Sizes of groups",
        parts,
        "Patches in groups of so many.",
        rest=("discarded", discarded) if any(discarded) else None,
        names=names,
        x_label="after layer",
        y_label="patches (%)",
    )
