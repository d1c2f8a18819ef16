"""Parameters of another model than the one that is to be filled: what training begins with.

`load_checkpoint` takes only what fits to the last leaf. Here a file may be of an image ViT, of VideoMAE's pre-training,
or of the model with other classes, frames or pixels; which of it is used, and how, is for the caller to say.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jax_vtm.checkpoints.load import read_entries
from jax_vtm.checkpoints.locate import locate_checkpoint
from jax_vtm.checkpoints.stored import CheckpointError, Stored
from jax_vtm.checkpoints.torch_names import found_params
from jax_vtm.checkpoints.train_state import rename_pre_linen
from jax_vtm.checkpoints.validate import Model, abstract_params
from jax_vtm.models.timesformer import TimeSformer
from jax_vtm.models.vivit import ViViT

# VideoMAE's pre-training: its decoder, and the norm in front of that, are not in the classifier.
_PRETRAINING = re.compile(r"(^|\.)(decoder\.|encoder_to_decoder\.|mask_token$|encoder\.norm\.)")
_IMAGE_LEVELS = ("Transformer", "cls", "embedding")
# What only files of videos have, among those whose patches' tensor is named as timm names that of an image ViT.
_OF_VIDEOS = re.compile(r"(^|\.)(temporal_fc|patch_embed_3d|time_embed|temp_embed)\b")
# Where an image ViT's leaf goes: (our path, its path), as patterns. Attention along either axis begins with the same.
IMAGE_LEAVES = (
    (r"^SpatialTransformer/", "Transformer/"),
    (r"/MultiHeadDotProductAttention_(time|space)/", "/MultiHeadDotProductAttention_0/"),
    (r"/LayerNorm_space/", "/LayerNorm_0/"),
    (r"/LayerNorm_mlp/", "/LayerNorm_1/"),
    (r"/MlpBlock/", "/MlpBlock_0/"),
    # TimeSformer's and Motionformer's.
    (r"^(encoder_norm|encoderblock_\d+)/", r"Transformer/\1/"),
    (r"/(temporal_)?attention/(query|key|value|out)/", r"/MultiHeadDotProductAttention_0/\2/"),
    (r"/(temporal|attention)_norm/", "/LayerNorm_0/"),
    (r"/mlp_norm/", "/LayerNorm_1/"),
    (r"/mlp/", "/MlpBlock_0/"),
    (r"^positions/cls$", "cls"),
    (r"^positions/space$", "Transformer/posembed_input/pos_embedding"),
)


def image_leaf(path: str) -> str:
    """Returns the path in an image ViT of what a parameter begins with."""
    for pattern, theirs in IMAGE_LEAVES:
        path = re.sub(pattern, theirs, path)
    return path


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """What a file holds.

    Attributes:
        path: The file.
        params: Arrays by path: the model's own paths or, of an image ViT, those of Scenic's ViT, whose
            `embedding/kernel` is [h, w, 3, C].
        is_image: Whether it is an image ViT.
    """

    path: str
    params: Mapping[str, np.ndarray]
    is_image: bool


def read_pretrained(path: str | os.PathLike[str], model: Model) -> Pretrained:
    """Reads a file of any format that `load_checkpoint` knows, and image ViTs.

    Image ViTs are Scenic's and big_vision's (msgpack; AugReg's `.npz`), timm's, and Hugging Face's `ViTModel` and
    `ViTForImageClassification`.

    Args:
        path: As for `load_checkpoint`.
        model: The model that is to be trained; files of PyTorch have the names of its family.

    Raises:
        CheckpointError: It cannot be read, or is of a model that is neither.
    """
    found = locate_checkpoint(path)
    expected = abstract_params(model)
    leaves: dict[str, Any] = flatten_dict(expected, sep="/")
    try:
        with contextlib.ExitStack() as files:
            entries, are_tensors = read_entries(found, {*expected, *_IMAGE_LEVELS}, files, _largest)
            if not are_tensors:
                params: dict[str, Any] = {
                    name: entry.read() for name, entry in entries.items() if entry.shape is not None
                }
                params = flatten_dict(rename_pre_linen(unflatten_dict(params, sep="/")), sep="/")
                params = {re.sub(r"^head/", "output_projection/", name): array for name, array in params.items()}
            else:
                entries, leaves, image_model = _as_known(entries, leaves, model)
                params = found_params(entries, leaves, image_model or model, str(found))
                if image_model:
                    params = {image_leaf(name): array for name, array in params.items()}
    except OSError as error:
        raise CheckpointError(f"{found}: cannot be read: {error}") from error
    kernel = params.get("embedding/kernel")
    if kernel is None:
        raise CheckpointError(f"{found}: there is no patch embedding in it that this model's training can begin with.")
    bad = [name for name, array in params.items() if not np.isfinite(array).all()]
    if bad:
        raise CheckpointError(f"{found}: {bad[0]} is not finite (NaN or infinite).")
    is_image = _is_image(params, leaves, kernel)
    if is_image and kernel.ndim == 5:
        params = {**params, "embedding/kernel": kernel[0]}
    return Pretrained(str(found), {name: np.asarray(array, np.float32) for name, array in params.items()}, is_image)


def _is_image(params: Mapping[str, np.ndarray], leaves: Mapping[str, Any], kernel: np.ndarray) -> bool:
    """Whether patches have no time, although the model's have."""
    return "Transformer/posembed_input/pos_embedding" in params and (
        kernel.ndim == 4 < len(leaves["embedding/kernel"].shape) or kernel.shape[0] == 1
    )


def _as_known(
    entries: dict[str, Stored], leaves: dict[str, Any], model: Any
) -> tuple[dict[str, Stored], dict[str, Any], Model | None]:
    """Renames tensors to what the tables of names know: those of a pre-training, and of an image ViT.

    Returns:
        The tensors, and of an image ViT the leaves of the model of one frame whose tensors these are, and that model.
    """
    if any(_PRETRAINING.search(name) for name in entries):
        kept = {name: entry for name, entry in entries.items() if not _PRETRAINING.search(name)}
        entries = {re.sub(r"(^|\.)encoder\.", r"\1", name): entry for name, entry in kept.items()}
    of_hugging_face = any(re.search(r"(^|\.)vit\.", name) for name in entries)
    if of_hugging_face:
        entries = {re.sub(r"(^|\.)vit\.", r"\1vivit.", name): entry for name, entry in entries.items()}
    ending = re.compile(r"(^|\.)(patch_embeddings\.projection|patch_embed\.proj)\.weight$")
    patches = next((name for name, entry in entries.items() if ending.search(name) and len(entry.shape or ()) == 4), "")
    hidden = next((e.shape for n, e in entries.items() if re.search(r"(intermediate\.dense|mlp\.fc1)\.bias$", n)), None)
    heads = getattr(model, "num_heads", 0) or getattr(model, "spatial_heads", 0)
    if not patches or not hidden or not heads or any(_OF_VIDEOS.search(name) for name in entries):
        return entries, leaves, None
    flat = entries[patches]
    width, channels, height, along = flat.shape or (0, 0, 0, 0)
    blocks = {found[1] for name in entries if (found := re.search(r"\b(?:encoder\.layer|blocks)\.(\d+)\.", name))}
    if of_hugging_face:
        unsqueezed = Stored((width, channels, 1, height, along), flat.dtype, lambda: flat.read()[:, :, None])
        entries = {**entries, patches: unsqueezed}
    image_model = (ViViT if of_hugging_face else TimeSformer)(
        num_classes=1,
        image_size=height,
        num_frames=1,
        patch_size=(1, height, along),
        hidden_size=width,
        num_layers=len(blocks),
        num_heads=heads,
        mlp_dim=hidden[0],
    )
    return entries, flatten_dict(abstract_params(image_model), sep="/"), image_model


def _largest(sets: Mapping[str, dict[str, Stored]]) -> dict[str, Stored]:
    """Of several dicts of tensors in one file, the one with the most."""
    return max(sets.values(), key=len)
