"""Hugging Face's model of the same shape as one of our presets, with token merging in it."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import transformers  # pyright: ignore[reportMissingImports]

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models import VideoClassifier, VideoMAE, ViViT, create_model
from jax_vtm.models.layers import LAYER_NORM_EPSILON
from jax_vtm.pytorch.merging_model import ATTENTIONS, MergingModel, MergingVideoMAE, MergingViViT

WEIGHTS_FILE = "model.safetensors"


def use_threads(count: int) -> None:
    """Lets PyTorch use so many threads in this process; 0 leaves them as they are."""
    if count:
        torch.set_num_threads(count)


def environment() -> dict[str, str | int]:
    """Versions, and the threads that PyTorch uses."""
    return {"torch": torch.__version__, "transformers": transformers.__version__, "threads": torch.get_num_threads()}


def merging_model(
    preset: str,
    reduction: Reduction | None = None,
    attention: str = "sdpa",
    *,
    weights: str | os.PathLike[str] | None = None,
    seed: int = 0,
    **overrides: Any,
) -> MergingModel:
    """Builds `VivitForVideoClassification` or `VideoMAEForVideoClassification` with merging between attention and MLP.

    The result is a `torch.nn.Module` in evaluation mode: `model(video [B, T, H, W, 3]) -> logits`, and
    `model.traced(video)` with everything on the way. `model.hugging_face` is the library's own model, unmerged. All
    epsilons are those of the models' authors, 1e-6: Hugging Face's VideoMAE has 1e-12 and 1e-5 unless told otherwise.

    Args:
        preset: A ViViT (unfactorised, with a class token) or VideoMAE in `jax_vtm.models.PRESETS`.
        reduction: Token reduction, every mode of it; None for none.
        attention: "eager" or "sdpa".
        weights: A folder as `save_pretrained` leaves it; None for random weights.
        seed: Of the random weights.
        **overrides: Fields in place of the preset's, as for `jax_vtm.create_model`.

    Raises:
        UserError: A model that the library does not have, an unknown attention, weights that do not fit, or another
            version of the library.
    """
    if attention not in ATTENTIONS:
        raise UserError(f"PyTorch's attention is {attention!r}; known are {', '.join(ATTENTIONS)}.")
    shape = checked(preset, create_model(preset, reduction=reduction, **overrides))
    kind, library_class, config = _counterpart(shape)
    model = library_class(config) if weights is None else _load(library_class, config, pathlib.Path(weights))
    if isinstance(shape, VideoMAE):
        # The library's configuration has no key for this one.
        model.fc_norm.eps = LAYER_NORM_EPSILON
    if weights is None:
        _randomise(model, seed)
    reduction = no_reduction() if reduction is None else reduction
    try:
        merging = kind(
            model,
            reduction,
            attention,
            num_heads=config.num_attention_heads,
            proportional=shape.resolved(reduction).adds_log_size,
            has_class_token=shape.has_class_token,
        )
    except AttributeError as error:
        raise UserError(
            f"transformers {transformers.__version__} lays {library_class.__name__} out in another way ({error}); "
            'version 5.24 is known to fit. Run `pip install --upgrade "jax_vtm[torch]"`.'
        ) from error
    return merging.eval()


def save_weights(model: MergingModel, folder: pathlib.Path) -> pathlib.Path:
    """Writes the weights as Hugging Face does, under the names of its released files; returns the file."""
    transformers.utils.logging.disable_progress_bar()
    model.hugging_face.save_pretrained(folder, max_shard_size="1000GB")
    return folder / WEIGHTS_FILE


def checked(preset: str, shape: VideoClassifier) -> ViViT | VideoMAE:
    """Returns the model if Hugging Face has one of its kind.

    Raises:
        UserError: It has not; the message says what it has instead.
    """
    if not isinstance(shape.num_classes, int):
        raise UserError(
            f"model {preset!r} has the heads {dict(shape.num_classes)}; Hugging Face's models have one. "
            "Give num_classes as a number."
        )
    if isinstance(shape, VideoMAE):
        return shape
    plain = (shape.classifier, shape.representation_size, shape.num_sampled_frames) if isinstance(shape, ViViT) else ()
    if isinstance(shape, ViViT) and plain == ("token", None, None):
        return shape
    raise UserError(
        "comparing with PyTorch supports ViViT and VideoMAE: the unfactorised ViViT with a class token and no layer "
        "before the head, such as vivit_b_16x2, and VideoMAE, such as videomae_b_16; "
        f"{preset!r} is a {type(shape).__name__}."
    )


def _counterpart(shape: ViViT | VideoMAE) -> tuple[type[MergingModel], Any, Any]:
    """Our class, the library's, and its configuration."""
    frames, height, width, _ = shape.input_shape
    depth, patch_height, patch_width = shape.patch_size
    common = {
        "image_size": (height, width),
        "num_frames": frames,
        "hidden_size": shape.hidden_size,
        "num_labels": shape.num_classes,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "intermediate_size": shape.mlp_dim,
        "layer_norm_eps": LAYER_NORM_EPSILON,
    }
    if isinstance(shape, VideoMAE):
        config = transformers.VideoMAEConfig(patch_size=(patch_height, patch_width), tubelet_size=depth, **common)
        return MergingVideoMAE, transformers.VideoMAEForVideoClassification, config
    config = transformers.VivitConfig(tubelet_size=(depth, patch_height, patch_width), **common)
    return MergingViViT, transformers.VivitForVideoClassification, config


def _load(library_class: Any, config: Any, folder: pathlib.Path) -> Any:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected one as save_pretrained leaves it, with {WEIGHTS_FILE}.")
    transformers.utils.logging.disable_progress_bar()
    try:
        model, told = library_class.from_pretrained(
            folder, config=config, local_files_only=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{folder}: transformers cannot load it as a {library_class.__name__}: {error}") from error
    # The library only warns of these, and leaves random numbers where weights should be.
    misfits = [f"{what.replace('_', ' ')}: {sorted(map(str, names))}" for what, names in told.items() if names]
    if misfits:
        raise UserError(f"{folder}: does not fit a {library_class.__name__} of this shape; {'; '.join(misfits)}")
    return model


def _randomise(model: Any, seed: int) -> None:
    """Fills every weight anew, so that none of them is zero, or the same for every token, as the library begins.

    Matrices keep the size of what they multiply; biases and positions are large enough to show in every difference.
    """
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            values = random.standard_normal(tuple(weight.shape), dtype=np.float32)
            if weight.ndim == 1:
                values = 0.1 * values + ("norm" in name and name.endswith("weight"))
            elif name.endswith(("cls_token", "position_embeddings")):
                values *= 0.3
            else:
                values /= np.sqrt(values[0].size)
            weight.copy_(torch.from_numpy(values))
