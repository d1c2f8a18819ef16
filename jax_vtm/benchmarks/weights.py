"""Parameters of the right shapes for who only looks at the time."""

import math
from typing import Any

import jax
import numpy as np

from jax_vtm.checkpoints.validate import Model, abstract_params


def random_params(model: Model, seed: int = 0) -> dict[str, Any]:
    """Draws parameters that keep the size of what flows through the model about as it is in a trained one.

    Kernels have a variance of 1 / inputs, scales are 1, all else is small; nothing is zero. Unlike `init` nothing is
    compiled for it.

    Returns:
        A tree of float32 numpy arrays.
    """
    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name == "scale":
            return np.ones(leaf.shape, np.float32)
        deviation = 1 / math.sqrt(_inputs(path, leaf.shape)) if name == "kernel" else 0.02
        return deviation * rng.standard_normal(leaf.shape, np.float32)

    return jax.tree.map_with_path(draw, abstract_params(model))


def _inputs(path: tuple[Any, ...], shape: tuple[int, ...]) -> int:
    """Returns over how many inputs a kernel sums: all but the last axis, in projections to heads the first alone."""
    to_heads = len(shape) == 3 and path[-2].key != "out"
    return shape[0] if to_heads else math.prod(shape[:-1])
