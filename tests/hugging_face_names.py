"""The recorded models under the names of Hugging Face's files, written down apart from the package's own tables."""

import re
from collections.abc import Mapping

import numpy as np

# Hugging Face's names of the parts of VideoMAE's layers, by the authors' names.
LAYER = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
# What is replaced in TimeSformer's names.
TIMESFORMER = (
    (r"^head", "classifier"),
    (r"^norm", "timesformer.layernorm"),
    (r"^cls_token", "timesformer.embeddings.cls_token"),
    (r"^pos_embed", "timesformer.embeddings.position_embeddings"),
    (r"^time_embed", "timesformer.embeddings.time_embeddings"),
    (r"^patch_embed\.proj", "timesformer.embeddings.patch_embeddings.projection"),
    (r"^blocks", "timesformer.encoder.layer"),
    (r"temporal_norm1", "temporal_layernorm"),
    (r"temporal_fc", "temporal_dense"),
    (r"\.norm1", ".layernorm_before"),
    (r"\.norm2", ".layernorm_after"),
    (r"attn\.qkv", "attention.attention.qkv"),
    (r"attn\.proj", "attention.output.dense"),
    (r"mlp\.fc1", "intermediate.dense"),
    (r"mlp\.fc2", "output.dense"),
)
OUTSIDE = {"patch_embed.proj": "videomae.embeddings.patch_embeddings.projection", "head": "classifier"}


def of_hugging_face(kind: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames the recorded tensors of a model; ViViT's are recorded under Hugging Face's names."""
    ports = {"timesformer": timesformer_of_hugging_face, "videomae": videomae_of_hugging_face}
    return ports[kind](tensors) if kind in ports else dict(tensors)


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


def timesformer_of_hugging_face(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames the authors' tensors."""
    found = {}
    for name, array in tensors.items():
        name = name.removeprefix("model.")
        for old, new in TIMESFORMER:
            name = re.sub(old, new, name)
        found[name] = array
    return found
