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


def same(name: str, leaf: str, shape: Shape) -> TorchSource:
    """A tensor that is taken as it is, under its whole name."""
    return TorchSource({name: shape}, lambda tensors: tensors[0])


def flat(name: str, leaf: str, shape: Shape) -> TorchSource:
    """A bias under its whole name, without the axis of the heads."""
    return TorchSource({name: (math.prod(shape),)}, lambda tensors: tensors[0].reshape(shape))


def stacked(index: int, count: int, inputs: int = 1) -> Transform:
    """One of several dense layers that lie in one tensor: kernel [...in, ...out], bias or scale [...out].

    Args:
        index: Which of the layers.
        count: How many there are.
        inputs: How many of the kernel's axes are inputs, -1 for all but the last.
    """

    def source(name: str, leaf: str, shape: Shape) -> TorchSource:
        split = inputs % len(shape) if leaf == "kernel" else 0
        before, width = (math.prod(shape[:split]),) * bool(split), math.prod(shape[split:])
        return TorchSource(
            {f"{name}.{_suffix(leaf)}": (count * width, *before)},
            lambda tensors: tensors[0].reshape(count, width, *before)[index].T.reshape(shape),
        )

    return source


dense, from_heads = stacked(0, 1), stacked(0, 1, inputs=-1)


def patches(name: str, leaf: str, shape: Shape) -> TorchSource:
    """The patch embedding of tubelets: kernel [t, h, w, in, out] or bias [out]."""
    if leaf == "bias":
        return dense(name, leaf, shape)
    torch_shape = tuple(shape[axis] for axis in (4, 3, 0, 1, 2))
    return TorchSource({f"{name}.weight": torch_shape}, lambda tensors: tensors[0].transpose(2, 3, 4, 1, 0))


def frame_patches(name: str, leaf: str, shape: Shape) -> TorchSource:
    """The patch embedding of single frames: as that of tubelets, without the axis of time there."""
    if leaf == "bias":
        return dense(name, leaf, shape)
    torch_shape = tuple(shape[axis] for axis in (4, 3, 1, 2))
    return TorchSource({f"{name}.weight": torch_shape}, lambda tensors: tensors[0].transpose(2, 3, 1, 0)[None])


def classifiers(names: Sequence[tuple[str, int]], leaf: str, shape: Shape) -> TorchSource:
    """The joint projection to the classes of all heads; `names` has each head's module and number of classes."""
    shapes = {f"{name}.{_suffix(leaf)}": (classes, *shape[:-1]) for name, classes in names}
    return TorchSource(shapes, lambda tensors: np.concatenate(tensors, axis=0).T)


def _suffix(leaf: str) -> str:
    return "bias" if leaf == "bias" else "weight"
