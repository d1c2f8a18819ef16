"""VideoMAE's parameters under the names of Hugging Face's `VideoMAEForVideoClassification` files.

| file                                                           | here                                            |
| -------------------------------------------------------------- | ----------------------------------------------- |
| videomae.embeddings.patch_embeddings.projection                | embedding (kernel [t, h, w, c, C])              |
| videomae.encoder.layer.I.layernorm_before, .layernorm_after    | encoderblock_I/{attention_norm, mlp_norm}       |
| videomae.encoder.layer.I.attention.attention.{query,key,value} | encoderblock_I/attention/{query, key, value}    |
| videomae.encoder.layer.I.attention.attention.{q_bias, v_bias}  | encoderblock_I/attention/{query, value}/bias    |
| videomae.encoder.layer.I.attention.output.dense                | encoderblock_I/attention/out                    |
| videomae.encoder.layer.I.{intermediate, output}.dense          | encoderblock_I/mlp/{Dense_0, Dense_1}           |
| fc_norm                                                        | pooled_norm                                     |
| classifier                                                     | output_projection                               |

The weights are the authors' own under other names. They were trained with 1e-6 in every layer normalisation, which is
what the model here computes; Hugging Face's class has 1e-12 and, in `fc_norm`, 1e-5, so that its logits differ from
the authors' and from ours in late digits.
"""

from __future__ import annotations

import math
import re

from jax_vtm.checkpoints import torch_parts
from jax_vtm.checkpoints.torch_tensors import TorchSource

# Every name of the encoder begins with it, and no name of the authors' files does.
PREFIX = "videomae."

_LEAF = re.compile(r"(?:encoderblock_(\d+)/)?(.+)/(kernel|scale|bias)")
_BLOCK_MODULES = {
    "attention_norm": "layernorm_before",
    "mlp_norm": "layernorm_after",
    "mlp/Dense_0": "intermediate.dense",
    "mlp/Dense_1": "output.dense",
}
_PROJECTIONS = {"attention/query": "query", "attention/key": "key", "attention/value": "value"}
_PROJECTION_BIASES = {"attention/query": "q_bias", "attention/value": "v_bias"}


def videomae_source(path: str, shape: tuple[int, ...], heads: torch_parts.Heads) -> TorchSource | None:
    """Says which tensors one parameter comes from.

    Args:
        path: The parameter's path, levels joined by `/`.
        shape: Its shape.
        heads: Name and classes of each head, in the order of the output's kernel.

    Returns:
        The tensors and their conversion, or None if these files have no such parameter.
    """
    match = _LEAF.fullmatch(path)
    if match is None:
        return None
    layer, module, leaf = match.groups()
    if layer is None:
        if module == "embedding":
            return torch_parts.patches(f"{PREFIX}embeddings.patch_embeddings.projection", leaf, shape)
        if module == "pooled_norm":
            return torch_parts.plain("fc_norm", leaf, shape)
        one_head = module == "output_projection" and [name for name, _ in heads] == [""]
        return torch_parts.plain("classifier", leaf, shape) if one_head else None
    block = f"{PREFIX}encoder.layer.{layer}"
    if module in _BLOCK_MODULES:
        return torch_parts.plain(f"{block}.{_BLOCK_MODULES[module]}", leaf, shape)
    if module == "attention/out":
        return torch_parts.heads_to_output(f"{block}.attention.output.dense", leaf, shape)
    if module in _PROJECTIONS and leaf == "kernel":
        return torch_parts.part(f"{block}.attention.attention.{_PROJECTIONS[module]}", leaf, shape, 0, 1)
    if module in _PROJECTION_BIASES:
        name = f"{block}.attention.attention.{_PROJECTION_BIASES[module]}"
        return TorchSource({name: (math.prod(shape),)}, lambda tensors: tensors[0].reshape(shape))
    return None
