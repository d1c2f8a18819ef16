"""Validates a checkpoint against a model, and reports all differences in one message."""

import functools
from collections.abc import Iterable, Mapping
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
    """The members of a model that this package uses; those of `jax_vtm.models` have them."""

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
    """Returns a model's parameters as a nested dict of `jax.ShapeDtypeStruct`, without allocating them."""
    try:
        hash(model)
    except TypeError:  # A field is a list or the like, by which nothing can be kept.
        return _traced_params(model)
    return jax.tree.map(lambda leaf: leaf, _kept_params(model))


def _traced_params(model: Model) -> dict[str, Any]:
    video_shape = (1, *model.input_shape)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(video_shape, jnp.float32)))
    return unfreeze(variables["params"])


# Tracing a model of twelve layers takes a second, and a command asks for the same ones several times.
_kept_params = functools.lru_cache(maxsize=32)(_traced_params)


def validate(entries: Mapping[str, Stored], expected: dict[str, Any], *, source: str, model: Model) -> dict[str, Any]:
    """Checks that entries, by path, are exactly those of `expected` (`abstract_params`), and reads them to a tree.

    Names, shapes and types are compared before anything is read, so that no header can ask for memory. Empty subtrees
    are ignored, since not all writers keep them.
    """
    wanted: dict[str, Any] = flatten_dict(expected, sep="/")
    if problems := header_problems(entries, wanted):
        raise misfit_error(source, problems, mismatch_hints(entries, wanted, model.input_shape))
    params = {
        path: np.asarray(entries[path].read()).astype(wanted[path].dtype, order="C", copy=False) for path in wanted
    }
    bad = {path: leaf.size - np.count_nonzero(np.isfinite(leaf)) for path, leaf in params.items()}
    bad = {path: f"{count:,} of {params[path].size:,} values" for path, count in bad.items() if count}
    if bad:
        raise misfit_error(source, _section("not finite (NaN or infinite)", bad), [])
    return unflatten_dict(params, sep="/")


def header_problems(found: Mapping[str, Stored], expected: Mapping[str, Any]) -> list[str]:
    """Lists the differences of names, shapes and types as lines of text; expected entries have `shape` and `dtype`."""
    missing, wrong_shape, wrong_type = {}, {}, {}
    for name, leaf in expected.items():
        shape, entry = tuple(leaf.shape), found.get(name)
        if entry is None:
            missing[name] = f"expected {shape}"
        elif entry.shape != shape:
            wrong_shape[name] = f"found {entry}, expected {shape}"
        elif not widens_to(entry.dtype, leaf.dtype):
            wrong_type[name] = f"found {entry.dtype}, expected {leaf.dtype} (or a type that widens to it)"
    unexpected = {shown(name): f"found {entry}" for name, entry in found.items() if name not in expected}
    return [
        *_section("missing", missing),
        *_section("unexpected", unexpected),
        *_section("of another shape", wrong_shape),
        *_section("of a type that does not fit", wrong_type),
    ]


def widens_to(found: Any, wanted: Any) -> bool:
    """Returns whether a type can be widened without loss; integers and 8-bit floats, which are quantised, cannot."""
    if found == wanted:
        return True
    both_floating = jnp.issubdtype(found, jnp.floating) and jnp.issubdtype(wanted, jnp.floating)
    return bool(both_floating) and found.itemsize > 1 and np.can_cast(found, wanted, "safe")


def misfit_error(source: str, problems: Iterable[str], guesses: Iterable[str]) -> CheckpointError:
    """Makes the error of a report and its hints."""
    lines = [f"{source}: does not fit the model.", *problems, *(f"Hint: {guess}" for guess in guesses)]
    return CheckpointError("\n".join(lines))


def _section(title: str, problems: Mapping[str, str]) -> list[str]:
    """Formats a heading with the count and the sorted names, at most `_MAX_LISTED`."""
    lines = [f"    {name}: {problem}" for name, problem in sorted(problems.items())]
    if len(lines) > _MAX_LISTED:
        lines[_MAX_LISTED:] = [f"    ... and {len(lines) - _MAX_LISTED} more"]
    return [f"  {len(problems)} {title}:", *lines] if lines else []
