import numpy as np
import pytest

from jax_vtm.checkpoints import CheckpointError, from_torch_state_dict


@pytest.fixture(scope="module")
def tensors(golden):
    from safetensors.numpy import load_file

    return load_file(golden / "hf" / "model.safetensors")


@pytest.fixture(scope="module")
def params(golden, read_params):
    return read_params(golden / "hf" / "scenic.npz")


@pytest.fixture(scope="module")
def model(params, tree_model):
    return tree_model(params, input_shape=(8, 16, 16, 3), heads=(("", 7),))


def test_hugging_face_tensors_give_the_recorded_parameters(tensors, params, model, assert_same_tree):
    loaded = from_torch_state_dict(tensors, model)
    assert set(loaded) == {"params"}
    assert_same_tree(loaded["params"], params)


@pytest.mark.parametrize("heads", [(("noun", 4), ("verb", 3)), (("verb", 4), ("noun", 3))])
def test_heads_are_joined_in_the_models_order(tensors, params, tree_model, assert_same_tree, heads):
    split = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier")}
    for leaf in ("weight", "bias"):
        for (head, _), part in zip(heads, np.split(tensors[f"classifier.{leaf}"], [4]), strict=True):
            split[f"{head}_classifier.{leaf}"] = part
    model = tree_model(params, input_shape=(8, 16, 16, 3), heads=heads)
    # The dict's own order must not matter.
    shuffled = dict(sorted(split.items(), reverse=True))
    assert_same_tree(from_torch_state_dict(shuffled, model)["params"], params)


def test_every_tensor_is_accounted_for(tensors, model):
    changed = dict(tensors)
    del changed["vivit.layernorm.weight"], changed["vivit.encoder.layer.2.output.dense.bias"]
    changed["vivit.pooler.dense.weight"] = np.zeros((24, 24), np.float32)
    changed["vivit.embeddings.cls_token"] = np.zeros((1, 24), np.float32)
    with pytest.raises(CheckpointError) as caught:
        from_torch_state_dict(changed, model)
    assert str(caught.value).splitlines() == [
        "state dict: does not fit the model.",
        "  2 missing:",
        "    vivit.encoder.layer.2.output.dense.bias: expected (24,)",
        "    vivit.layernorm.weight: expected (24,)",
        "  1 unexpected:",
        "    vivit.pooler.dense.weight: found (24, 24)",
        "  1 of another shape:",
        "    vivit.embeddings.cls_token: found (1, 24), expected (1, 1, 24)",
    ]


def test_other_number_of_classes_gets_a_hint(tensors, model):
    changed = {**tensors, "classifier.weight": np.zeros((9, 24), np.float32)}
    changed["classifier.bias"] = np.zeros(9, np.float32)
    with pytest.raises(CheckpointError) as caught:
        from_torch_state_dict(changed, model)
    message = str(caught.value)
    assert "classifier.weight: found (9, 24), expected (7, 24)" in message
    assert "Hint: the checkpoint predicts 9 classes, the model 7" in message


def test_transposed_kernel_is_not_reshaped_silently(tensors, model):
    name = "vivit.encoder.layer.0.intermediate.dense.weight"
    with pytest.raises(CheckpointError, match=rf"{name}: found \(24, 36\), expected \(36, 24\)"):
        from_torch_state_dict({**tensors, name: tensors[name].T}, model)


def test_half_precision_is_widened_and_double_refused(tensors, params, model):
    half = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    loaded = from_torch_state_dict(half, model)["params"]
    np.testing.assert_array_equal(loaded["cls"], params["cls"].astype(np.float16).astype(np.float32))
    with pytest.raises(CheckpointError, match="cls: found float64, expected float32"):
        from_torch_state_dict(
            {**half, "vivit.embeddings.cls_token": tensors["vivit.embeddings.cls_token"].astype(np.float64)},
            model,
        )


def test_not_finite_tensor_is_refused(tensors, model):
    broken = tensors["classifier.bias"].copy()
    broken[:2] = [np.nan, np.inf]
    with pytest.raises(CheckpointError, match="output_projection/bias: 2 of 7 values"):
        from_torch_state_dict({**tensors, "classifier.bias": broken}, model)


def test_model_that_hugging_face_does_not_have(tensors, golden, read_params, tree_model):
    model = tree_model(read_params(golden / "models" / "vivit_fe.npz"))
    with pytest.raises(CheckpointError, match="no counterpart of SpatialTransformer/"):
        from_torch_state_dict(tensors, model)
