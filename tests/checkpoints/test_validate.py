import jax
import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jax_vtm.checkpoints import CheckpointError, abstract_params
from jax_vtm.checkpoints.stored import in_memory
from jax_vtm.checkpoints.validate import validate


@pytest.fixture
def fit(tree_model):
    def run(found, params, **options):
        model = tree_model(params, **options)
        entries = {path: in_memory(leaf) for path, leaf in flatten_dict(found, sep="/").items()}
        return validate(entries, abstract_params(model), source="weights", model=model)

    return run


def refusal(fit, found, params):
    with pytest.raises(CheckpointError) as caught:
        fit(found, params)
    return str(caught.value)


def test_abstract_params_are_shapes_only(spacetime_params, spacetime_model):
    expected = abstract_params(spacetime_model)
    leaf = expected["Transformer"]["posembed_input"]["pos_embedding"]
    assert isinstance(leaf, jax.ShapeDtypeStruct)
    assert leaf.shape == (1, 97, 24)
    assert jax.tree.structure(expected) == jax.tree.structure(spacetime_params)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.dtype(">f4")])
def test_floating_leaves_are_widened(fit, dtype):
    params = {"a": np.asarray([1.0, 0.5, -2.0], np.float32)}
    fitted = fit({"a": params["a"].astype(dtype)}, params)["a"]
    assert fitted.dtype == np.dtype(np.float32)
    assert fitted.dtype.isnative
    np.testing.assert_array_equal(fitted, params["a"])


@pytest.mark.parametrize("dtype", [np.float64, np.int8, np.int32, np.complex64, np.bool_])
def test_other_types_are_refused(fit, dtype):
    message = refusal(fit, {"a": np.ones(2, dtype)}, {"a": np.ones(2, np.float32)})
    assert f"1 of a type that does not fit:\n    a: found {np.dtype(dtype)}, expected float32" in message


def test_scalars(fit):
    params = {"a": np.zeros((), np.float32)}
    assert fit({"a": np.float32(1.5)}, params)["a"].shape == ()
    assert "a: found no array, expected ()" in refusal(fit, {"a": None}, params)


def test_all_problems_are_in_one_message(fit):
    params = {name: np.ones(3, np.float32) for name in "abcde"}
    nan = np.asarray([np.nan, 1.0, np.inf], np.float32)
    found = {"a": np.ones(2, np.float32), "b": np.ones(3), "c": nan, "d": np.ones(3, np.float32), "x": nan}
    assert refusal(fit, found, params).splitlines() == [
        "weights: does not fit the model.",
        "  1 missing:",
        "    e: expected (3,)",
        "  1 unexpected:",
        "    x: found (3,)",
        "  1 of another shape:",
        "    a: found (2,), expected (3,)",
        "  1 of a type that does not fit:",
        "    b: found float64, expected float32 (or a type that widens to it)",
    ]


def test_values_that_are_not_finite_are_counted(fit):
    params = {name: np.ones(3, np.float32) for name in "ab"}
    found = {"a": np.asarray([np.nan, 1.0, np.inf], np.float32), "b": np.full(3, -np.inf, np.float32)}
    assert refusal(fit, found, params).splitlines() == [
        "weights: does not fit the model.",
        "  2 not finite (NaN or infinite):",
        "    a: 2 of 3 values",
        "    b: 3 of 3 values",
    ]


def test_long_lists_are_cut_with_the_count_of_the_rest(fit):
    params = {f"p{index:02}": np.ones(1, np.float32) for index in range(33)}
    message = refusal(fit, {}, params)
    assert "33 missing:" in message
    assert "p19: expected" in message
    assert "p20" not in message
    assert "... and 13 more" in message


def test_hint_other_number_of_classes(fit, spacetime_params, replace_leaf):
    found = replace_leaf(spacetime_params, "output_projection/kernel", np.zeros((24, 400), np.float32))
    found = replace_leaf(found, "output_projection/bias", np.zeros(400, np.float32))
    message = refusal(fit, found, spacetime_params)
    assert "output_projection/kernel: found (24, 400), expected (24, 11)" in message
    assert "output_projection/bias: found (400,), expected (11,)" in message
    assert message.count("Hint:") == 1
    assert "predicts 400 classes, the model 11: it was probably trained on another data set" in message


def test_hint_other_input_size(fit, spacetime_params, replace_leaf):
    path = "Transformer/posembed_input/pos_embedding"
    message = refusal(fit, replace_leaf(spacetime_params, path, np.zeros((1, 49, 24), np.float32)), spacetime_params)
    assert f"{path}: found (1, 49, 24), expected (1, 97, 24)" in message
    assert message.count("Hint:") == 1
    assert f"Hint: {path} has 49 positions, the model needs 97" in message
    assert "the model's input is 8 frames of 16x24" in message


def test_hint_other_width(fit, spacetime_params):
    wider = {
        path: np.zeros([36 if length == 24 else length for length in leaf.shape], np.float32)
        for path, leaf in flatten_dict(spacetime_params, sep="/").items()
    }
    message = refusal(fit, unflatten_dict(wider, sep="/"), spacetime_params)
    assert "Hint: the checkpoint's hidden size is 36, the model's 24" in message


def test_hint_other_patches(fit, spacetime_params, replace_leaf):
    found = replace_leaf(spacetime_params, "embedding/kernel", np.zeros((4, 4, 4, 3, 24), np.float32))
    message = refusal(fit, found, spacetime_params)
    assert "patches (frames, height, width, channels) are (4, 4, 4, 3), the model's (2, 4, 4, 3)" in message


def test_hint_other_architecture(fit, golden, spacetime_params, read_params):
    factorised = read_params(golden / "models" / "vivit_fe.npz")
    assert "of the unfactorised ViViT; the model is the factorised" in refusal(fit, spacetime_params, factorised)
    assert "of the factorised encoder; the model is the unfactorised" in refusal(fit, factorised, spacetime_params)
