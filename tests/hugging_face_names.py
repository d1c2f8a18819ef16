"""The recorded VideoMAE under the names of Hugging Face's files, written down apart from the package's own table."""

from collections.abc import Mapping

import numpy as np

# Hugging Face's names of a layer's parts, by the authors' names.
LAYER = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
OUTSIDE = {"patch_embed.proj": "videomae.embeddings.patch_embeddings.projection", "head": "classifier"}


def videomae_of_hugging_face(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames the authors' tensors, and cuts the joint query, key and value in three."""
    return {new: part for name, a in tensors.items() for new, part in _renamed(name.removeprefix("model."), a)}


def _renamed(name: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    module, leaf = name.rsplit(".", 1)
    if not name.startswith("blocks."):
        return [(f"{OUTSIDE.get(module, module)}.{leaf}", array)]
    _, layer, part = module.split(".", 2)
    home = f"videomae.encoder.layer.{layer}"
    if part == "attn.qkv":
        parts = zip(("query", "key", "value"), np.split(array, 3), strict=True)
        return [(f"{home}.attention.attention.{which}.weight", weight) for which, weight in parts]
    if part == "attn":  # q_bias and v_bias
        return [(f"{home}.attention.attention.{leaf}", array)]
    return [(f"{home}.{LAYER[part]}.{leaf}", array)]
