"""TimeSformer's parameters under the names of its released checkpoints (divided space-time attention).

| file                                   | here                                                          |
| -------------------------------------- | ------------------------------------------------------------- |
| cls_token, pos_embed, time_embed       | positions/{cls, space, time}                                  |
| patch_embed.proj                       | embedding (kernel [1, h, w, c, C])                            |
| blocks.I.temporal_norm1                | encoderblock_I/temporal_norm                                  |
| blocks.I.temporal_attn.{qkv, proj}     | encoderblock_I/temporal_attention/{query, key, value}, out    |
| blocks.I.temporal_fc                   | encoderblock_I/temporal_projection                            |
| blocks.I.norm1, blocks.I.norm2         | encoderblock_I/{attention_norm, mlp_norm}                     |
| blocks.I.attn.{qkv, proj}              | encoderblock_I/attention/{query, key, value}, out             |
| blocks.I.mlp.{fc1, fc2}                | encoderblock_I/mlp/{Dense_0, Dense_1}                         |
| norm                                   | encoder_norm                                                  |
| head, or head0 (verb) and head1 (noun) | output_projection                                             |
"""

from __future__ import annotations

import re

from jax_vtm.checkpoints import torch_parts
from jax_vtm.checkpoints.torch_tensors import TorchSource

# Tensors of the files that the model has no use for.
LEFTOVERS = frozenset[str]()

_LEAF = re.compile(r"(?:encoderblock_(\d+)/)?(.+)/(kernel|scale|bias)")
_POSITIONS = {"positions/cls": "cls_token", "positions/space": "pos_embed", "positions/time": "time_embed"}
_BLOCK_MODULES = {
    "temporal_norm": "temporal_norm1",
    "temporal_projection": "temporal_fc",
    "attention_norm": "norm1",
    "mlp_norm": "norm2",
    "mlp/Dense_0": "mlp.fc1",
    "mlp/Dense_1": "mlp.fc2",
}
_ATTENTIONS = {"temporal_attention": "temporal_attn", "attention": "attn"}
_PROJECTIONS = {"query": 0, "key": 1, "value": 2}


def timesformer_source(path: str, shape: tuple[int, ...], heads: torch_parts.Heads) -> TorchSource | None:
    """Says which tensors one parameter comes from.

    Args:
        path: The parameter's path, levels joined by `/`.
        shape: Its shape.
        heads: Name and classes of each head, in the order of the output's kernel.

    Returns:
        The tensors and their conversion, or None if TimeSformer's files have no such parameter.
    """
    if path in _POSITIONS:
        return torch_parts.same(_POSITIONS[path], shape)
    match = _LEAF.fullmatch(path)
    if match is None:
        return None
    layer, module, leaf = match.groups()
    if layer is None:
        if module == "embedding":
            return torch_parts.patches("patch_embed.proj", leaf, shape, frames_axis=False)
        if module == "encoder_norm":
            return torch_parts.plain("norm", leaf, shape)
        return torch_parts.output_head(leaf, shape, heads) if module == "output_projection" else None
    block = f"blocks.{layer}"
    if module in _BLOCK_MODULES:
        return torch_parts.plain(f"{block}.{_BLOCK_MODULES[module]}", leaf, shape)
    attention, _, projection = module.partition("/")
    if attention not in _ATTENTIONS:
        return None
    name = f"{block}.{_ATTENTIONS[attention]}"
    if projection in _PROJECTIONS:
        return torch_parts.part(f"{name}.qkv", leaf, shape, _PROJECTIONS[projection], 3)
    return torch_parts.heads_to_output(f"{name}.proj", leaf, shape) if projection == "out" else None
