"""Weights in the type that they are computed with, rounded once instead of in every step."""

from typing import Any

from jax.typing import DTypeLike

# What the blocks of every model are called; outside of them everything computes in float32.
_BLOCK = "encoderblock_"


def narrowed(params: dict[str, Any], dtype: DTypeLike | None) -> dict[str, Any]:
    """Rounds the kernels and biases of the blocks' projections and MLPs to a model's dtype, for inference.

    A model with that dtype gives the same results, bit by bit, as with the weights as they were: it would round them
    in every step. Normalisations, embeddings, positions and heads compute in float32, and keep their weights.

    Args:
        params: A model's parameters; left as they are.
        dtype: The model's `dtype`; None is float32, and gives back what is given.
    """
    return params if dtype is None else _narrowed(params, dtype, within_block=False)


def _narrowed(module: dict[str, Any], dtype: DTypeLike, *, within_block: bool) -> dict[str, Any]:
    projects = within_block and "kernel" in module
    found = {}
    for name, entry in module.items():
        if hasattr(entry, "items"):
            found[name] = _narrowed(entry, dtype, within_block=within_block or name.startswith(_BLOCK))
        else:
            found[name] = entry.astype(dtype) if projects else entry
    return found
