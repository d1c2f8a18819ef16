"""Figures of a clip's groups: sizes over layers and time, tokens over time, groups of several time steps."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_vtm.reports import Figure, Interval, plots

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


def group_plots(clip: str, layers: Layers, shown: Sequence[int], *, within_steps: bool) -> list[Figure]:
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
