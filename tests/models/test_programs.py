"""What programs are made of: no gather from all pairs of tokens, no call of the host, no scores beside a kernel."""

import re

import jax
import jax.numpy as jnp
import pytest
from tiny_models import PRESET_OF, tiny

from jax_vtm.merging import Reduction
from jax_vtm.merging.backends.scatter_add import BACKENDS
from jax_vtm.models import create_model

KINDS = list(PRESET_OF)


def program(model, platform: str = "cpu", batch: int = 2) -> str:
    """The forward pass as it is handed to the compiler of a platform."""
    clips = jax.ShapeDtypeStruct((batch, *model.input_shape), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), clips)
    return jax.jit(model.apply).trace(variables, clips).lower(lowering_platforms=(platform,)).as_text()


def gathered_from(text: str) -> list[tuple[int, ...]]:
    """Shapes of the arrays that something is gathered from."""
    found = re.findall(r'"?stablehlo\.gather"?.*: \(tensor<([\dx]+)x\w+>', text)
    return [tuple(map(int, shape.split("x"))) for shape in found]


@pytest.mark.parametrize(("matching", "merging"), [("xla", "scatter"), ("chunked", "one_hot"), ("xla", "sorted")])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_gathered_from_all_pairs(kind, matching, merging):
    model = tiny(kind, Reduction(r=3), matching=matching, merging=merging)
    text = program(model)
    gathers = gathered_from(text)
    assert gathers, "kept tokens are gathered"
    # Rows are taken from tokens, and numbers from one vector per clip or group.
    for shape in gathers:
        assert shape[-1] in (model.hidden_size, 1) or len(shape) == 2, shape
    assert "callback" not in text


@pytest.mark.parametrize(
    ("platform", "lowered_for", "call", "merging", "kernels"),
    [
        ("gpu", "cuda", "__gpu$xla.gpu.triton", "one_hot", 1),
        # Best matches, their order, and merging.
        ("tpu", "tpu", "tpu_custom_call", "pallas", 3),
    ],
)
def test_full_size_programs_with_kernels(platform, lowered_for, call, merging, kernels):
    size = {"num_layers": 2, "dtype": jnp.bfloat16, "matching": "pallas", "merging": merging, "attention": "xla"}
    model = create_model("vivit_b_16x2", reduction=Reduction(r=300), platform=platform, **size)
    text = program(model, lowered_for, batch=1)
    assert text.count(f"custom_call @{call}(") == 2 * kernels
    assert "1569x1568" not in text
    assert "1568x1569" not in text
    assert "callback" not in text
    assert "scatter" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_platform_that_is_given_is_not_asked_for(kind, monkeypatch):
    def asked():
        raise AssertionError("the platform is an argument")

    model = tiny(kind, Reduction(r=3), platform="tpu")
    clips = jnp.zeros((1, *model.input_shape))
    monkeypatch.setattr(jax, "default_backend", asked)
    jax.eval_shape(model.init, jax.random.key(0), clips)
    with pytest.raises(AssertionError, match="the platform is an argument"):
        jax.eval_shape(model.clone(platform=None).init, jax.random.key(0), clips)


@pytest.mark.parametrize("merging", BACKENDS)
def test_only_scatters_scatter(merging):
    model = tiny("vivit", Reduction(r=3), merging=merging)
    scattering = "stablehlo.scatter" in program(model)
    assert scattering == (merging != "one_hot")


def test_fields_reach_every_reduction():
    """A model that is asked for what there is not says so wherever it is built, and lists what there is."""
    for kind in KINDS:
        for field, known in (("matching", "auto, xla, chunked"), ("merging", "auto, scatter, sorted")):
            model = tiny(kind, Reduction(r=3), **{field: "fast"})
            with pytest.raises(ValueError, match=f"{field} is 'fast'; known are {known}"):
                jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *model.input_shape)))
