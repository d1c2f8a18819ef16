"""ViViT's parameters under the names of Hugging Face's `VivitForVideoClassification`.

That port has the unfactorised model with a class token only. PyTorch's kernels are [out, in]; Scenic's are
[in, out], with the heads of attention as an axis of their own.

| Hugging Face                                       | Scenic                                    |
| -------------------------------------------------- | ----------------------------------------- |
| vivit.embeddings.patch_embeddings.projection       | embedding (kernel [t, h, w, c, D])        |
| vivit.embeddings.{cls_token, position_embeddings}  | cls, Transformer/posembed_input           |
| vivit.encoder.layer.I.*                            | Transformer/encoderblock_I/* (see below)  |
| vivit.layernorm                                    | Transformer/encoder_norm                  |
| classifier, or one HEAD_classifier for each head   | output_projection                         |
"""

from __future__ import annotations

import math
import re

import numpy as np

from jax_vtm.checkpoints.torch_tensors import TorchSource

_ENCODER_BLOCK = re.compile(r"Transformer/encoderblock_(\d+)/(.+)/(kernel|scale|bias)")
_BLOCK_MODULES = {
    "LayerNorm_0": "layernorm_before",
    "LayerNorm_1": "layernorm_after",
    "MultiHeadDotProductAttention_0/query": "attention.attention.query",
    "MultiHeadDotProductAttention_0/key": "attention.attention.key",
    "MultiHeadDotProductAttention_0/value": "attention.attention.value",
    "MultiHeadDotProductAttention_0/out": "attention.output.dense",
    "MlpBlock_0/Dense_0": "intermediate.dense",
    "MlpBlock_0/Dense_1": "output.dense",
}
_TOP_LEVEL = {
    "cls": "vivit.embeddings.cls_token",
    "Transformer/posembed_input/pos_embedding": "vivit.embeddings.position_embeddings",
    "Transformer/encoder_norm/scale": "vivit.layernorm.weight",
    "Transformer/encoder_norm/bias": "vivit.layernorm.bias",
    "embedding/bias": "vivit.embeddings.patch_embeddings.projection.bias",
}


def vivit_source(path: str, shape: tuple[int, ...], heads: tuple[tuple[str, int], ...]) -> TorchSource | None:
    """Says which Hugging Face tensors one of Scenic's parameters comes from.

    Args:
        path: The parameter's path in Scenic's tree, levels joined by `/`.
        shape: Its shape.
        heads: Name and classes of each head, in the order of the output's kernel; `(("", classes),)` for one
            head.

    Returns:
        The tensors and their conversion, or None if Hugging Face's port has no such parameter.
    """
    if path in _TOP_LEVEL:
        return TorchSource({_TOP_LEVEL[path]: shape}, lambda tensors: tensors[0])
    if path == "embedding/kernel" and len(shape) == 5:
        t, h, w, channels, width = shape
        name = "vivit.embeddings.patch_embeddings.projection.weight"
        return TorchSource({name: (width, channels, t, h, w)}, lambda tensors: tensors[0].transpose(2, 3, 4, 1, 0))
    if path in ("output_projection/kernel", "output_projection/bias"):
        return _head_source(path, shape, heads)
    if (match := _ENCODER_BLOCK.fullmatch(path)) and match[2] in _BLOCK_MODULES:
        return _block_source(f"vivit.encoder.layer.{match[1]}.{_BLOCK_MODULES[match[2]]}", match[3], match[2], shape)
    return None


def _block_source(name: str, leaf: str, module: str, shape: tuple[int, ...]) -> TorchSource:
    if leaf != "kernel":
        # The biases of query, key and value gain the axis of the heads; all others keep their shape.
        suffix = "weight" if leaf == "scale" else "bias"
        return TorchSource({f"{name}.{suffix}": (math.prod(shape),)}, lambda tensors: tensors[0].reshape(shape))
    # The output's kernel has the heads on its input side, [heads, head_dim, D]; query, key and value on their
    # output side, [D, heads, head_dim].
    inputs = len(shape) - 1 if module.endswith("/out") else 1
    torch_shape = (math.prod(shape[inputs:]), math.prod(shape[:inputs]))
    return TorchSource({f"{name}.weight": torch_shape}, lambda tensors: tensors[0].T.reshape(shape))


def _head_source(path: str, shape: tuple[int, ...], heads: tuple[tuple[str, int], ...]) -> TorchSource:
    leaf = "weight" if path.endswith("kernel") else "bias"
    inputs = shape[:-1]
    shapes = {f"{_classifier(head)}.{leaf}": (classes, *inputs) for head, classes in heads}
    return TorchSource(shapes, lambda tensors: np.concatenate(tensors, axis=0).T)


def _classifier(head: str) -> str:
    return f"{head}_classifier" if head else "classifier"
