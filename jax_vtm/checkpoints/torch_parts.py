"""Conversions that the tables of TimeSformer, Motionformer and VideoMAE share.

PyTorch's kernels are [out, in] and query, key and value lie in one tensor, [3 * heads * head_dim, in]; ours are
[in, out], with the heads of attention as an axis of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jax_vtm.checkpoints.torch_tensors import TorchSource

Shape = tuple[int, ...]
Heads = tuple[tuple[str, int], ...]

# EPIC-KITCHENS' two heads have numbers for names.
_NUMBERED_HEADS = {"verb": "head0", "noun": "head1"}


def same(name: str, shape: Shape) -> TorchSource:
    """A tensor that is taken as it is."""
    return TorchSource({name: shape}, lambda tensors: tensors[0])


def plain(name: str, leaf: str, shape: Shape) -> TorchSource:
    """A dense layer's kernel [in, out] or bias, or a normalisation's scale or bias."""
    if leaf == "kernel":
        return TorchSource({f"{name}.weight": shape[::-1]}, lambda tensors: tensors[0].T)
    return same(f"{name}.{'weight' if leaf == 'scale' else 'bias'}", shape)


def part(name: str, leaf: str, shape: Shape, index: int, count: int) -> TorchSource:
    """One of several projections to heads that lie in one tensor: kernel [in, H, D] or bias [H, D].

    Args:
        name: The joint layer's name.
        leaf: "kernel" or "bias".
        shape: The part's shape.
        index: Which of the parts.
        count: How many there are.
    """
    inputs = shape[:1] if leaf == "kernel" else ()
    width = math.prod(shape[len(inputs) :])
    suffix = "weight" if leaf == "kernel" else "bias"

    def convert(tensors: Sequence[np.ndarray]) -> np.ndarray:
        return tensors[0].reshape(count, width, *inputs)[index].T.reshape(shape)

    return TorchSource({f"{name}.{suffix}": (count * width, *inputs)}, convert)


def heads_to_output(name: str, leaf: str, shape: Shape) -> TorchSource:
    """Attention's output projection: kernel [H, D, out] or bias [out]."""
    if leaf == "bias":
        return same(f"{name}.bias", shape)
    torch_shape = (shape[-1], math.prod(shape[:-1]))
    return TorchSource({f"{name}.weight": torch_shape}, lambda tensors: tensors[0].T.reshape(shape))


def patches(name: str, leaf: str, shape: Shape, *, frames_axis: bool = True) -> TorchSource:
    """The patch embedding: kernel [t, h, w, in, out] or bias [out].

    Args:
        name: The convolution's name.
        leaf: "kernel" or "bias".
        shape: Our shape.
        frames_axis: Whether PyTorch's kernel has the axis t; without, t is 1.
    """
    if leaf == "bias":
        return same(f"{name}.bias", shape)
    t, h, w, channels, width = shape
    if frames_axis:
        torch_shape = (width, channels, t, h, w)
        return TorchSource({f"{name}.weight": torch_shape}, lambda tensors: tensors[0].transpose(2, 3, 4, 1, 0))
    torch_shape = (width, channels, h, w)
    return TorchSource({f"{name}.weight": torch_shape}, lambda tensors: tensors[0].transpose(2, 3, 1, 0)[None])


def output_head(leaf: str, shape: Shape, heads: Heads) -> TorchSource | None:
    """The joint projection to all heads' classes; None if there is a head that PyTorch's models do not know."""
    if any(head and head not in _NUMBERED_HEADS for head, _ in heads):
        return None
    suffix, inputs = ("weight" if leaf == "kernel" else "bias"), shape[:-1]
    names = {f"{_NUMBERED_HEADS.get(head, 'head')}.{suffix}": (classes, *inputs) for head, classes in heads}
    return TorchSource(names, lambda tensors: np.concatenate(tensors, axis=0).T)
