"""The module names of Flax before Linen, brought to today's."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

# Only classes are numbered automatically. `encoderblock_1` is a name that Scenic chose: renumbering it could
# turn a checkpoint that lacks a layer into one that seems complete.
_AUTOMATIC_NAME = re.compile(r"([A-Z][A-Za-z0-9]*)_(\d+)")


def rename_pre_linen(tree: dict[str, Any]) -> dict[str, Any]:
    """Renumbers automatically named modules per class instead of per parent.

    Before Linen all children of a module shared one counter (`LayerNorm_0, MultiHeadDotProductAttention_1,
    LayerNorm_2, MlpBlock_3`); since Linen every class has its own (`LayerNorm_0,
    MultiHeadDotProductAttention_0, LayerNorm_1, MlpBlock_0`). The order of the numbers is kept. Names that
    are already Linen's stay as they are.

    Args:
        tree: Nested dict of parameters.

    Returns:
        A new nested dict with the same leaves.
    """
    renamed = _new_names(tree)
    return {
        renamed.get(name, name): rename_pre_linen(child) if isinstance(child, dict) else child
        for name, child in tree.items()
    }


def _new_names(module: dict[str, Any]) -> dict[str, str]:
    """New names of one module's children; empty where the children do not share a counter."""
    numbered = sorted((int(match[2]), match[1], name) for name in module if (match := _AUTOMATIC_NAME.fullmatch(name)))
    if len({number for number, _, _ in numbered}) != len(numbered):
        return {}  # two children have the same number: each class counts for itself, so this is Linen
    counts: Counter[str] = Counter()
    new_names = {}
    for _, class_name, name in numbered:
        new_names[name] = f"{class_name}_{counts[class_name]}"
        counts[class_name] += 1
    return new_names
