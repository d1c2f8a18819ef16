"""Tiny models of all four kinds, of the real classes, and what they are fed with."""

import functools

import jax.numpy as jnp
import numpy as np
from recorded_models import random_params

from jax_vtm.merging import Reduction
from jax_vtm.models import create_model
from jax_vtm.models.transformer import VideoTransformer
from jax_vtm.models.video import VideoClassifier

PRESET_OF = {
    "vivit": "vivit_b_16x2",
    "timesformer": "timesformer_b_8",
    "motionformer": "motionformer_b_16",
    "videomae": "videomae_b_16",
}
FRAMES, PLACES = 2, 15


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
