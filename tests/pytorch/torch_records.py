"""The recorded models of tests/models with their weights as Hugging Face's files have them."""

import pathlib

import numpy as np
from hugging_face_names import of_hugging_face
from recorded import RECORDED, reduction_of
from safetensors.numpy import save_file

__all__ = ["RECORDED", "fields", "reduction_of", "save"]


def fields(kind: str) -> dict:
    """The recorded architecture, as fields in place of a preset's."""
    model = RECORDED[kind].model()
    names = (
        "num_classes",
        "image_size",
        "num_frames",
        "patch_size",
        "hidden_size",
        "num_heads",
        "num_layers",
        "mlp_dim",
    )
    return {name: getattr(model, name) for name in names}


def save(kind: str, folder: pathlib.Path) -> pathlib.Path:
    """Writes the recorded weights as a folder that Hugging Face loads."""
    found = of_hugging_face(kind, RECORDED[kind].state_dict())
    tensors = {name: np.ascontiguousarray(array) for name, array in found.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
