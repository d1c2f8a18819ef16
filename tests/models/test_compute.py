"""How models are computed: backends, weights rounded once, and what stays in float32 inside."""

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from tiny_models import PRESET_OF, tiny, tiny_factorised, variables, video

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction
from jax_vtm.models.compute import Compute, narrowed

KINDS = list(PRESET_OF)


AUTO = {
    "cpu": {"attention": "chunked", "matching": "chunked", "merging": "scatter"},
    "gpu": {"attention": "xla", "matching": "xla", "merging": "one_hot"},
    "tpu": {"attention": "xla", "matching": "pallas", "merging": "pallas"},
}


@pytest.mark.parametrize(
    ("platform", "asked"),
    [
        *((platform, {}) for platform in AUTO),
        ("gpu", {"attention": "cudnn", "dtype": jnp.bfloat16, "matching": "pallas", "merging": "sorted"}),
        ("gpu", {"attention": "cudnn", "dtype": jnp.float16}),
        ("tpu", {"attention": "tpu_flash", "dtype": jnp.bfloat16, "matching": "pallas"}),
        ("tpu", {"attention": "xla", "dtype": jnp.bfloat16}),
        ("cpu", {"attention": "xla", "matching": "xla", "merging": "sorted"}),
    ],
)
def test_chosen_backends(platform, asked):
    expected = {**AUTO[platform], **{key: value for key, value in asked.items() if key != "dtype"}}
    assert Compute(platform=platform, **asked).chosen == expected


@pytest.mark.parametrize(("platform", "kernel"), [("cpu", "chunked"), ("gpu", "cudnn"), ("tpu", "tpu_flash")])
def test_auto_takes_the_kernel_of_the_type(platform, kernel):
    assert Compute(platform=platform, dtype=jnp.bfloat16).chosen["attention"] == kernel


@pytest.mark.parametrize(
    ("platform", "asked", "message"),
    [
        (
            None,
            {"attention": "cudnn", "dtype": jnp.bfloat16},
            "needs an NVIDIA GPU, but JAX runs on 'cpu'",
        ),
        (
            "gpu",
            {"attention": "cudnn"},
            "in bfloat16 or float16, but the model's dtype is float32",
        ),
        (
            "gpu",
            {"attention": "tpu_flash", "dtype": jnp.bfloat16},
            "which needs a TPU, but JAX runs on 'gpu'.*Use 'auto', 'xla'",
        ),
        (
            "tpu",
            {"attention": "tpu_flash", "dtype": jnp.float16},
            "in bfloat16, but .* float16. Set the dtype to bfloat16",
        ),
        (None, {"matching": "pallas"}, "'pallas', which needs a GPU or a TPU, but JAX runs on 'cpu'"),
        ("cpu", {"attention": "flash"}, "'flash'; known are auto, xla, chunked, cudnn, tpu_flash"),
        ("cpu", {"matching": "fast"}, "matching is 'fast'; known are auto, xla, chunked, pallas"),
        ("cpu", {"merging": "fast"}, "merging is 'fast'; known are auto, scatter, sorted, one_hot, pallas"),
    ],
)
def test_backends_that_are_not_there(platform, asked, message):
    with pytest.raises(UserError, match=message):
        _ = Compute(platform=platform, **asked).chosen


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_once_changes_no_bit(kind):
    model = tiny(kind, Reduction(r=3), dtype=jnp.bfloat16)
    run = jax.jit(model.apply)
    narrow = {"params": narrowed(variables(kind)["params"], model.dtype)}
    np.testing.assert_array_equal(run(narrow, video(model)), run(variables(kind), video(model)))


@pytest.mark.parametrize("kind", KINDS)
def test_which_weights_are_rounded(kind):
    params = variables(kind)["params"]
    before = {path: leaf.dtype for path, leaf in flatten_dict(params, sep="/").items()}
    after = flatten_dict(narrowed(params, jnp.bfloat16), sep="/")
    assert after.keys() == before.keys()
    assert {path: leaf.dtype for path, leaf in flatten_dict(params, sep="/").items()} == before
    for path, leaf in after.items():
        *_, module, name = ("", *path.split("/"))
        within = "encoderblock_" in path and name in ("kernel", "bias") and "norm" not in module.lower()
        assert leaf.dtype == (jnp.bfloat16 if within else jnp.float32), path


def test_float32_is_left_alone():
    params = variables("vivit")["params"]
    assert narrowed(params, None) is params


def equations(jaxpr):
    """All that a program does, inside of loops and calls too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from equations(inner)


# What must not be rounded on its way: softmax, statistics of normalisations, logarithms of sizes, choices, sums.
WIDE = {"exp", "exp2", "log", "rsqrt", "sqrt", "reduce_max", "reduce_sum", "argmax", "sort", "scatter-add", "cumsum"}


@pytest.mark.parametrize("mode", ["merge", "hybrid"])
@pytest.mark.parametrize("kind", [*KINDS, "factorised"])
def test_what_is_computed_in_float32(kind, mode):
    reduction = Reduction(r=3, mode=mode, proportional_attention=True)
    build = tiny_factorised if kind == "factorised" else lambda *args, **fields: tiny(kind, *args, **fields)
    model = build(reduction, dtype=jnp.bfloat16, attention="xla", matching="xla")
    clips = jax.ShapeDtypeStruct((2, *model.input_shape), jnp.float32)
    given = jax.eval_shape(model.init, jax.random.key(0), clips)
    done = list(equations(jax.make_jaxpr(model.apply)(given, clips).jaxpr))
    narrow = {
        equation.primitive.name
        for equation in done
        for variable in (*equation.invars, *equation.outvars)
        if getattr(variable.aval, "dtype", None) == jnp.bfloat16
    }
    assert not narrow & WIDE
    products = [
        tuple(variable.aval.dtype.name for variable in (*equation.invars, *equation.outvars))
        for equation in done
        if equation.primitive.name == "dot_general"
    ]
    # Queries by keys: bfloat16 in, float32 scores out. Tokens by weights: all in bfloat16.
    assert ("bfloat16", "bfloat16", "float32") in products
    assert ("bfloat16", "bfloat16", "bfloat16") in products
    assert set(products) <= {(kind, kind, out) for kind in ("bfloat16", "float32") for out in (kind, "float32")}
    # In float32 there are the similarities of each merging layer, and what is before and behind the blocks.
    layers = sum(r > 0 for layer in reduction.per_layer(2) for r in layer)
    outside = {"motionformer": 3}.get(kind, 2)
    assert products.count(("float32", "float32", "float32")) == layers + outside
