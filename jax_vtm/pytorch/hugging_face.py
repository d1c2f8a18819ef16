"""Builds Hugging Face's model of a preset's shape with token merging."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import transformers  # pyright: ignore[reportMissingImports]

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction, no_reduction
from jax_vtm.models import TimeSformer, VideoClassifier, VideoMAE, ViViT, create_model
from jax_vtm.models.layers import LAYER_NORM_EPSILON
from jax_vtm.pytorch.merging_model import ATTENTIONS, MergingModel, MergingVideoMAE, MergingViViT
from jax_vtm.pytorch.merging_timesformer import MergingTimeSformer

WEIGHTS_FILE = "model.safetensors"
Comparable = ViViT | TimeSformer | VideoMAE


def use_threads(count: int) -> None:
    """Sets PyTorch's number of threads; 0 keeps it."""
    if count:
        torch.set_num_threads(count)


def environment() -> dict[str, str | int]:
    """Returns versions and PyTorch's number of threads."""
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
    """Builds Hugging Face's `...ForVideoClassification` of a preset, with merging between attention and MLP.

    The result is a `torch.nn.Module` in evaluation mode: `model(video [B, T, H, W, 3]) -> logits`, and
    `model.traced(video)` with all intermediate values. `model.hugging_face` is the unmerged model of the library. All
    epsilons are the authors' 1e-6; the defaults of Hugging Face's VideoMAE are 1e-12 and 1e-5.

    Args:
        preset: A ViViT (unfactorised, with a class token), TimeSformer or VideoMAE in `jax_vtm.models.PRESETS`.
        reduction: Token reduction of any mode.
        attention: "eager" or "sdpa".
        weights: A folder of `save_pretrained`; None for random weights.
        seed: Of the random weights.
        **overrides: As for `jax_vtm.create_model`.

    Raises:
        UserError: The library has no such model or another version, the attention is unknown, or weights do not fit.
    """
    if attention not in ATTENTIONS:
        raise UserError(f"PyTorch's attention is {attention!r}; known are {', '.join(ATTENTIONS)}.")
    shape = checked(preset, create_model(preset, reduction=reduction, **overrides))
    kind, library_class, config = _counterpart(shape)
    model = library_class(config) if weights is None else _load(library_class, config, pathlib.Path(weights))
    if isinstance(shape, VideoMAE):
        # The library's configuration has no key for it.
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
            proportional=shape.resolved(reduction).adds_log_size(0),
        )
    except AttributeError as error:
        raise UserError(
            f"transformers {transformers.__version__} lays {library_class.__name__} out in another way ({error}); "
            'version 5.24 is known to fit. Run `pip install --upgrade "jax_vtm[torch]"`.'
        ) from error
    return merging.eval()


def save_weights(model: MergingModel, folder: pathlib.Path) -> pathlib.Path:
    """Writes the weights in Hugging Face's form; returns the file."""
    transformers.utils.logging.disable_progress_bar()
    model.hugging_face.save_pretrained(folder, max_shard_size="1000GB")
    return folder / WEIGHTS_FILE


def checked(preset: str, shape: VideoClassifier) -> Comparable:
    """Returns the model, or raises UserError if Hugging Face has none of its kind."""
    if not isinstance(shape.num_classes, int):
        raise UserError(
            f"model {preset!r} has the heads {dict(shape.num_classes)}; Hugging Face's models have one. "
            "Give num_classes as a number."
        )
    if isinstance(shape, TimeSformer):
        _, height, width, _ = shape.input_shape
        squares = height == width and shape.patch_size[1] == shape.patch_size[2]
        if not squares or shape.position_grid not in (None, shape.grid):
            raise UserError(
                f"model {preset!r} has images of {height} x {width}, patches of {shape.patch_size} and position_grid "
                f"{shape.position_grid}; Hugging Face's TimeSformer has squares, each with a position of its own."
            )
        return shape
    if isinstance(shape, VideoMAE):
        return shape
    plain = (shape.classifier, shape.representation_size, shape.num_sampled_frames) if isinstance(shape, ViViT) else ()
    if isinstance(shape, ViViT) and plain == ("token", None, None):
        return shape
    raise UserError(
        "comparing with PyTorch supports ViViT, TimeSformer and VideoMAE: the unfactorised ViViT with a class token "
        "and no layer before the head, such as vivit_b_16x2, timesformer_b_8, videomae_b_16. Hugging Face has no "
        f"Motionformer; tests compare it with recorded values. {preset!r} is a {type(shape).__name__}."
    )


def _counterpart(shape: Comparable) -> tuple[type[MergingModel], Any, Any]:
    """Returns our class, the library's class and its configuration."""
    frames, height, width, _ = shape.input_shape
    depth, patch_height, patch_width = shape.patch_size
    common: dict[str, Any] = {
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
    if isinstance(shape, TimeSformer):
        # The library's layers divide one side by the other, as numbers.
        common["image_size"] = height
        config = transformers.TimesformerConfig(patch_size=patch_height, **common)
        return MergingTimeSformer, transformers.TimesformerForVideoClassification, config
    config = transformers.VivitConfig(tubelet_size=(depth, patch_height, patch_width), **common)
    return MergingViViT, transformers.VivitForVideoClassification, config


def _load(library_class: Any, config: Any, folder: pathlib.Path) -> Any:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected one of save_pretrained, with {WEIGHTS_FILE}.")
    transformers.utils.logging.disable_progress_bar()
    try:
        model, loading = library_class.from_pretrained(
            folder, config=config, local_files_only=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{folder}: transformers cannot load it as a {library_class.__name__}: {error}") from error
    # The library only warns, and leaves missing weights random.
    misfits = [f"{what.replace('_', ' ')}: {sorted(map(str, names))}" for what, names in loading.items() if names]
    if misfits:
        raise UserError(f"{folder}: does not fit a {library_class.__name__} of this shape; {'; '.join(misfits)}")
    return model


def _randomise(model: Any, seed: int) -> None:
    """Draws all weights, none of them zero as in the library, large enough that each affects the outputs."""
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            values = random.standard_normal(tuple(weight.shape), dtype=np.float32)
            if weight.ndim == 1:
                values = 0.1 * values + ("norm" in name and name.endswith("weight"))
            elif name.endswith(("cls_token", "position_embeddings", "time_embeddings")):
                values *= 0.3
            else:
                values /= np.sqrt(values[0].size)
            weight.copy_(torch.from_numpy(values))
