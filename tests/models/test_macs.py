"""Multiply-accumulates against published numbers, the traced programs, and what the compiler counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counted_products import counted_macs

from jax_vtm.checkpoints.validate import abstract_params
from jax_vtm.merging import Reduction
from jax_vtm.models import create_model

# Published for ViViT-B/16x2 by arithmetic (GFLOP = 2 GMAC): r, inflection, total.
PUBLISHED = [(0, 0, 903.0), (300, 0, 358.3), (200, 0, 503.1), (300, -1, 217.9), (300, 1, 552.1)]


@pytest.mark.parametrize(("r", "inflection", "gflop"), PUBLISHED)
def test_vivit_b_costs_what_the_arithmetic_says(r, inflection, gflop):
    model = create_model("vivit_b_16x2", reduction=Reduction(r=r, inflection=inflection))
    assert 2 * model.macs.total / 1e9 == pytest.approx(gflop, abs=0.06)


@pytest.mark.parametrize(
    ("name", "r", "gmacs"),
    [
        ("timesformer_b_8", 0, 196.1),
        ("timesformer_b_8", 18, 90.6),
        ("videomae_b_16", 0, 180.3),
        ("videomae_b_16", 150, 74.2),
        ("videomae_b_16", 784, 21.8),
        ("motionformer_b_16", 0, 369.5),
        ("motionformer_b_16", 18, 171.5),
    ],
)
def test_macs_are_those_of_the_reference(name, r, gmacs):
    model = create_model(name, reduction=Reduction(r=r))
    total = model.macs.total - model.macs.matching
    if name.startswith("motionformer"):
        # The reference projects every patch's 8 summaries to keys and values; folding costs one projection per patch.
        patches, width, heads = np.array(model.tokens_per_layer[:-1]) - 1, 768, 12
        total += np.sum(patches * 8 * 2 * width**2 + patches * 8 * 2 * width)
        total -= np.sum(patches * width**2 + patches * 8 * (heads + 1) * width)
    np.testing.assert_allclose(total / 1e9, gmacs, rtol=5e-3)


TINY = {"num_classes": 7, "image_size": 32, "num_frames": 8, "patch_size": (2, 8, 8), "hidden_size": 48}
SPACETIME = {**TINY, "num_heads": 3, "num_layers": 3, "mlp_dim": 96}
FACTORISED = {
    **TINY,
    **{"spatial_layers": 2, "spatial_heads": 3, "spatial_mlp_dim": 96},
    **{"temporal_layers": 2, "temporal_heads": 3, "temporal_mlp_dim": 64},
}


@pytest.mark.parametrize(
    ("name", "fields", "reduction"),
    [
        ("vivit_b_16x2", SPACETIME, Reduction(mode="none")),
        ("vivit_b_16x2", SPACETIME, Reduction(r=12)),
        ("vivit_b_16x2", SPACETIME, Reduction(r=12, head_aggregation="concat")),
        ("vivit_b_16x2", SPACETIME, Reduction(r=12, mode="drop,hybrid", importance="shift")),
        ("vivit_b_16x2", SPACETIME, Reduction(r=(5, 5, 5, 5), repeat_layer=(1, 2))),
        ("vivit_b_16x2_fe", FACTORISED, Reduction(mode="none")),
        ("vivit_b_16x2_fe", FACTORISED, Reduction(r=4)),
    ],
)
def test_arithmetic_agrees_with_the_matrix_products_that_xla_is_given(name, fields, reduction):
    """Counts the products in the traced program; elementwise work is left out on both sides."""
    model = create_model(name, reduction=reduction, attention="xla", matching="xla", **fields)
    video = jnp.zeros((1, *model.input_shape))
    variables = jax.eval_shape(model.init, jax.random.key(0), video)
    assert counted_macs(model.apply, variables, video) == model.macs.total


def shapes(model):
    return abstract_params(model), jax.ShapeDtypeStruct((1, *model.input_shape), jnp.float32)


# As the paper merges them.
MERGED = [
    ("vivit_b_16x2", 300),
    ("vivit_b_16x2_fe", 18),
    ("timesformer_b_8", 18),
    ("motionformer_b_16", 18),
    ("videomae_b_16", 150),
]


@pytest.mark.parametrize(("name", "r"), [*MERGED, ("vivit_b_16x2", 0)])
def test_released_models_multiply_exactly_as_often_as_the_arithmetic_says(name, r):
    model = create_model(name, reduction=Reduction(r=r), attention="xla", matching="xla")
    assert (
        counted_macs(lambda params, video: model.apply({"params": params}, video), *shapes(model)) == model.macs.total
    )


def test_products_in_loops_count_as_often_as_they_are_done():
    matrix = jax.ShapeDtypeStruct((8, 8), jnp.float32)

    def ten_products(start):
        return jax.lax.fori_loop(0, 10, lambda _, x: x @ x, start)

    assert counted_macs(ten_products, matrix) == 10 * 8**3
    with pytest.raises(AssertionError, match="products in a while"):
        counted_macs(lambda x: jax.lax.while_loop(lambda y: y[0, 0] < 1, lambda y: y @ y, x), matrix)
