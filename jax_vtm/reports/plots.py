"""Figures: lines, scatter, intervals, stacked bars and heat maps, with error bars and one legend below the axes.

Each function takes the name of the files, the title, the data, the caption and the labels of the axes. Unknown values
are not drawn; a figure without values has no drawing, and pages leave it out.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jax_vtm.reports.figure import COLOURS, LIGHT, STYLE, WIDTH, Figure
from jax_vtm.reports.formatting import is_known, shortened
from jax_vtm.reports.table import Interval

LINE_HEIGHT = 0.17  # inches, of a legend's line
MARKERS = ("o", "s", "^", "D", "v", "P")
MARK = 5.0  # points
RING = 3.4  # points by which a mark that overlaps another is larger
NEAR = 0.02  # marks closer than this share of an axis overlap
MOST_NAMES = 8  # tick labels of an axis

Values = Sequence[tuple[Any, Interval]]


@dataclasses.dataclass(frozen=True)
class Series:
    """One line or set of marks.

    Attributes:
        name: In the legend.
        x: Numbers, or the names of groups for `intervals`.
        y: Values.
        colour: Number of the colour, and of the marker unless `marker` is given.
        dashed: Draws a dashed line without marks, for references and computed values.
        marker: Number of the marker.
    """

    name: str
    x: Sequence[Any]
    y: Sequence[Interval]
    colour: int = 1
    dashed: bool = False
    marker: int | None = None

    @property
    def hue(self) -> str:
        """Hex code of the colour."""
        return LIGHT[f"c{self.colour % COLOURS}"]

    @property
    def mark(self) -> dict[str, Any]:
        """Matplotlib's properties of a mark."""
        marker = MARKERS[(self.colour if self.marker is None else self.marker) % len(MARKERS)]
        return {"linestyle": "", "marker": marker, "color": self.hue, "markerfacecolor": "none", "markersize": MARK}

    def known(self, *, positive: bool = False) -> list[tuple[Any, Interval]]:
        """Returns the values that are known, with their x; only positive ones for a log axis."""
        pairs = zip(self.x, self.y, strict=True)
        return [(x, y) for x, y in pairs if is_known(y.value) and (y.value > 0 or not positive)]


def lines(
    name: str,
    title: str,
    series: Sequence[Series],
    caption: str = "",
    *,
    x_label: str,
    y_label: str,
    steps: bool = False,
    from_zero: bool = False,
    log: bool = False,
    names: Sequence[str] = (),
    apart: float = 0.0,
) -> Figure:
    """Draws lines over numbers, such as layers.

    `steps` draws steps without marks, `log` leaves out values that are not positive, `names` are tick labels at 0, 1,
    ..., and `apart` is the horizontal offset between series with the same x.
    """
    if not any(one.known(positive=log) for one in series):
        return Figure(name, title, caption, None)
    with _axes([one.name for one in series]) as axes:
        marked = []
        for number, one in enumerate(series):
            shift = (number - (len(series) - 1) / 2) * apart
            values = [(x + shift, y) for x, y in one.known(positive=log)]
            # Of lines that overlap, the lower is wider, so that both are visible.
            width = 1.3 if one.dashed else 1.3 + 1.2 * (len(series) - 1 - number) / max(1, len(series) - 1)
            look: dict[str, Any] = {"color": one.hue, "linestyle": "--" if one.dashed else "-"}
            drawn = axes.plot(*_points(values), linewidth=width, gid=f"line-{number}", **look)[0]
            _whiskers(axes, values, one.hue)
            if one.dashed or steps:
                drawn.set(drawstyle="steps-mid" if steps else "default", label=_label(one.name))
            else:
                axes.plot([], [], label=_label(one.name), **one.mark | look)
                marked.append((one, values))
        _marks(axes, marked, log)
        axes.set(xlabel=x_label, ylabel=y_label)
        if log:
            # Whole decades, so that some have labels; without mathtext, which is off.
            axes.set_yscale("log")
            low, high = map(math.log10, axes.get_ylim())
            axes.set_ylim(10 ** math.floor(low), 10 ** math.ceil(high))
            axes.yaxis.set(major_formatter="{x:g}", minor_formatter="")
        if from_zero:
            tops = [value for one in series for _, y in one.known() for value in (y.value, y.high) if is_known(value)]
            axes.set_ylim(0, 1.06 * max(tops, default=0) or 1)
        if names:
            _name_places(axes, names)
        elif all(isinstance(x, int) for one in series for x in one.x):
            axes.xaxis.get_major_locator().set_params(integer=True)
    return Figure(name, title, caption, axes.figure)


def tokens(counts: Mapping[str, Sequence[int]]) -> Figure:
    """Draws the tokens that enter each layer, and leave the last, by run."""
    series = [
        Series(name, range(len(values)), [Interval(value) for value in values], number)
        for number, (name, values) in enumerate(counts.items())
    ]
    names = [*map(str, range(max(map(len, counts.values())) - 1)), "out"]
    look = {"steps": True, "from_zero": True, "names": names}
    return lines("tokens", "Tokens", series, x_label="entering layer", y_label="tokens", **look)


def scatter(
    name: str,
    title: str,
    series: Sequence[Series],
    front: Sequence[tuple[float, Interval, str]] = (),
    caption: str = "",
    *,
    x_label: str,
    y_label: str,
) -> Figure:
    """Draws marks with intervals, a thin line through each series, and `front`, (x, y, label), dashed, with a band."""
    drawn_front = front if len(front) > 1 else ()
    legend = [one.name for one in series] + ["Pareto front"] * bool(drawn_front)
    with _axes(legend, width=1.45 * WIDTH, height=3.0) as axes:
        marked = [(one, sorted(one.known())) for one in series]
        for one, values in marked:
            axes.plot(*_points(values), color=one.hue, linewidth=0.7, alpha=0.5)
            axes.plot([], [], label=_label(one.name), **one.mark)
            _whiskers(axes, values, one.hue, alpha=0.45)
        _marks(axes, marked)
        if drawn_front:
            places = [x for x, _, _ in front]
            axes.plot(
                places, [y.value for _, y, _ in front], "--", color=LIGHT["ink"], linewidth=1, label="Pareto front"
            )
            if all(y.is_known for _, y, _ in front):
                ends = [y.low for _, y, _ in front], [y.high for _, y, _ in front]
                axes.fill_between(places, *ends, color=LIGHT["ink"], alpha=0.07, linewidth=0)
        for x, y, label in front:
            axes.annotate(label, (x, y.value), (-4, 5), textcoords="offset points", ha="right", color=LIGHT["ink"])
        axes.margins(0.12)
        axes.set(xlabel=x_label, ylabel=y_label)
    return Figure(name, title, caption, axes.figure)


def intervals(
    name: str, title: str, series: Sequence[Series], caption: str = "", *, x_label: str, whole: float | None = None
) -> Figure:
    """Draws values with intervals, a row per group with the series below each other; a dashed line marks `whole`."""
    if not any(one.known() for one in series):
        return Figure(name, title, caption, None)
    groups = list(dict.fromkeys(x for one in series for x in one.x))
    height = 0.75 + (0.15 * len(series) + 0.12) * len(groups)
    with _axes([one.name for one in series], height=height) as axes:
        for number, one in enumerate(series):
            shift = 0.7 * ((number + 0.5) / len(series) - 0.5)
            values = [(groups.index(x) + shift, y) for x, y in one.known()]
            _whiskers(axes, values, one.hue, horizontal=True)
            places, found = _points(values)
            mark = one.mark | {"markerfacecolor": LIGHT["paper"], "label": _label(one.name)}
            axes.plot(found, places, gid=f"series-{number}", zorder=3, **mark)
        if whole is not None:
            axes.axvline(whole, color=LIGHT["soft"], linestyle="--", linewidth=1)
            axes.set_xlim(left=0)
        axes.set_yticks(range(len(groups)), [shortened(str(group), 26) for group in groups])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set(xlabel=x_label, ylim=(len(groups) - 0.5, -0.5))
    return Figure(name, title, caption, axes.figure)


def shares(
    name: str,
    title: str,
    parts: Mapping[str, Sequence[float]],
    caption: str = "",
    *,
    rest: tuple[str, Sequence[float]] | None = None,
    names: Sequence[str],
    x_label: str,
    y_label: str,
) -> Figure:
    """Draws stacked bars of `parts`, {name: height at every place}, and of a grey `rest`; `names` are of the places."""
    drawn = [
        (text, heights, {"color": LIGHT["c1"], "alpha": min(1, 0.2 + 0.8 * number / max(1, len(parts) - 1))})
        for number, (text, heights) in enumerate(parts.items())
    ]
    drawn += [(*rest, {"color": LIGHT["c0"]})] if rest else []
    with _axes([text for text, *_ in drawn]) as axes:
        below = np.zeros(len(names))
        for text, heights, look in drawn:
            axes.bar(range(len(names)), heights, 0.8, below, label=_label(text), **look)
            below += np.asarray(heights)
        _name_places(axes, names)
        axes.set(xlabel=x_label, ylabel=y_label)
    return Figure(name, title, caption, axes.figure)


def heat_map(name: str, title: str, matrix: Int[np.ndarray, "K K"], names: Sequence[str]) -> Figure:
    """Draws a confusion matrix [true, predicted], shaded by the square root of the share of the row."""
    count = len(matrix)
    labels = [shortened(one, 14) for one in names]
    side = min(WIDTH, 1.5 + 0.25 * count) if count <= 10 else 2 * WIDTH
    with _axes([], width=side, height=side) as axes:
        for row, column in np.argwhere(matrix).tolist():
            share = matrix[row, column] / matrix[row].sum()
            colour = LIGHT["c1" if row == column else "c2"]
            left, top = column - 0.5, row - 0.5
            square = [left, left + 1, left + 1, left], [top, top, top + 1, top + 1]
            axes.fill(*square, color=colour, alpha=max(0.08, 0.5 * math.sqrt(share)), linewidth=0)
            if matrix[row, column] < 1000 or count <= 8:
                axes.text(column, row, str(matrix[row, column]), ha="center", va="center")
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), xlabel="predicted", ylabel="true", aspect="equal")
        axes.set_xticks(range(count), labels, rotation=50, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(count), labels)
        axes.grid(visible=False)
        axes.tick_params(length=0)
    return Figure(name, title, "", axes.figure)


@contextlib.contextmanager
def _axes(legend: Sequence[str], *, width: float = WIDTH, height: float = 2.2) -> Iterator[Any]:
    """Yields axes, and adds a legend if there are several names."""
    import matplotlib
    import matplotlib.figure

    longest = max((len(_label(name)) for name in legend), default=1)
    columns = max(1, min(len(legend), int(width / (0.5 + 0.085 * longest))))
    legend_height = LINE_HEIGHT * math.ceil(len(legend) / columns) if len(legend) > 1 else 0
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure((width, height + legend_height), layout="constrained")
        yield figure.add_subplot()
        if len(legend) > 1:
            figure.legend(loc="outside lower left", ncols=columns)


def _label(name: str) -> str:
    """Shortens a name for the legend; matplotlib would leave out one with a leading underscore."""
    return f"\u200b{shortened(name)}" if name.startswith("_") else shortened(name)


def _name_places(axes: Any, names: Sequence[str]) -> None:
    every = math.ceil(len(names) / MOST_NAMES)
    axes.set_xticks(range(0, len(names), every), names[::every])


def _points(values: Values) -> tuple[list[Any], list[float]]:
    return [x for x, _ in values], [y.value for _, y in values]


def _whiskers(axes: Any, values: Values, colour: str, alpha: float = 1.0, *, horizontal: bool = False) -> None:
    found = [(x, y.low, y.high) for x, y in values if y.is_known and y.high > y.low]
    if found:
        (axes.hlines if horizontal else axes.vlines)(*zip(*found, strict=True), colour, linewidth=1.1, alpha=alpha)


def _marks(axes: Any, marked: Sequence[tuple[Series, Values]], log: bool = False) -> None:
    """Draws open marks; one that overlaps others is a ring around them, so that all are visible."""
    points = [(one, x, y.value) for one, values in marked for x, y in values]
    scaled = np.array([(x, math.log10(y) if log else y) for _, x, y in points]).reshape(-1, 2)
    span = np.ptp(scaled, axis=0) if points else np.ones(2)
    scaled /= np.where(span == 0, 1, span)
    for index, (one, x, y) in enumerate(points):
        below = int((np.abs(scaled[:index] - scaled[index]) < NEAR).all(axis=1).sum())
        axes.plot([x], [y], zorder=3, gid=f"point-{index}", **one.mark | {"markersize": MARK + RING * below})
