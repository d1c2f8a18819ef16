"""Tiny models of all kinds, of the real classes, what they are fed with, and Scenic's recorded ones."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from jax_vtm.merging import Reduction
from jax_vtm.models import create_model
from jax_vtm.models.transformer import VideoTransformer
from jax_vtm.models.video import VideoClassifier

GOLDEN = Path(__file__).parents[1] / "golden"
SCENIC = json.loads((GOLDEN / "scenic" / "models" / "models.json").read_text())
PRESET_OF = {
    "vivit": "vivit_b_16x2",
    "timesformer": "timesformer_b_8",
    "motionformer": "motionformer_b_16",
    "videomae": "videomae_b_16",
}
FRAMES, PLACES = 2, 15


def tree(arrays: dict[str, np.ndarray], prefix: str = "param/") -> dict:
    """The entries under a prefix as a nested dict."""
    return unflatten_dict({name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}, "/")


@functools.cache
def scenic_arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "scenic" / "models" / f"{name}.npz") as file:
        return dict(file)


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


def tiny(kind: str, reduction: Reduction | None = None, **fields) -> VideoClassifier:
    """Two frames of 3 x 5 patches, two layers."""
    depth = 1 if kind == "timesformer" else 2
    sizes = {"image_size": (12, 20), "num_frames": FRAMES * depth, "patch_size": (depth, 4, 4), "hidden_size": 24}
    sizes |= {"num_heads": 3, "num_layers": 2, "mlp_dim": 32, "num_classes": 5, "attention": "xla"}
    return create_model(PRESET_OF[kind], reduction=reduction, **{**sizes, **fields})


def video(model: VideoClassifier, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(batch, *model.input_shape)).astype(np.float32)


@functools.cache
def variables(kind: str) -> dict:
    return random_params(tiny(kind))


def given_scores(model: VideoClassifier, batch: int = 2, seed: int = 0) -> dict:
    """Scores for every reduction, drawn at random, as the variables that take the place of the model's own.

    Clips and their groups lie along the first axis, clip by clip.
    """
    rng = np.random.default_rng(seed)
    groups = model.num_groups if isinstance(model, VideoTransformer) else 1
    # Where tokens are merged frame by frame, the class token stays outside.
    outside = int(isinstance(model, VideoTransformer) and model.has_class_token)
    blocks = {}
    for layer, entering in enumerate(model.tokens_per_layer[:-1]):
        tokens = (entering - outside) // groups
        scores = rng.uniform(size=(batch * groups, (tokens + 1) // 2, tokens // 2)).astype(np.float32)
        blocks[f"encoderblock_{layer}"] = {"TokenReduction_0": {"scores": jnp.asarray(scores)}}
    return {"scores": blocks if isinstance(model, VideoTransformer) else {"Transformer": blocks}}
