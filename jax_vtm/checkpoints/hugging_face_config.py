"""Compares a model with the `config.json` of a Hugging Face folder."""

import json
from typing import Any

from etils import epath

from jax_vtm.checkpoints.stored import CheckpointError, damage
from jax_vtm.checkpoints.validate import Model

FILE = "config.json"
_TANH, _EXACT = ("gelu_fast", "gelu_new", "gelu_pytorch_tanh"), ("gelu", "gelu_python")
# Names of our activations in the library; the first is its default.
_FAMILIES = {"vivit": _TANH, "timesformer": _EXACT, "videomae": _EXACT}
# Defaults of the library's classes.
_DEFAULTS = {"num_attention_heads": 12, "attention_type": "divided_space_time"}
_FIELDS = {
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "mlp_dim",
    "num_frames": "num_frames",
}


def check_hugging_face_config(weights: epath.Path, model: Model) -> None:
    """Compares a model with the `config.json` next to its weights, if there is one.

    Shapes do not show the number of heads and the activation. Epsilons are not compared: the library's differ from
    those that VideoMAE was trained with.

    Raises:
        CheckpointError: The file differs from the model (all differences are listed), or is damaged.
    """
    path = weights.parent / FILE
    if not weights.name.startswith(("model.safetensors", "pytorch_model.bin")) or not path.exists():
        return
    with damage(path, "is no configuration"):
        config = json.loads(path.read_text())
        family = config.get("model_type")
    if family not in _FAMILIES:
        return
    if family != getattr(model, "family", family):
        raise CheckpointError(f"{path}: model_type is {family!r}; the model is a {type(model).__name__}.")
    activations = _FAMILIES[family]
    found = {**_DEFAULTS, "hidden_act": activations[0], **config}
    if found["hidden_act"] in activations:
        found["hidden_act"] = activations[0]
    differences = [
        f"{key} is {found[key]!r}, the model's {value!r}"
        for key, value in _expected(model, family).items()
        if key in found and _plain(found[key]) != _plain(value)
    ]
    if differences:
        raise CheckpointError(
            f"{path}: the weights are of another model: {'; '.join(differences)}. Choose the preset that fits, or set "
            "its fields with --config.model.FIELD=VALUE."
        )


def _expected(model: Any, family: str) -> dict[str, object]:
    frames, height, width, _ = model.input_shape
    depth, *patch = model.patch_size
    values = {theirs: getattr(model, ours) for theirs, ours in _FIELDS.items() if hasattr(model, ours)}
    values |= {"image_size": (height, width), "num_frames": frames, "hidden_act": _FAMILIES[family][0]}
    if family == "vivit":
        return {**values, "tubelet_size": model.patch_size}
    if family == "videomae":
        return {**values, "tubelet_size": depth, "patch_size": patch}
    return {**values, "patch_size": patch, "attention_type": _DEFAULTS["attention_type"]}


def _plain(value: object) -> object:
    """Returns the side of a square for (side, side)."""
    if isinstance(value, (list, tuple)):
        return value[0] if len(value) == 2 and value[0] == value[1] else list(value)
    return value
