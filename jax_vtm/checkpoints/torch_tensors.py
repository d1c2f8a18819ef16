"""How a parameter is put together from PyTorch tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class TorchSource:
    """The tensors that one parameter comes from.

    Attributes:
        shapes: Shape by name of the tensors that are needed, in the order in which `convert` takes them.
        convert: From the tensors to the parameter's array. A tensor of another size makes it fail with a
            ValueError, or return another shape.
    """

    shapes: dict[str, tuple[int, ...]]
    convert: Callable[[Sequence[np.ndarray]], np.ndarray]
