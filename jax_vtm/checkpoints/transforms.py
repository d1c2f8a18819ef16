"""Conversions of PyTorch tensors to parameters.

PyTorch's kernels are [out, in], and query, key and value often one tensor [3 * heads * head_dim, in]; ours are
[in, out], with a separate axis for heads. A transform takes the name of a PyTorch module, and our leaf (kernel, bias,
scale) with its shape.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jax_vtm.checkpoints.stored import Shape


@dataclasses.dataclass(frozen=True)
class TorchSource:
    """The tensors of one parameter.

    Attributes:
        shapes: Shape by name, in the order of `convert`'s arguments.
        convert: Converts the tensors to the parameter; fails with a ValueError, or returns another shape, if a tensor
            has another size.
    """

    shapes: Mapping[str, Shape]
    convert: Callable[[Sequence[np.ndarray]], np.ndarray]


Transform = Callable[[str, str, Shape], TorchSource]


def _stacked(index: int, count: int, inputs: int = 1) -> Transform:
    """Returns the transform of one of `count` dense layers in one tensor; the kernel has `inputs` (-1: all but one)."""

    def source(name: str, leaf: str, shape: Shape) -> TorchSource:
        split = inputs % len(shape) if leaf == "kernel" else 0
        before, width = (math.prod(shape[:split]),) * bool(split), math.prod(shape[split:])
        return TorchSource(
            {_parameter(name, leaf): (count * width, *before)},
            lambda tensors: tensors[0].reshape(count, width, *before)[index].T.reshape(shape),
        )

    return source


def _patches(name: str, leaf: str, shape: Shape, axes: Sequence[int] = (4, 3, 0, 1, 2)) -> TorchSource:
    """Converts the patch embedding: bias [out], or kernel [t, h, w, in, out], transposed to `axes` in PyTorch."""
    if leaf == "bias":
        return _stacked(0, 1)(name, leaf, shape)
    back = np.argsort(axes)
    return TorchSource(
        {_parameter(name, leaf): tuple(shape[axis] for axis in axes)},
        lambda tensors: tensors[0].transpose(*back)[(None,) * (5 - len(axes))],
    )


def classifiers(names: Sequence[tuple[str, int]], leaf: str, shape: Shape) -> TorchSource:
    """Joins the classifiers of all heads; `names` has each head's module and number of classes."""
    shapes = {_parameter(name, leaf): (classes, *shape[:-1]) for name, classes in names}
    return TorchSource(shapes, lambda tensors: np.concatenate(tensors, axis=0).T)


def _parameter(module: str, leaf: str) -> str:
    return f"{module}.{'bias' if leaf == 'bias' else 'weight'}"


# By their names in `tensor_names.csv`; "same" and "flat" take the tensor's whole name.
TRANSFORMS: dict[str, Transform] = {
    "same": lambda name, _, shape: TorchSource({name: shape}, lambda tensors: tensors[0]),
    "flat": lambda name, _, shape: TorchSource({name: (math.prod(shape),)}, lambda tensors: tensors[0].reshape(shape)),
    "dense": _stacked(0, 1),
    "from_heads": _stacked(0, 1, inputs=-1),
    **{part: _stacked(index, 3) for index, part in enumerate(("query", "key", "value"))},
    **{part: _stacked(index, 2) for index, part in enumerate(("key_of_pair", "value_of_pair"))},
    "patches": _patches,
    "frame_patches": lambda name, leaf, shape: _patches(name, leaf, shape, (4, 3, 1, 2)),
}
