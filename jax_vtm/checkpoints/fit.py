"""Compares a parameter tree with the one a model expects; all that differs is refused in one message."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jax_vtm.checkpoints.errors import CheckpointError
from jax_vtm.checkpoints.expected import Model
from jax_vtm.checkpoints.hints import hints

Shape = tuple[int, ...]
_MAX_LISTED = 20


def fit_params(leaves: Mapping[str, Any], expected: dict[str, Any], *, source: str, model: Model) -> dict[str, Any]:
    """Checks that parameters are exactly what a model expects.

    Args:
        leaves: What was read, by path, levels joined by `/`. Empty subtrees have no path and so do not count:
            writers differ in whether they keep them.
        expected: Nested dict of `jax.ShapeDtypeStruct`, from `expected_params`.
        source: What was read, for the message.
        model: The model, for hints.

    Returns:
        Nested dict of `np.ndarray` with the names, shapes and dtypes of `expected`. Floating leaves of a
        narrower type (float16, bfloat16) are widened, which keeps every value; nothing is ever narrowed.

    Raises:
        CheckpointError: A leaf is missing, unexpected, misshapen, of a type that would have to be narrowed,
            or not finite. All of them are listed.
    """
    wanted: dict[str, Any] = flatten_dict(expected, sep="/")
    wanted_shapes = {path: tuple(leaf.shape) for path, leaf in wanted.items()}
    shapes = {path: leaf_shape(leaf) for path, leaf in leaves.items()}
    problems = shape_problems(shapes, wanted_shapes)
    fitting = [path for path in wanted if path in leaves and shapes[path] == wanted_shapes[path]]
    problems += _section(
        "of a type that does not fit",
        (path for path in fitting if not _widens_to(leaves[path].dtype, wanted[path].dtype)),
        lambda path: f"{path}: found {leaves[path].dtype}, expected {wanted[path].dtype} (or a type that widens to it)",
    )
    bad_counts = {path: _count_not_finite(leaves[path]) for path in fitting}
    problems += _section(
        "not finite (NaN or infinite)",
        (path for path, count in bad_counts.items() if count),
        lambda path: f"{path}: {bad_counts[path]:,} of {leaves[path].size:,} values",
    )
    if problems:
        guesses = hints(shapes, wanted_shapes, input_shape=model.input_shape)
        raise misfit_error(source, problems, guesses)
    fitted = {path: np.asarray(leaves[path]).astype(wanted[path].dtype, copy=False) for path in wanted}
    return unflatten_dict(fitted, sep="/")


def leaf_shape(leaf: Any) -> Shape | None:
    """The shape of an array or numpy scalar; None for anything else."""
    return tuple(leaf.shape) if isinstance(leaf, (np.ndarray, np.generic)) else None


def shape_problems(found: Mapping[str, Shape | None], expected: Mapping[str, Shape]) -> list[str]:
    """Lists what differs between two sets of named shapes.

    Args:
        found: Shape by name; None for what is not an array.
        expected: Shape by name.

    Returns:
        Lines of text; none if nothing differs.
    """
    return [
        *_section(
            "missing",
            (name for name in expected if name not in found),
            lambda name: f"{name}: expected {expected[name]}",
        ),
        *_section(
            "unexpected",
            (name for name in found if name not in expected),
            lambda name: f"{name}: found {_described(found[name])}",
        ),
        *_section(
            "of another shape",
            (name for name in expected if name in found and found[name] != expected[name]),
            lambda name: f"{name}: found {_described(found[name])}, expected {expected[name]}",
        ),
    ]


def misfit_error(source: str, problems: Iterable[str], guesses: Iterable[str]) -> CheckpointError:
    """Puts the lines of a report together.

    Args:
        source: What was read.
        problems: Lines from `shape_problems` and the like.
        guesses: Sentences on what the problems probably mean.

    Returns:
        The error, to be raised.
    """
    lines = [f"{source}: does not fit the model.", *problems, *(f"Hint: {guess}" for guess in guesses)]
    return CheckpointError("\n".join(lines))


def _section(title: str, names: Iterable[str], line: Callable[[str], str]) -> list[str]:
    """A heading with the count, then the lines, sorted and cut at a length that can still be read."""
    ordered = sorted(names)
    if not ordered:
        return []
    lines = [f"  {len(ordered)} {title}:", *(f"    {line(name)}" for name in ordered[:_MAX_LISTED])]
    if len(ordered) > _MAX_LISTED:
        lines.append(f"    ... and {len(ordered) - _MAX_LISTED} more")
    return lines


def _described(shape: Shape | None) -> str:
    return "no array" if shape is None else str(shape)


def _widens_to(found: np.dtype, wanted: np.dtype) -> bool:
    if found == wanted:
        return True
    both_floating = jnp.issubdtype(found, jnp.floating) and jnp.issubdtype(wanted, jnp.floating)
    # Integers are refused even where they would fit: parameters stored as integers are quantised, with a
    # scale elsewhere.
    return bool(both_floating) and np.can_cast(found, wanted, "safe")


def _count_not_finite(leaf: np.ndarray) -> int:
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return 0
    return int(leaf.size - np.count_nonzero(np.isfinite(leaf)))
