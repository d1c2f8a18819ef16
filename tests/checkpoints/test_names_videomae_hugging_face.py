"""VideoMAE's weights as Hugging Face names them: the same tree as under the authors' names."""

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from hugging_face_names import videomae_of_hugging_face
from recorded_tensors import RECORDED
from safetensors.numpy import save_file

from jax_vtm.checkpoints import CheckpointError, from_torch_state_dict, load_checkpoint

MODEL = RECORDED["videomae"].model


@pytest.fixture
def tensors():
    return videomae_of_hugging_face(RECORDED["videomae"].tensors)


def test_the_tree_is_that_of_the_authors_names(tensors, tmp_path):
    expected = flatten_dict(from_torch_state_dict(RECORDED["videomae"].tensors, MODEL)["params"], sep="/")
    save_file({name: np.ascontiguousarray(a) for name, a in tensors.items()}, tmp_path / "model.safetensors")
    for params in (from_torch_state_dict(tensors, MODEL), load_checkpoint(tmp_path / "model.safetensors", MODEL)):
        found = flatten_dict(params["params"], sep="/")
        assert found.keys() == expected.keys()
        for path, leaf in expected.items():
            np.testing.assert_array_equal(found[path], leaf, err_msg=path)


def test_missing_extra_and_misshapen_tensors_are_named(tensors):
    gone = "videomae.encoder.layer.1.attention.attention.q_bias"
    changed = {name: tensor for name, tensor in tensors.items() if name != gone}
    changed |= {"videomae.more": np.zeros(2, np.float32), "classifier.bias": np.zeros(11, np.float32)}
    with pytest.raises(CheckpointError) as caught:
        from_torch_state_dict(changed, MODEL)
    message = str(caught.value)
    assert f"1 missing:\n    {gone}: expected (48,)" in message
    assert "1 unexpected:\n    videomae.more: found (2,)" in message
    assert "1 of another shape:\n    classifier.bias: found (11,), expected (10,)" in message


def test_it_has_one_head(tensors):
    with pytest.raises(CheckpointError, match="Hugging Face's VideoMAE has no counterpart of output_projection/bias"):
        from_torch_state_dict(tensors, MODEL.clone(num_classes={"verb": 5, "noun": 7}))


def test_pre_training_is_called_by_its_name(tensors):
    before = {name: tensor for name, tensor in tensors.items() if not name.startswith(("fc_norm", "classifier"))}
    with pytest.raises(CheckpointError, match="files of VideoMAE's pre-training, which have no classifier"):
        from_torch_state_dict({**before, "mask_token": np.zeros((1, 1, 24), np.float32)}, MODEL)


def test_other_models_refuse_it(tensors):
    with pytest.raises(CheckpointError, match="named as in the files of VideoMAE; the model is the unfactorised ViViT"):
        from_torch_state_dict(tensors, RECORDED["vivit"].model)
