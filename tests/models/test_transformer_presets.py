"""The presets of TimeSformer, Motionformer and VideoMAE: parameters, tokens, multiply-accumulates."""

import math

import jax
import numpy as np
import pytest

from jax_vtm.merging import Reduction
from jax_vtm.models import PRESETS, create_model


def block_parameters(width, mlp_dim, norms, projections):
    """Normalisations, dense layers from width to width with their biases, and the MLP."""
    return norms * 2 * width + projections * (width**2 + width) + 2 * width * mlp_dim + mlp_dim + width


def published_parameters(model):
    """Counted by hand from the architecture's description, with the embedding and the head."""
    width, layers, mlp_dim = model.hidden_size, model.num_layers, model.mlp_dim
    frames, rows, columns = getattr(model, "position_grid", None) or model.grid
    embedding = 3 * math.prod(model.patch_size) * width + width
    around = embedding + 2 * width + width * 400 + 400
    positions = width + (1 + rows * columns) * width + frames * width
    match type(model).__name__:
        case "VideoMAE":  # query, key, value, output; no bias for keys
            return around + layers * (block_parameters(width, mlp_dim, 2, 4) - width)
        case "TimeSformer":  # the same twice, and the projection after attention over time
            return around + positions + layers * block_parameters(width, mlp_dim, 3, 9)
        case "Motionformer":  # the same, and query, key, value of the trajectories; a tanh layer
            return around + positions + layers * block_parameters(width, mlp_dim, 2, 7) + width**2 + width
    raise AssertionError


# About what is published, without the head; `published_parameters` is exact. Motionformer's files have 0.6 million
# more, of a patch embedding for pictures that lies idle.
MILLIONS = {
    "timesformer_b_8": 121.6,
    "timesformer_b_16_hr": 122.0,
    "timesformer_b_96": 121.6,
    "motionformer_b_16": 108.2,
    "motionformer_b_16_hr": 108.2,
    "motionformer_b_32_l": 108.2,
    "videomae_s_16": 22.0,
    "videomae_b_16": 86.5,
    "videomae_l_16": 304.0,
    "videomae_h_16": 632.0,
}


@pytest.mark.parametrize("name", MILLIONS)
def test_full_size_tree(name):
    model = create_model(name)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, *model.input_shape), np.float32))
    total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert total == published_parameters(model)
    head = model.hidden_size * 400 + 400
    assert abs((total - head) / 1e6 - MILLIONS[name]) < 0.6


def test_every_preset_of_these_models_is_counted():
    assert set(MILLIONS) == {
        name for name in PRESETS if name.split("_")[0] in ("timesformer", "motionformer", "videomae")
    }


@pytest.mark.parametrize(
    ("name", "r", "expected"),
    [
        ("timesformer_b_8", 18, [196, 178, 160, 142, 124, 106, 88, 70, 52, 34, 17, 9, 5]),
        ("motionformer_b_16", 18, [196, 178, 160, 142, 124, 106, 88, 70, 52, 34, 17, 9, 5]),
        ("videomae_b_16", 150, [1568, 1418, 1268, 1118, 968, 818, 668, 518, 368, 218, 109, 55, 28]),
    ],
)
def test_tokens_per_layer_of_the_papers_schedule(name, r, expected):
    model = create_model(name, reduction=Reduction(r=r))
    if name != "videomae_b_16":
        expected = [1 + 8 * count for count in expected]
    assert model.tokens_per_layer == tuple(expected)


@pytest.mark.parametrize(
    ("name", "r", "gmacs"),
    [
        ("timesformer_b_8", 0, 196.1),
        ("timesformer_b_8", 18, 90.6),
        ("videomae_b_16", 0, 180.3),
        ("videomae_b_16", 150, 74.2),
        ("videomae_b_16", 784, 21.8),
    ],
)
def test_macs_are_those_of_the_reference(name, r, gmacs):
    macs = create_model(name, reduction=Reduction(r=r)).macs
    np.testing.assert_allclose((macs.total - macs.matching) / 1e9, gmacs, rtol=5e-3)


@pytest.mark.parametrize(("r", "gmacs"), [(0, 369.5), (18, 171.5)])
def test_motionformer_saves_the_projections_of_the_summaries(r, gmacs):
    model = create_model("motionformer_b_16", reduction=Reduction(r=r))
    patches = np.array(model.tokens_per_layer[:-1]) - 1
    width, heads = 768, 12
    # The reference projects every patch's 8 summaries to keys and values; folding costs one projection per patch.
    projected = np.sum(patches * 8 * 2 * width**2 + patches * 8 * 2 * width)
    folded = np.sum(patches * width**2 + patches * 8 * (heads + 1) * width)
    total = model.macs.total - model.macs.matching - folded + projected
    np.testing.assert_allclose(total / 1e9, gmacs, rtol=5e-3)
