"""Full-size presets: tokens per layer, and multiply-accumulates. (Their parameters: see test_released_tensors.py.)"""

import jax
import numpy as np
import pytest

from jax_vtm.merging import Reduction
from jax_vtm.models import create_model

CONSTANT = {
    "vivit": [3137, 2837, 2537, 2237, 1937, 1637, 1337, 1037, 737, 437, 219, 110, 56],
    "videomae": [1568, 1418, 1268, 1118, 968, 818, 668, 518, 368, 218, 109, 55, 28],
    "frame": [196, 178, 160, 142, 124, 106, 88, 70, 52, 34, 17, 9, 5],
}
DECREASING_VIVIT = [3137, 2537, 1992, 1502, 1066, 685, 358, 180, 91, 46, 24, 13, 13]


def traced_tokens(name, reduction):
    """Of a full-size preset, from the shapes of a trace, with nothing computed."""
    model = create_model(name, reduction=reduction)
    video = jax.ShapeDtypeStruct((1, *model.input_shape), np.float32)
    (_, trace), _ = jax.eval_shape(lambda key, x: model.init_with_output(key, x, trace=True), jax.random.key(0), video)
    assert trace.tokens_per_layer == model.tokens_per_layer
    return list(trace.tokens_per_layer)


@pytest.mark.parametrize(
    ("name", "r", "inflection", "expected"),
    [
        ("vivit_b_16x2", 300, 0, CONSTANT["vivit"]),
        ("vivit_b_16x2", 300, -1, DECREASING_VIVIT),
        ("videomae_b_16", 150, 0, CONSTANT["videomae"]),
        ("timesformer_b_8", 18, 0, [1 + 8 * count for count in CONSTANT["frame"]]),
        ("motionformer_b_16", 18, 0, [1 + 8 * count for count in CONSTANT["frame"]]),
    ],
)
def test_tokens_per_layer_of_the_papers_schedules(name, r, inflection, expected):
    assert traced_tokens(name, Reduction(r=r, inflection=inflection)) == expected


@pytest.mark.parametrize(
    ("name", "r", "last"),
    [("videomae_b_16", 150, 6), ("timesformer_b_8", 18, 1 + 8 * 1), ("motionformer_b_16", 18, 1 + 8 * 1)],
)
def test_tokens_that_decreasing_schedules_end_with(name, r, last):
    assert traced_tokens(name, Reduction(r=r, inflection=-1))[-1] == last


@pytest.mark.parametrize(
    ("name", "initial"),
    [
        ("timesformer_b_16_hr", 1 + 16 * 28 * 28),
        ("timesformer_b_64", 1 + 64 * 196),
        ("timesformer_b_96", 1 + 96 * 196),
        ("motionformer_b_16_hr", 1 + 8 * 21 * 21),
        ("motionformer_b_32_l", 1 + 16 * 196),
        ("videomae_s_16", 1568),
        ("videomae_l_16", 1568),
        ("videomae_h_16", 1568),
    ],
)
def test_tokens_of_the_other_presets(name, initial):
    counts = traced_tokens(name, Reduction(r=2))
    groups = 1 if name.startswith("videomae") else create_model(name).grid[0]
    assert counts == [initial - 2 * groups * layer for layer in range(len(counts))]


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
