"""VideoMAE's parameters under the names of its released fine-tuned checkpoints.

| file                                   | here                                                      |
| -------------------------------------- | --------------------------------------------------------- |
| patch_embed.proj                       | embedding (kernel [t, h, w, c, C])                        |
| blocks.I.norm1, blocks.I.norm2         | encoderblock_I/{attention_norm, mlp_norm}                 |
| blocks.I.attn.qkv.weight               | encoderblock_I/attention/{query, key, value}/kernel       |
| blocks.I.attn.{q_bias, v_bias}         | encoderblock_I/attention/{query, value}/bias              |
| blocks.I.attn.proj                     | encoderblock_I/attention/out                              |
| blocks.I.mlp.{fc1, fc2}                | encoderblock_I/mlp/{Dense_0, Dense_1}                     |
| fc_norm                                | pooled_norm                                               |
| head, or head0 (verb) and head1 (noun) | output_projection                                         |

Positions are a fixed sinusoid and in no file.
"""

from __future__ import annotations

import math
import re

from jax_vtm.checkpoints import torch_parts
from jax_vtm.checkpoints.torch_tensors import TorchSource

# Tensors of the files that the model has no use for.
LEFTOVERS = frozenset[str]()

_LEAF = re.compile(r"(?:encoderblock_(\d+)/)?(.+)/(kernel|scale|bias)")
_BLOCK_MODULES = {
    "attention_norm": "norm1",
    "mlp_norm": "norm2",
    "mlp/Dense_0": "mlp.fc1",
    "mlp/Dense_1": "mlp.fc2",
}
_PROJECTIONS = {"attention/query": 0, "attention/key": 1, "attention/value": 2}
_PROJECTION_BIASES = {"attention/query": "q_bias", "attention/value": "v_bias"}


def videomae_source(path: str, shape: tuple[int, ...], heads: torch_parts.Heads) -> TorchSource | None:
    """Says which tensors one parameter comes from.

    Args:
        path: The parameter's path, levels joined by `/`.
        shape: Its shape.
        heads: Name and classes of each head, in the order of the output's kernel.

    Returns:
        The tensors and their conversion, or None if VideoMAE's files have no such parameter.
    """
    match = _LEAF.fullmatch(path)
    if match is None:
        return None
    layer, module, leaf = match.groups()
    if layer is None:
        if module == "embedding":
            return torch_parts.patches("patch_embed.proj", leaf, shape)
        if module == "pooled_norm":
            return torch_parts.plain("fc_norm", leaf, shape)
        return torch_parts.output_head(leaf, shape, heads) if module == "output_projection" else None
    block = f"blocks.{layer}"
    if module in _BLOCK_MODULES:
        return torch_parts.plain(f"{block}.{_BLOCK_MODULES[module]}", leaf, shape)
    if module == "attention/out":
        return torch_parts.heads_to_output(f"{block}.attn.proj", leaf, shape)
    if module in _PROJECTIONS and leaf == "kernel":
        return torch_parts.part(f"{block}.attn.qkv", leaf, shape, _PROJECTIONS[module], 3)
    if module in _PROJECTION_BIASES:
        name = f"{block}.attn.{_PROJECTION_BIASES[module]}"
        return TorchSource({name: (math.prod(shape),)}, lambda tensors: tensors[0].reshape(shape))
    return None
