"""What training begins with: another model's weights, fitted leaf by leaf; every leaf is accounted for."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jax_vtm.checkpoints import Pretrained, image_leaf, read_pretrained
from jax_vtm.errors import UserError, listed
from jax_vtm.models import VideoClassifier
from jax_vtm.training.positions import fitted_positions, zoomed

KERNELS = ("central_frame", "average_frame")
HEAD = "output_projection"
# VideoMAE's `init_scale`, of a new head.
_HEAD_SCALE = {"videomae": 0.001}
# What an image ViT leaves out begins as the model's authors have it: TimeSformer's attention over time adds nothing yet
# (timesformer/models/vit.py).
_NEW_AFTER_IMAGE = {"temporal_projection": 0.0}


def initial_params(
    model: VideoClassifier,
    fresh: Mapping[str, Any],
    path: str,
    *,
    positions: str = "tile",
    kernel: str = "central_frame",
    new: Sequence[str] = (HEAD,),
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Fits a file's parameters to a model.

    Args:
        model: The model.
        fresh: Its parameters as they are initialised; what the file does not have stays so.
        path: What `read_pretrained` reads.
        positions: How tables of positions of another length are fitted, as in `fitted_positions`.
        kernel: How a kernel of images becomes one of clips: the whole of it at the middle frame, or a share at each.
        new: Leaves that have one of these in their path stay as they are initialised.

    Returns:
        Parameters, and a row per leaf: "leaf", "shape", "from" ("" if new) and "how".

    Raises:
        UserError: A leaf has another shape, or the file has layers that the model has not; all are listed.
    """
    source = read_pretrained(path, model)
    if source.is_image and model.family == "videomae":
        raise UserError(
            f"{path}: is an image ViT; VideoMAE's training begins with its pre-training on videos. Give such a file."
        )
    if kernel not in KERNELS:
        raise UserError(f"train.init_kernel is {kernel!r}; known are {', '.join(KERNELS)}.")
    leaves: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in flatten_dict(fresh, sep="/").items()}
    fitted, rows, misfits, used = {}, [], [], set()
    for name, leaf in leaves.items():
        origin, how = _origin(name, source), "taken"
        if origin is None or set(name.split("/")) & set(new):
            fitted[name], origin, how = leaf, "", "new"
            factors = {HEAD: _HEAD_SCALE.get(model.family), **(_NEW_AFTER_IMAGE if source.is_image else {})}
            scale = next((factors[part] for part in name.split("/") if part in factors), None)
            if scale is not None:
                fitted[name], how = leaf * scale, f"new, times {scale:g}" if scale else "new, zero"
        else:
            used.add(origin)
            found = source.params[origin]
            if name.endswith(("pos_embedding", "positions/space", "positions/time")):
                found, how = _positions(name, leaf, found, model, source, positions)
            elif name == "embedding/kernel" and source.is_image:
                found, how = _kernel(found, leaf.shape[0], kernel), kernel if leaf.shape[0] > 1 else "taken"
            if found.shape != leaf.shape:
                misfits.append(f"  {name}: found {found.shape}, expected {leaf.shape}")
            fitted[name] = found.astype(leaf.dtype)
        rows.append({"leaf": name, "shape": "x".join(map(str, leaf.shape)), "from": origin, "how": how})
    _check_unused(path, source, used | set(leaves), new)
    if misfits:
        raise UserError("\n".join([f"{path}: does not fit the model.", *misfits]))
    return unflatten_dict(fitted, sep="/"), rows


def _origin(name: str, source: Pretrained) -> str | None:
    """The file's leaf that a leaf comes from."""
    name = image_leaf(name) if source.is_image else name
    return name if name in source.params else None


def _kernel(image: np.ndarray, frames: int, how: str) -> np.ndarray:
    if how == "average_frame":
        return np.repeat(image[None] / frames, frames, axis=0)
    kernel = np.zeros((frames, *image.shape), image.dtype)
    kernel[frames // 2] = image
    return kernel


def _positions(
    name: str, leaf: np.ndarray, found: np.ndarray, model: VideoClassifier, source: Pretrained, method: str
) -> tuple[np.ndarray, str]:
    """Fits a table of positions; the class token's row is the file's if it has one, else the initialised one."""
    (frames, height, width), part = getattr(model, "position_grid", None) or model.grid, name.split("/")[0]
    if name == "positions/time":
        tokens = zoomed(found[0], (frames,))
        return tokens[None], "taken" if len(tokens) == found.shape[1] else f"resized from {found.shape[1]}"
    ours, theirs = int(model.has_class_token), int(any(re.search(r"(^|/)cls", part) for part in source.params))
    tokens = found[0, theirs:]
    if part == "TemporalTransformer":
        # Whatever the method, as in Scenic.
        tokens, how = zoomed(tokens, (frames,)), "taken" if len(tokens) == frames else f"resized from {len(tokens)}"
    else:
        grid = (1 if part in ("SpatialTransformer", "positions") else frames, height, width)
        tokens, how = fitted_positions(tokens, grid, method, is_image=source.is_image, where=name)
    rows = [(found if theirs else leaf)[0, :1]] if ours else []
    if ours and not theirs:
        how += "; class token new"
    return np.concatenate([*rows, tokens])[None], how


def _check_unused(path: str, source: Pretrained, known: set[str], new: Sequence[str]) -> None:
    """Refuses files with layers that the model has not: leaving them out would be another model."""
    left = [name for name in source.params if name not in known and not set(name.split("/")) & set(new)]
    blocks = sorted({found[1] for name in left if (found := re.match(r"(.*encoderblock_\d+)/", name))})
    if blocks:
        part = blocks[0].rpartition("/")[0]
        begun_anew = f", or begin all of that part anew (--config.train.init_new={HEAD},{part})" if part else ""
        raise UserError(
            f"{path}: has blocks that the model has not: {listed(blocks, 4)}. Train a model with as many layers "
            f"(--config.model.num_layers, of a factorised encoder spatial_layers and temporal_layers){begun_anew}."
        )
