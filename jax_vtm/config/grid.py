"""Grids: dictionaries of axes, each with a value or a list of values, and their combinations."""

import ast
import difflib
import itertools
import numbers
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from jax_vtm.errors import UserError

LISTS = (tuple, list, range)

# Spaces and commas within brackets belong to a value.
_WORD = re.compile(r"(?:\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|\S)+")
_VALUE = re.compile(r"(?:\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|[^,])+")


class Axis(NamedTuple):
    """An axis of a grid.

    Attributes:
        accepts: Returns whether a value is valid.
        expected: Describes valid values in messages.
        a_list_is_several: Whether a list is always several values, even if `accepts` takes lists.
    """

    accepts: Callable[[Any], bool]
    expected: str
    a_list_is_several: bool = False


def whole(least: int, what: str) -> Axis:
    """Makes an axis of whole numbers."""
    return Axis(lambda value: _is_whole(value) and value >= least, f"{what}, at least {least}")


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types) and not isinstance(value, bool)


_is_whole = _is(int)


def _are_whole(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) > 0 and all(map(_is_whole, value))


def _are_words(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) > 0 and all(isinstance(one, str) for one in value)


ANY = Axis(lambda value: not isinstance(value, LISTS), "a value")
REDUCTION_AXES = {
    "mode": Axis(
        lambda value: isinstance(value, str) or _are_words(value),
        "a mode such as merge, or one per layer in a list within the list",
        a_list_is_several=True,
    ),
    "r": Axis(
        lambda value: _is_whole(value) or _are_whole(value),
        "a whole number of tokens, or one per layer in a list within the list",
        a_list_is_several=True,
    ),
    "inflection": Axis(_is(numbers.Real), "a number from -1 to 1"),
    "head_aggregation": Axis(_is(str), "mean or concat"),
    "proportional_attention": Axis(lambda value: value is None or isinstance(value, bool), "True, False or None"),
    "threshold": Axis(_is(numbers.Real), "a cosine similarity"),
    "layout": Axis(_is(str), "reference or fixed"),
    "repeat_layer": Axis(
        lambda value: value is None or (_are_whole(value) and len(value) == 2), "(layer, times) or None"
    ),
    "mean": Axis(_is(str), "weighted or norm_preserving"),
    "importance": Axis(_is(str), "similarity or shift"),
    "input": Axis(
        lambda value: value is None or isinstance(value, Mapping), 'a dictionary such as {"keep": 256}, or None'
    ),
}


def combinations(grid: Mapping[str, Any], axes: Mapping[str, Axis], where: str) -> Iterator[dict[str, Any]]:
    """Yields all combinations of a grid's values by axis; the last axis changes fastest.

    Args:
        grid: A value or a list of values per axis; a text may have several, separated by commas outside of brackets.
        axes: The valid axes; "model.*" is every axis that begins with "model.".
        where: The config's key of the grid, for messages.

    Raises:
        UserError: There is no such axis, or a value is invalid.
    """
    lists = [values_of(axis, value, axes, where) for axis, value in grid.items()]
    for values in itertools.product(*lists):
        yield dict(zip(grid, values, strict=True))


def values_of(name: str, value: Any, axes: Mapping[str, Axis], where: str) -> list[Any]:
    """Returns the values of an axis; see `combinations`."""
    axis = axes.get(name) or axes.get(f"{name.partition('.')[0]}.*")
    if axis is None or name.endswith("."):
        close = difflib.get_close_matches(name, axes, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        hint = " It is now r, in a list within the list." if name.endswith("r_per_layer") else hint
        raise UserError(f"{where} has an unknown axis {name!r}.{hint} Axes are {', '.join(axes)}.")
    several = isinstance(value, LISTS) and (axis.a_list_is_several or not axis.accepts(value))
    entries = list(value) if several else [value]
    if not entries:
        raise UserError(f"{where}: the axis {name} has no values; give at least one, or leave it out.")
    values = list(itertools.chain.from_iterable(_words(one) if isinstance(one, str) else [one] for one in entries))
    for one in values:
        if axis is not ANY and not axis.accepts(one):
            raise UserError(f"{where}.{name} holds {one!r}; expected {axis.expected}, or a list of such.")
    return values


def _words(text: str) -> list[str]:
    return [word.strip() for word in _VALUE.findall(text) or [text]]


def axes_of_words(text: str, where: str) -> dict[str, Any]:
    """Parses a grid such as "reduction.r=0,100 model.attention=xla,chunked batch=1,8"."""
    grid = {}
    for word in _WORD.findall(text):
        axis, _, values = word.partition("=")
        if not values:
            raise UserError(f"{where} holds {word!r}; expected axis=value,value such as reduction.r=0,100.")
        grid[axis] = tuple(literal(one) for one in _VALUE.findall(values))
    return grid


def literal(text: str) -> Any:
    """Parses a Python literal; returns other text unchanged."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
