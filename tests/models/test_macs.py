import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_vtm.merging import Reduction
from jax_vtm.models import create_model

# Published for ViViT-B/16x2 by arithmetic (GFLOP = 2 GMAC): r, inflection, total.
PUBLISHED = [(0, 0, 903.0), (300, 0, 358.3), (200, 0, 503.1), (300, -1, 217.9), (300, 1, 552.1)]


@pytest.mark.parametrize(("r", "inflection", "gflop"), PUBLISHED)
def test_vivit_b_costs_what_the_arithmetic_says(r, inflection, gflop):
    model = create_model("vivit_b_16x2", reduction=Reduction(r=r, inflection=inflection))
    assert 2 * model.macs.total / 1e9 == pytest.approx(gflop, abs=0.06)


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
        ("vivit_b_16x2", SPACETIME, Reduction(r=(5, 5, 5, 5), repeat_layer=(1, 2))),
        ("vivit_b_16x2_fe", FACTORISED, Reduction(mode="none")),
        ("vivit_b_16x2_fe", FACTORISED, Reduction(r=4)),
    ],
)
def test_arithmetic_agrees_with_the_matrix_products_that_xla_is_given(name, fields, reduction):
    """Counts the products in the traced program; elementwise work is left out on both sides."""
    model = create_model(name, reduction=reduction, attention="xla", **fields)
    video = jnp.zeros((1, *model.input_shape))
    variables = jax.eval_shape(model.init, jax.random.key(0), video)
    program = jax.make_jaxpr(model.apply)(variables, video)
    assert traced_macs(program.jaxpr) == model.macs.total


def traced_macs(jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            depth = np.prod([equation.invars[0].aval.shape[axis] for axis in contracted])
            total += int(np.prod(equation.outvars[0].aval.shape) * depth)
        elif equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            total += int(np.prod(equation.outvars[0].aval.shape) * np.prod(kernel) / kernel[-1])
        for inner in equation.params.values():
            if hasattr(inner, "jaxpr"):
                total += traced_macs(inner.jaxpr)
    return total
