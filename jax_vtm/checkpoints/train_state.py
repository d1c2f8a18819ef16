"""Finds the parameters in Scenic's train states, of today and of 2021."""

import functools
import operator
import re
from collections import Counter
from collections.abc import Collection
from typing import Any

from etils import epath

from jax_vtm.checkpoints.stored import CheckpointError
from jax_vtm.errors import listed

# Class names alone are numbered automatically. Renumbering `encoderblock_1` could hide a missing layer.
_AUTOMATIC_NAME = re.compile(r"([A-Z][A-Za-z0-9]*)_(\d+)")


def params_place(state: dict[str, Any], names: Collection[str], path: epath.Path) -> tuple[str, ...]:
    """Returns the keys of the parameters in a train state; `("params",)` first, as in Scenic.

    They are empty if the tree is the parameters themselves, with one of `names` at its first level.
    """
    if "params" in state:
        return ("params",)
    optimizer = state.get("optimizer")
    if isinstance(optimizer, dict) and "target" in optimizer:
        return ("optimizer", "target")
    if not set(names).isdisjoint(state):
        return ()
    raise CheckpointError(
        f"{path}: no parameters found: there is neither `params` nor `optimizer/target`, nor any of the model's own "
        f"names. Top-level keys: {listed(sorted(map(str, state))) or 'none'}."
    )


def select_params(state: dict[str, Any], names: Collection[str], path: epath.Path) -> dict[str, Any]:
    """Returns the parameters of a train state, without a second `params` level.

    As in Scenic, a second level in the layout of 2021 means names from before Linen, which are converted.
    """
    place = params_place(state, names, path)
    params: Any = functools.reduce(operator.getitem, place, state)
    if not isinstance(params, dict):
        found = "null" if params is None else f"of type {type(params).__name__}"
        raise CheckpointError(f"{path}: `{'/'.join(place)}` is not a tree of parameters; it is {found}.")
    if not isinstance(params.get("params"), dict):
        return params
    inner = params["params"]
    return rename_pre_linen(inner) if place == ("optimizer", "target") else inner


def rename_pre_linen(tree: dict[str, Any]) -> dict[str, Any]:
    """Renumbers modules per class, as in Linen, instead of per parent.

    Before Linen all children of a module shared one counter (`LayerNorm_0, MultiHeadDotProductAttention_1,
    LayerNorm_2, MlpBlock_3`); since Linen every class has its own (`LayerNorm_0, MultiHeadDotProductAttention_0,
    LayerNorm_1, MlpBlock_0`). Two children with the same number have Linen's names already.
    """
    numbered = sorted((int(match[2]), match[1], name) for name in tree if (match := _AUTOMATIC_NAME.fullmatch(name)))
    counts: Counter[str] = Counter()
    renamed = {}
    if len({number for number, _, _ in numbered}) == len(numbered):
        for _, class_name, name in numbered:
            renamed[name] = f"{class_name}_{counts[class_name]}"
            counts[class_name] += 1
    return {
        renamed.get(name, name): rename_pre_linen(child) if isinstance(child, dict) else child
        for name, child in tree.items()
    }
