"""Where Scenic's train states keep the parameters, in today's layout and in that of 2021."""

from __future__ import annotations

from typing import Any

from etils import epath

from jax_vtm.checkpoints.errors import CheckpointError
from jax_vtm.checkpoints.pre_linen import rename_pre_linen

_MAX_LISTED = 20


def params_place(state: dict[str, Any], path: epath.Path) -> tuple[str, ...]:
    """Finds the subtree of a train state that holds the parameters.

    Args:
        state: Nested dict; only its keys matter.
        path: Where it was read, for the error.

    Returns:
        `("params",)`, or `("optimizer", "target")` where there is no `params`; the same preference as
        Scenic's.

    Raises:
        CheckpointError: Neither exists; the top-level keys are listed.
    """
    if "params" in state:
        return ("params",)
    optimizer = state.get("optimizer")
    if isinstance(optimizer, dict) and "target" in optimizer:
        return ("optimizer", "target")
    keys = sorted(map(str, state))
    rest = len(keys) - _MAX_LISTED
    listed = ", ".join(keys[:_MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")
    raise CheckpointError(
        f"{path}: no parameters found: there is neither `params` nor `optimizer/target`. "
        f"Top-level keys: {listed or 'none'}."
    )


def select_params(state: dict[str, Any], path: epath.Path) -> dict[str, Any]:
    """Takes the parameters out of a train state.

    Args:
        state: Nested dict.
        path: Where it was read, for the errors.

    Returns:
        The parameter tree, without a second `params` level. With the layout of 2021 that second level dates
        the file to the transition to Linen, and its modules are renamed; that is also what Scenic does.

    Raises:
        CheckpointError: There are no parameters.
    """
    place = params_place(state, path)
    params: Any = state
    for key in place:
        params = params[key]
    if not isinstance(params, dict):
        found = "null" if params is None else f"of type {type(params).__name__}"
        raise CheckpointError(f"{path}: `{'/'.join(place)}` is not a tree of parameters; it is {found}.")
    if not isinstance(params.get("params"), dict):
        return params
    inner = params["params"]
    return rename_pre_linen(inner) if place == ("optimizer", "target") else inner
