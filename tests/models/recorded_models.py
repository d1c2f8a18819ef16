"""Recorded models: Scenic's and the PyTorch reference's."""

import functools
import json
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from jax_vtm.checkpoints import from_torch_state_dict
from jax_vtm.merging import Reduction
from jax_vtm.models import create_model

GOLDEN = Path(__file__).parents[1] / "golden"
SCENIC = json.loads((GOLDEN / "scenic" / "models" / "models.json").read_text())
VIVIT = json.loads((GOLDEN / "torch" / "manifest.json").read_text())["models"]["vivit"]


def tree(arrays: dict[str, np.ndarray], prefix: str = "param/") -> dict:
    """The entries under a prefix as a nested dict."""
    return unflatten_dict({name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}, "/")


@functools.cache
def scenic_arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "scenic" / "models" / f"{name}.npz") as file:
        return dict(file)


@functools.cache
def torch_arrays() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "torch" / "model_vivit.npz") as file:
        return dict(file)


def torch_video() -> np.ndarray:
    """The reference's clips as [B, T, H, W, 3]."""
    return torch_arrays()["video"].transpose(0, 2, 3, 4, 1)


def torch_model(reduction: Reduction | None = None, num_classes=10, **fields):
    """The recorded architecture."""
    size = VIVIT["config"]
    return create_model(
        "vivit_b_16x2",
        reduction=reduction,
        num_classes=num_classes,
        image_size=size["image"],
        num_frames=size["frames"],
        patch_size=(size["tubelet"], size["patch"], size["patch"]),
        hidden_size=size["dim"],
        num_heads=size["heads"],
        num_layers=size["depth"],
        mlp_dim=size["dim"] * size["mlp_ratio"],
        **fields,
    )


def torch_state_dict(two_heads: bool = False) -> dict[str, np.ndarray]:
    """The recorded parameters under the source's names."""
    arrays = torch_arrays()
    found = {name.removeprefix("param/"): a for name, a in arrays.items() if name.startswith("param/")}
    if two_heads:
        found = {name: array for name, array in found.items() if not name.startswith("classifier.")}
        found |= {name.removeprefix("param_ek/"): a for name, a in arrays.items() if name.startswith("param_ek/")}
    return found


@functools.cache
def torch_variables() -> dict:
    return from_torch_state_dict(torch_state_dict(), torch_model())


def reduction_of(case: dict) -> Reduction:
    """The settings of one recorded case."""
    patch, r, inflection = case["patch"], case["r"], 0
    if case["r_form"].startswith("tuple"):
        r, inflection = r
    repeated = case["duplicate"] and (case["duplicate"]["layer_to_duplicate"], case["duplicate"]["quantity"])
    return Reduction(
        r=r,
        inflection=inflection,
        mode=patch["mode"],
        proportional_attention=patch["prop_attn"],
        head_aggregation=patch["head_aggregation"],
        threshold=patch.get("threshold", 0.0),
        repeat_layer=repeated,
    )


def random_params(model, seed: int = 0) -> dict:
    """Random variables of a model, every leaf of it, without compiling its initialisation."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, *model.input_shape), np.float32))

    def leaf(path, shape):
        scale = jax.tree_util.keystr(path).endswith("['scale']")
        return (rng.normal(size=shape.shape) * 0.15 + scale).astype(np.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


TINY = {"image_size": 16, "num_frames": 4, "patch_size": (2, 4, 4), "hidden_size": 24, "num_classes": 5}


def tiny_vivit(reduction: Reduction | None = None, **fields):
    """33 tokens, two layers."""
    return create_model(
        "vivit_b_16x2", reduction=reduction, **{**TINY, "num_layers": 2, "num_heads": 3, "mlp_dim": 32, **fields}
    )


def tiny_factorised(reduction: Reduction | None = None, **fields):
    """Two time indices with 17 tokens each."""
    sizes = {"spatial_layers": 2, "spatial_heads": 3, "spatial_mlp_dim": 32}
    sizes |= {"temporal_layers": 1, "temporal_heads": 2, "temporal_mlp_dim": 16}
    return create_model("vivit_b_16x2_fe", reduction=reduction, **{**TINY, **sizes, **fields})


def tiny_video(batch: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(batch, 4, 16, 16, 3)).astype(np.float32)
