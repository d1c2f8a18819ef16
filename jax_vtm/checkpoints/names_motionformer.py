"""Motionformer's parameters under the names of its released checkpoints (trajectory attention).

| file                                   | here                                                            |
| -------------------------------------- | --------------------------------------------------------------- |
| cls_token, pos_embed, temp_embed       | positions/{cls, space, time}                                    |
| patch_embed_3d.proj                    | embedding (kernel [t, h, w, c, C])                              |
| patch_embed.proj                       | nothing: the pictures' patch embedding, which videos do not use |
| blocks.I.norm1, blocks.I.norm2         | encoderblock_I/{attention_norm, mlp_norm}                       |
| blocks.I.attn.{qkv, proj}              | encoderblock_I/attention/{query, key, value}, out               |
| blocks.I.attn.proj_q                   | encoderblock_I/attention/trajectory_query                       |
| blocks.I.attn.proj_kv                  | encoderblock_I/attention/{trajectory_key, trajectory_value}     |
| blocks.I.mlp.{fc1, fc2}                | encoderblock_I/mlp/{Dense_0, Dense_1}                           |
| norm                                   | encoder_norm                                                    |
| pre_logits.fc                          | pre_logits                                                      |
| head, or head0 (verb) and head1 (noun) | output_projection                                               |
"""

from __future__ import annotations

import re

from jax_vtm.checkpoints import torch_parts
from jax_vtm.checkpoints.torch_tensors import TorchSource

# Tensors of the files that the model has no use for.
LEFTOVERS = frozenset({"patch_embed.proj.weight", "patch_embed.proj.bias"})

_LEAF = re.compile(r"(?:encoderblock_(\d+)/)?(.+)/(kernel|scale|bias)")
_POSITIONS = {"positions/cls": "cls_token", "positions/space": "pos_embed", "positions/time": "temp_embed"}
_TOP_LEVEL = {"encoder_norm": "norm", "pre_logits": "pre_logits.fc"}
_BLOCK_MODULES = {
    "attention_norm": "norm1",
    "mlp_norm": "norm2",
    "mlp/Dense_0": "mlp.fc1",
    "mlp/Dense_1": "mlp.fc2",
}
# Joint layer, which part of it, how many parts.
_PROJECTIONS = {
    "attention/query": ("qkv", 0, 3),
    "attention/key": ("qkv", 1, 3),
    "attention/value": ("qkv", 2, 3),
    "attention/trajectory_query": ("proj_q", 0, 1),
    "attention/trajectory_key": ("proj_kv", 0, 2),
    "attention/trajectory_value": ("proj_kv", 1, 2),
}


def motionformer_source(path: str, shape: tuple[int, ...], heads: torch_parts.Heads) -> TorchSource | None:
    """Says which tensors one parameter comes from.

    Args:
        path: The parameter's path, levels joined by `/`.
        shape: Its shape.
        heads: Name and classes of each head, in the order of the output's kernel.

    Returns:
        The tensors and their conversion, or None if Motionformer's files have no such parameter.
    """
    if path in _POSITIONS:
        return torch_parts.same(_POSITIONS[path], shape)
    match = _LEAF.fullmatch(path)
    if match is None:
        return None
    layer, module, leaf = match.groups()
    if layer is None:
        if module == "embedding":
            return torch_parts.patches("patch_embed_3d.proj", leaf, shape)
        if module in _TOP_LEVEL:
            return torch_parts.plain(_TOP_LEVEL[module], leaf, shape)
        return torch_parts.output_head(leaf, shape, heads) if module == "output_projection" else None
    block = f"blocks.{layer}"
    if module in _BLOCK_MODULES:
        return torch_parts.plain(f"{block}.{_BLOCK_MODULES[module]}", leaf, shape)
    if module == "attention/out":
        return torch_parts.heads_to_output(f"{block}.attn.proj", leaf, shape)
    if module in _PROJECTIONS:
        joint, index, count = _PROJECTIONS[module]
        return torch_parts.part(f"{block}.attn.{joint}", leaf, shape, index, count)
    return None
