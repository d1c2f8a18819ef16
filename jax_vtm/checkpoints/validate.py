"""Compares what a checkpoint holds with what a model expects; all that differs is refused in one message."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import unfreeze
from flax.traverse_util import flatten_dict, unflatten_dict

from jax_vtm.checkpoints.mismatch_hints import mismatch_hints
from jax_vtm.checkpoints.stored import CheckpointError, Stored
from jax_vtm.errors import shown

_MAX_LISTED = 20


class Model(Protocol):
    """What this package uses of a model; the models of `jax_vtm.models` are Flax modules that have it."""

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Frames, height, width, channels of one clip."""
        ...

    @property
    def heads(self) -> tuple[tuple[str, int], ...]:
        """Name and number of classes of each head, in the order of the output's kernel."""
        ...

    @property
    def init(self) -> Any:
        """Flax's `init(key, video)`."""
        ...


def abstract_params(model: Model) -> dict[str, Any]:
    """Computes names, shapes and dtypes of a model's parameters without allocating any.

    Args:
        model: A model whose `init` takes a float video [1, T, H, W, 3].

    Returns:
        Nested dict with `jax.ShapeDtypeStruct` leaves.
    """
    video_shape = (1, *model.input_shape)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(video_shape, jnp.float32)))
    return unfreeze(variables["params"])


def validate(entries: Mapping[str, Stored], expected: dict[str, Any], *, source: str, model: Model) -> dict[str, Any]:
    """Checks that parameters are exactly what a model expects, and reads them.

    Names, shapes and types are compared first: of a checkpoint that does not fit nothing is read, so that no header
    can ask for memory.

    Args:
        entries: What the checkpoint holds, by path, levels joined by `/`. Empty subtrees have no path and so do not
            count: writers differ in whether they keep them.
        expected: Nested dict of `jax.ShapeDtypeStruct`, from `abstract_params`.
        source: What is read, for the message.
        model: The model, for hints.

    Returns:
        Nested dict of `np.ndarray` with the names, shapes and dtypes of `expected`. float16 and bfloat16 are widened,
        which keeps every value; nothing is ever narrowed.

    Raises:
        CheckpointError: A leaf is missing, unexpected, misshapen, of a type that would have to be narrowed,
            damaged, or not finite. All that are of one kind are listed.
    """
    wanted: dict[str, Any] = flatten_dict(expected, sep="/")
    problems = header_problems(entries, wanted)
    if problems:
        raise misfit_error(source, problems, mismatch_hints(entries, wanted, model.input_shape))
    params = {
        path: np.asarray(entries[path].read()).astype(wanted[path].dtype, order="C", copy=False) for path in wanted
    }
    bad_counts = {path: int(leaf.size - np.count_nonzero(np.isfinite(leaf))) for path, leaf in params.items()}
    problems = _section(
        "not finite (NaN or infinite)",
        (path for path, count in bad_counts.items() if count),
        lambda path: f"{path}: {bad_counts[path]:,} of {params[path].size:,} values",
    )
    if problems:
        raise misfit_error(source, problems, [])
    return unflatten_dict(params, sep="/")


def header_problems(found: Mapping[str, Stored], expected: Mapping[str, Any]) -> list[str]:
    """Lists, in lines of text, what differs as far as headers tell; what is expected has `shape` and `dtype`."""
    shapes = {name: tuple(leaf.shape) for name, leaf in expected.items()}
    same_shape = [name for name in found if name in shapes and found[name].shape == shapes[name]]
    return [
        *_section(
            "missing",
            (name for name in expected if name not in found),
            lambda name: f"{name}: expected {shapes[name]}",
        ),
        *_section(
            "unexpected",
            (name for name in found if name not in expected),
            lambda name: f"{shown(name)}: found {found[name]}",
        ),
        *_section(
            "of another shape",
            (name for name in expected if name in found and found[name].shape != shapes[name]),
            lambda name: f"{name}: found {found[name]}, expected {shapes[name]}",
        ),
        *_section(
            "of a type that does not fit",
            (name for name in same_shape if not widens_to(found[name].dtype, expected[name].dtype)),
            lambda name: (
                f"{name}: found {found[name].dtype}, expected {expected[name].dtype} (or a type that widens to it)"
            ),
        ),
    ]


def widens_to(found: Any, wanted: Any) -> bool:
    """Says whether every value of one type is one of the other, and is meant as it is stored."""
    if found == wanted:
        return True
    both_floating = jnp.issubdtype(found, jnp.floating) and jnp.issubdtype(wanted, jnp.floating)
    # Integers and floats of 8 bits are refused even where they would fit: parameters stored so are quantised, with a
    # scale elsewhere.
    return bool(both_floating) and found.itemsize > 1 and np.can_cast(found, wanted, "safe")


def misfit_error(source: str, problems: Iterable[str], guesses: Iterable[str]) -> CheckpointError:
    """Puts the lines of a report and guesses at what they mean together, to be raised."""
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
