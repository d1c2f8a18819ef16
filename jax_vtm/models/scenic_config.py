"""Reads the configurations of Scenic's ViViT project as they are, and builds the same model."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models.video import VideoClassifier
from jax_vtm.models.vivit import FactorisedEncoderViViT, ViViT
from jax_vtm.models.vivit_factorised_attention import FactorisedAttentionViViT

_ATTENTION_TYPES = (
    "spacetime",
    "factorized_encoder",
    "factorized_self_attention_block",
    "factorized_dot_product_attention",
)


def from_scenic_config(
    config: ConfigDict | Mapping[str, Any],
    *,
    num_classes: int | Mapping[str, int],
    input_shape: tuple[int, int, int, int],
    reduction: Reduction | None = None,
    temporal_reduction: Reduction | None = None,
) -> VideoClassifier:
    """Builds the model that a Scenic ConfigDict describes.

    Source: `scenic/projects/vivit/model.py` and its configs.

    Args:
        config: A ConfigDict or nested dict with `model` and, optionally, `model_dtype_str`.
        num_classes: Classes, or classes per head; Scenic takes them from its data set.
        input_shape: (T, H, W, 3) of one clip.
        reduction: Token reduction; in the factorised encoder, within each time index.
        temporal_reduction: Token reduction in a factorised encoder's temporal encoder.

    Returns:
        A `flax.linen.Module` with Scenic's parameter tree.

    Raises:
        UserError: A missing entry or a value that Scenic's model does not know either, with its path.
    """
    model = _entry(config, "model", "config")
    attention = _entry(model, "attention_config", "config.model")
    kind = _entry(attention, "type", "config.model.attention_config")
    if kind not in _ATTENTION_TYPES:
        raise UserError(
            f"config.model.attention_config.type is {kind!r}; known are {', '.join(_ATTENTION_TYPES)}. "
            "(Scenic's own encoder does not accept 'factorized_transformer_block' either.)"
        )
    common = _common_fields(config, model, num_classes, input_shape)
    common["reduction"] = reduction or no_reduction()
    if temporal_reduction is not None and kind != "factorized_encoder":
        raise UserError(f"temporal_reduction needs attention type 'factorized_encoder'; the config has {kind!r}.")

    if kind == "factorized_encoder":
        spatial = _entry(model, "spatial_transformer", "config.model")
        temporal = _entry(model, "temporal_transformer", "config.model")
        return FactorisedEncoderViViT(
            **common,
            **{f"spatial_{field}": value for field, value in _transformer_fields(spatial, "spatial").items()},
            **{f"temporal_{field}": value for field, value in _transformer_fields(temporal, "temporal").items()},
            spatial_only=bool(attention.get("spatial_only_baseline", False)),
            temporal_reduction=temporal_reduction or no_reduction(),
        )
    common |= {f"num_{f}" if f != "mlp_dim" else f: v for f, v in _transformer_fields(model, None).items()}
    if kind == "spacetime":
        return ViViT(**common)
    if kind == "factorized_self_attention_block":
        order = attention.get("attention_order", "time_space")
        return FactorisedAttentionViViT(**common, factorisation=order)
    return FactorisedAttentionViViT(**common, factorisation="dot_product")


def _common_fields(config, model, num_classes, input_shape) -> dict[str, Any]:
    frames, height, width, _ = input_shape
    temporal = _entry(model, "temporal_encoding_config", "config.model")
    method = _entry(temporal, "method", "config.model.temporal_encoding_config")
    size = tuple(_entry(_entry(model, "patches", "config.model"), "size", "config.model.patches"))
    # Scenic writes (height, width, time), or (height, width) where single frames are sampled.
    if method == "3d_conv" and len(size) == 3:
        patch_size, num_sampled_frames = (size[2], size[0], size[1]), None
    elif method == "temporal_sampling" and len(size) >= 2:
        patch_size = (1, size[0], size[1])
        num_sampled_frames = _entry(temporal, "n_sampled_frames", "config.model.temporal_encoding_config")
    else:
        raise UserError(
            f"config.model.temporal_encoding_config.method is {method!r} with patches.size {size}; known are "
            "'3d_conv' with (height, width, time) and 'temporal_sampling' with (height, width)."
        )
    dtype = jnp.dtype(config.get("model_dtype_str", "float32"))
    return {
        "num_classes": num_classes,
        "image_size": (height, width),
        "num_frames": frames,
        "patch_size": patch_size,
        "num_sampled_frames": num_sampled_frames,
        "hidden_size": _entry(model, "hidden_size", "config.model"),
        # Scenic also accepts the class token's position, '0', for 'token'.
        "classifier": {"0": "token"}.get(model.get("classifier", "gap"), model.get("classifier", "gap")),
        "representation_size": model.get("representation_size"),
        "dropout_rate": model.get("dropout_rate", 0.0) or 0.0,
        "droplayer_rate": model.get("stochastic_droplayer_rate", 0.0) or 0.0,
        "dtype": None if dtype == jnp.float32 else dtype,
    }


def _transformer_fields(block, which: str | None) -> dict[str, Any]:
    path = f"config.model.{which}_transformer" if which else "config.model"
    return {
        "layers": _entry(block, "num_layers", path),
        "heads": _entry(block, "num_heads", path),
        "mlp_dim": _entry(block, "mlp_dim", path),
    }


def _entry(mapping, key: str, path: str) -> Any:
    if key not in mapping:
        raise UserError(
            f"{path} has no {key!r}; Scenic's ViViT configs have it. Found: {', '.join(mapping) or 'nothing'}."
        )
    return mapping[key]
