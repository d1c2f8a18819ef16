"""The kinds of figures that pages have. Every value is drawn where it is, with its interval where that is known.

Each is made from the name of its files, its title, what is drawn, the caption below it in a page, and the labels of its
axes. One legend below the axes names the series.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jax_vtm.reports.figure import COLOURS, LIGHT, STYLE, WIDTH, Figure
from jax_vtm.reports.formatting import known, shortened
from jax_vtm.reports.table import Interval

LINE_HEIGHT = 0.17  # inches, of a legend's line
MARKERS = ("o", "s", "^", "D", "v", "P")
MARK = 5.0  # points
RING = 3.4  # points that a mark grows by where it lies on another
NEAR = 0.02  # marks closer than this share of an axis lie on each other


@dataclasses.dataclass(frozen=True)
class Series:
    """Values that belong together.

    Attributes:
        name: In the legend.
        x: Places of the values: numbers, or the names of groups for `intervals` and `bars`.
        y: The values; an unknown one is not drawn.
        colour: Number of its colour.
        dashed: Drawn as a dashed line without marks: known by arithmetic, or a reference.
        marker: Number of its marker.
    """

    name: str
    x: Sequence[Any]
    y: Sequence[Interval]
    colour: int = 1
    dashed: bool = False
    marker: int = 0

    @property
    def hue(self) -> str:
        """Its colour."""
        return LIGHT[f"c{self.colour % COLOURS}"]

    def known(self) -> list[tuple[Any, Interval]]:
        """The values that are known, with their places."""
        return [(x, y) for x, y in zip(self.x, self.y, strict=True) if known(y.value)]


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
    log: str = "",
    names: Sequence[str] | None = None,
    apart: float = 0.0,
) -> Figure:
    """Lines over numbers, such as a model's layers.

    `steps` draws stairs without marks, for counts that change between places. `log` says which axes are logarithmic,
    "x", "y" or "xy"; there, what is not positive is not drawn. `names` are of the places 0, 1, ... of the horizontal
    axis, and `apart` is how far series stand beside each other where places are names.
    """
    with _axes([one.name for one in series]) as (axes, done):
        marked = []
        for number, one in enumerate(series):
            shift = (number - (len(series) - 1) / 2) * apart
            values = [(x + shift, y) for x, y in one.known() if not ("y" in log and y.value <= 0)]
            xs, ys = [x for x, _ in values], [y.value for _, y in values]
            # Where lines lie on each other, the wider one below is seen at the sides of the narrower one above.
            width = 1.3 if one.dashed else 1.3 + 1.2 * (len(series) - 1 - number) / max(1, len(series) - 1)
            style = "--" if one.dashed else "-"
            drawn = axes.plot(xs, ys, style, color=one.hue, linewidth=width, gid=f"line-{number}")[0]
            drawn.set_drawstyle("steps-mid" if steps else "default")
            _whiskers(axes, values, one.hue)
            if one.dashed or steps:
                done.append((drawn, one.name))
            else:
                marked.append((one, values))
                done.append((_handle(axes, one, linestyle="-"), one.name))
        _marks(axes, marked, log)
        for axis in log:
            axes.set(**{f"{axis}scale": "log"})
            # Whole decades, so that some are named; in plain numbers, since a dollar in a text is a dollar.
            low, high = (math.log10(end) for end in getattr(axes, f"get_{axis}lim")())
            axes.set(**{f"{axis}lim": (10 ** math.floor(low), 10 ** math.ceil(high))})
            getattr(axes, f"{axis}axis").set(major_formatter="{x:g}", minor_formatter="")
        if from_zero:
            tops = [value for one in series for _, y in one.known() for value in (y.value, y.high) if known(value)]
            axes.set_ylim(0, 1.06 * max(tops, default=0) or 1)
        if names:
            every = math.ceil(len(names) / 8)
            axes.set_xticks(range(0, len(names), every), names[::every])
        elif not log and all(isinstance(x, int) for one in series for x in one.x):
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel=x_label, ylabel=y_label)
    return Figure(name, title, caption, axes.figure)


def scatter(
    name: str,
    title: str,
    series: Sequence[Series],
    front: Sequence[tuple[float, float, str]] = (),
    caption: str = "",
    *,
    x_label: str,
    y_label: str,
) -> Figure:
    """Marks with their intervals; those of a series are joined by a thin line, those of the front by a dashed one.

    Marks that lie on others are rings around them. The front is the place, height and label of each in its order.
    """
    legend = [one.name for one in series] + ["Pareto front"] * (len(front) > 1)
    with _axes(legend, width=1.45 * WIDTH, height=3.0) as (axes, done):
        marked = [(one, sorted(one.known())) for one in series]
        for one, values in marked:
            axes.plot([x for x, _ in values], [y.value for _, y in values], color=one.hue, linewidth=0.7, alpha=0.5)
            _whiskers(axes, values, one.hue, alpha=0.45)
            done.append((_handle(axes, one), one.name))
        _marks(axes, marked)
        if len(front) > 1:
            line = axes.plot([x for x, _, _ in front], [y for _, y, _ in front], "--", color=LIGHT["ink"], linewidth=1)
            done.append((line[0], "Pareto front"))
        for x, y, label in front:
            axes.annotate(label, (x, y), (-4, 5), textcoords="offset points", ha="right", color=LIGHT["ink"])
        axes.margins(0.12)
        axes.set(xlabel=x_label, ylabel=y_label)
    return Figure(name, title, caption, axes.figure)


def intervals(name: str, title: str, series: Sequence[Series], caption: str = "", *, x_label: str) -> Figure:
    """Values with their intervals, a row for every group of values and the series below each other in it."""
    groups = list(dict.fromkeys(x for one in series for x in one.x))
    rows = len(groups) * len(series)
    with _axes([one.name for one in series], height=0.75 + 0.15 * rows + 0.12 * len(groups)) as (axes, done):
        apart = 0.7 / len(series)
        for number, one in enumerate(series):
            values = one.known()
            places = [groups.index(x) + (number - (len(series) - 1) / 2) * apart for x, _ in values]
            xs = [y.value for _, y in values]
            look = {"marker": MARKERS[one.marker % len(MARKERS)], "color": one.hue, "markerfacecolor": LIGHT["paper"]}
            drawn = axes.plot(xs, places, linestyle="", gid=f"series-{number}", zorder=3, **look)[0]
            for place, (_, y) in zip(places, values, strict=True):
                if y.is_known:
                    axes.plot([y.low, y.high], [place, place], color=one.hue, linewidth=1.2, solid_capstyle="butt")
            done.append((drawn, one.name))
        _rows(axes, groups)
        axes.set(xlabel=x_label)
    return Figure(name, title, caption, axes.figure)


def bars(
    name: str, title: str, series: Sequence[Series], caption: str = "", *, x_label: str, reference: float | None = None
) -> Figure:
    """Bars from zero, each with its number, a row for every group of values; perhaps a line to hold them against."""
    groups = list(dict.fromkeys(x for one in series for x in one.x))
    rows = len(groups) * len(series)
    with _axes([one.name for one in series], height=0.75 + 0.19 * rows + 0.1 * len(groups)) as (axes, done):
        thick = 0.8 / len(series)
        for number, one in enumerate(series):
            values = one.known()
            places = [groups.index(x) + (number - (len(series) - 1) / 2) * thick for x, _ in values]
            drawn = axes.barh(places, [y.value for _, y in values], 0.85 * thick, color=one.hue)
            axes.bar_label(drawn, [f"{y.value:.0f}" for _, y in values], padding=3)
            for place, (_, y) in zip(places, values, strict=True):
                if y.is_known:
                    axes.plot([y.low, y.high], [place, place], color=LIGHT["ink"], linewidth=1)
            done.append((drawn, one.name))
        if reference is not None:
            axes.axvline(reference, color=LIGHT["soft"], linestyle="--", linewidth=1)
        _rows(axes, groups)
        axes.margins(x=0.12)
        axes.set_xlim(left=0)
        axes.set(xlabel=x_label)
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
    """Bars of parts from the bottom up that make a whole, the darker the later.

    `parts` has the heights of each part at every place, `names` those of the places; `rest` is one more part, in grey.
    """
    shown = {**parts, **({rest[0]: rest[1]} if rest else {})}
    with _axes(list(shown)) as (axes, done):
        below = np.zeros(len(names))
        for number, (text, heights) in enumerate(shown.items()):
            look = {"color": LIGHT["c1"], "alpha": 0.2 + 0.8 * min(1, number / max(1, len(parts) - 1))}
            look = {"color": LIGHT["c0"]} if rest and text == rest[0] else look
            done.append((axes.bar(range(len(names)), heights, 0.8, below, **look), text))
            below += np.asarray(heights)
        every = math.ceil(len(names) / 8)
        axes.set_xticks(range(0, len(names), every), names[::every])
        axes.set(xlabel=x_label, ylabel=y_label)
    return Figure(name, title, caption, axes.figure)


def heat_map(name: str, title: str, matrix: Int[np.ndarray, "K K"], names: Sequence[str], caption: str = "") -> Figure:
    """A confusion matrix, true classes down, predicted ones across; what is right and what is wrong have a colour each.

    A cell is the darker the larger its share of its row; it grows with the square root, so that a rare mistake is seen.
    """
    count = len(matrix)
    labels = [shortened(one, 14) for one in names]
    side = min(WIDTH, 1.5 + 0.25 * count) if count <= 10 else 2 * WIDTH
    with _axes([], width=side, height=side) as (axes, _):
        for row, column in np.argwhere(matrix).tolist():
            share = matrix[row, column] / matrix[row].sum()
            colour = LIGHT["c1" if row == column else "c2"]
            axes.fill(
                [column - 0.5, column + 0.5, column + 0.5, column - 0.5],
                [row - 0.5, row - 0.5, row + 0.5, row + 0.5],
                color=colour,
                alpha=max(0.08, 0.5 * math.sqrt(share)),
                linewidth=0,
            )
            if matrix[row, column] < 1000 or count <= 8:
                axes.text(column, row, str(matrix[row, column]), ha="center", va="center")
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), xlabel="predicted", ylabel="true", aspect="equal")
        axes.set_xticks(range(count), labels, rotation=50, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(count), labels)
        axes.grid(visible=False)
        axes.tick_params(length=0)
    return Figure(name, title, caption, axes.figure)


@contextlib.contextmanager
def _axes(
    names: Sequence[str], *, width: float = WIDTH, height: float = 2.2
) -> Iterator[tuple[Any, list[tuple[Any, str]]]]:
    """Axes to draw on, and a list for (handle, name) of what the legend below them says."""
    import matplotlib
    import matplotlib.figure

    shown = [shortened(name) for name in names] if len(names) > 1 else []
    columns = max(1, min(len(shown), int(width / (0.5 + 0.085 * max(map(len, shown), default=1)))))
    legend_height = LINE_HEIGHT * math.ceil(len(shown) / columns)
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure((width, height + legend_height), layout="constrained")
        done: list[tuple[Any, str]] = []
        yield figure.add_subplot(), done
        if shown:
            # Matplotlib takes a leading underscore for "not in the legend".
            texts = [f"\u200b{name}" if name.startswith("_") else name for name in shown]
            figure.legend([handle for handle, _ in done], texts, loc="outside lower left", ncols=columns)


def _marks(axes: Any, marked: Sequence[tuple[Series, Sequence[tuple[float, Interval]]]], log: str = "") -> None:
    """Draws open marks; one that lies on others is a ring around them, so that all are seen."""

    def scaled(values: Sequence[float], axis: str) -> list[float]:
        shown = [math.log10(value) if axis in log else value for value in values]
        span = max(shown, default=0.0) - min(shown, default=0.0)
        return [value / (span or 1.0) for value in shown]

    points = [(number, x, y.value) for number, (_, values) in enumerate(marked) for x, y in values]
    places = list(zip(scaled([x for _, x, _ in points], "x"), scaled([y for *_, y in points], "y"), strict=True))
    for index, (number, x, y) in enumerate(points):
        here = places[index]
        below = sum(abs(here[0] - a) < NEAR and abs(here[1] - b) < NEAR for a, b in places[:index])
        one = marked[number][0]
        axes.plot([x], [y], zorder=3, gid=f"point-{index}", **_look(one) | {"markersize": MARK + RING * below})


def _handle(axes: Any, one: Series, linestyle: str = "") -> Any:
    return axes.plot([], [], **_look(one) | {"linestyle": linestyle})[0]


def _look(one: Series) -> dict[str, Any]:
    marker = MARKERS[one.marker % len(MARKERS)]
    return {"linestyle": "", "marker": marker, "color": one.hue, "markerfacecolor": "none", "markersize": MARK}


def _whiskers(axes: Any, values: Sequence[tuple[float, Interval]], colour: str, alpha: float = 1.0) -> None:
    for x, y in values:
        if y.is_known and y.high > y.low:
            axes.plot([x, x], [y.low, y.high], color=colour, linewidth=1, alpha=alpha, solid_capstyle="butt")


def _rows(axes: Any, groups: Sequence[str]) -> None:
    axes.set_yticks(range(len(groups)), [shortened(str(group), 26) for group in groups])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
