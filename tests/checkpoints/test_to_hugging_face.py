"""From our variables back to the tensors of Hugging Face's files."""

import numpy as np
import pytest
from hugging_face_names import videomae_of_hugging_face
from recorded_tensors import RECORDED

from jax_vtm.checkpoints import CheckpointError, from_torch_state_dict, to_hugging_face


def tensors(kind):
    found = RECORDED[kind].tensors
    return videomae_of_hugging_face(found) if kind == "videomae" else found


@pytest.mark.parametrize("kind", ["vivit", "videomae"])
def test_there_and_back(kind):
    given, model = tensors(kind), RECORDED[kind].model
    found = to_hugging_face(from_torch_state_dict(given, model), model)
    assert found.keys() == given.keys()
    for name, tensor in given.items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)
        assert found[name].dtype == tensor.dtype


def test_two_heads_become_one_classifier_where_the_model_joins_them():
    given, model = RECORDED["vivit"].two_heads, RECORDED["vivit"].model
    variables = from_torch_state_dict(given, model.clone(num_classes={"verb": 5, "noun": 7}))
    apart = to_hugging_face(variables, model.clone(num_classes={"verb": 5, "noun": 7}))
    np.testing.assert_array_equal(apart["verb_classifier.weight"], given["verb_classifier.weight"])
    joined = to_hugging_face(variables, model.clone(num_classes=12))["classifier.weight"]
    np.testing.assert_array_equal(joined[:7], given["noun_classifier.weight"])
    np.testing.assert_array_equal(joined[7:], given["verb_classifier.weight"])


@pytest.mark.parametrize("kind", ["timesformer", "motionformer"])
def test_other_models_have_no_counterpart(kind):
    variables = from_torch_state_dict(tensors(kind), RECORDED[kind].model)
    with pytest.raises(CheckpointError, match="is not known here; those of ViViT and VideoMAE are"):
        to_hugging_face(variables, RECORDED[kind].model)
