"""How a parameter is put together from PyTorch tensors.

PyTorch's kernels are [out, in], and query, key and value often lie in one tensor, [3 * heads * head_dim, in]; ours are
[in, out], with the heads of attention as an axis of their own. Every transform takes the name of a PyTorch module,
the leaf of ours (kernel, bias, scale) and its shape.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jax_vtm.checkpoints.stored import Shape


@dataclasses.dataclass(frozen=True)
class TorchSource:
    """The tensors that one parameter comes from.

    Attributes:
        shapes: Shape by name of the tensors that are needed, in the order in which `convert` takes them.
        convert: From the tensors to the parameter's array. A tensor of another size makes it fail with a
            ValueError, or return another shape.
    """

    shapes: Mapping[str, Shape]
    convert: Callable[[Sequence[np.ndarray]], np.ndarray]


Transform = Callable[[str, str, Shape], TorchSource]


def _stacked(index: int, count: int, inputs: int = 1) -> Transform:
    """One of several dense layers that lie in one tensor; `inputs` of the kernel's axes are inputs, -1: all but one."""

    def source(name: str, leaf: str, shape: Shape) -> TorchSource:
        split = inputs % len(shape) if leaf == "kernel" else 0
        before, width = (math.prod(shape[:split]),) * bool(split), math.prod(shape[split:])
        return TorchSource(
            {_parameter(name, leaf): (count * width, *before)},
            lambda tensors: tensors[0].reshape(count, width, *before)[index].T.reshape(shape),
        )

    return source


def _patches(name: str, leaf: str, shape: Shape, axes: Sequence[int] = (4, 3, 0, 1, 2)) -> TorchSource:
    """The patch embedding: kernel [t, h, w, in, out], in PyTorch these `axes` of it; or bias [out]."""
    if leaf == "bias":
        return _stacked(0, 1)(name, leaf, shape)
    back = np.argsort(axes)
    return TorchSource(
        {_parameter(name, leaf): tuple(shape[axis] for axis in axes)},
        lambda tensors: tensors[0].transpose(*back)[(None,) * (5 - len(axes))],
    )


def classifiers(names: Sequence[tuple[str, int]], leaf: str, shape: Shape) -> TorchSource:
    """The joint projection to the classes of all heads; `names` has each head's module and number of classes."""
    shapes = {_parameter(name, leaf): (classes, *shape[:-1]) for name, classes in names}
    return TorchSource(shapes, lambda tensors: np.concatenate(tensors, axis=0).T)


def _parameter(module: str, leaf: str) -> str:
    return f"{module}.{'bias' if leaf == 'bias' else 'weight'}"


# As `tensor_names.csv` calls them.
TRANSFORMS: dict[str, Transform] = {
    # Under its whole name, as it is; a bias without the axis of the heads.
    "same": lambda name, _, shape: TorchSource({name: shape}, lambda tensors: tensors[0]),
    "flat": lambda name, _, shape: TorchSource({name: (math.prod(shape),)}, lambda tensors: tensors[0].reshape(shape)),
    "dense": _stacked(0, 1),
    "from_heads": _stacked(0, 1, inputs=-1),
    **{part: _stacked(index, 3) for index, part in enumerate(("query", "key", "value"))},
    **{part: _stacked(index, 2) for index, part in enumerate(("key_of_pair", "value_of_pair"))},
    "patches": _patches,
    # Of single frames, without the axis of time.
    "frame_patches": lambda name, leaf, shape: _patches(name, leaf, shape, (4, 3, 1, 2)),
}
