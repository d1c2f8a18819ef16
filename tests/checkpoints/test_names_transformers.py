"""The tensors of TimeSformer, Motionformer and VideoMAE, by their released names, in our trees."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from recorded_tensors import RECORDED

from jax_vtm.checkpoints import CheckpointError, from_torch_state_dict
from jax_vtm.checkpoints.name_tables import MOTIONFORMER

LEFTOVERS = MOTIONFORMER.leftovers
KINDS = ("timesformer", "motionformer", "videomae")
FAMILY = {"timesformer": "TimeSformer", "motionformer": "Motionformer", "videomae": "VideoMAE"}
HEADS = {"verb": 5, "noun": 7}


def leaves(tensors, model):
    return flatten_dict(from_torch_state_dict(tensors, model)["params"], sep="/")


@pytest.fixture(scope="module", params=KINDS)
def recorded(request):
    return RECORDED[request.param]


@pytest.fixture(scope="module")
def params(recorded):
    return leaves(recorded.tensors, recorded.model)


def test_tree_is_the_models(params, recorded):
    video = np.zeros((1, *recorded.model.input_shape), np.float32)
    expected = flatten_dict(jax.eval_shape(recorded.model.init, jax.random.key(0), video)["params"], sep="/")
    assert {path: leaf.shape for path, leaf in params.items()} == {p: leaf.shape for p, leaf in expected.items()}


def test_every_value_is_used_once(params, recorded):
    # Sums of squares, since a permutation keeps them; the recorded values are random.
    given = [a for name, a in recorded.tensors.items() if name not in LEFTOVERS]
    used = sum(float(np.sum(np.float64(leaf) ** 2)) for leaf in params.values())
    np.testing.assert_allclose(used, sum(float(np.sum(np.float64(a) ** 2)) for a in given), rtol=1e-12)
    assert sum(leaf.size for leaf in params.values()) == sum(a.size for a in given)


def test_query_key_and_value_are_parts_of_one_tensor(params, recorded):
    joint = recorded.tensors[f"{recorded.prefix}blocks.1.attn.qkv.weight"]
    for index, name in enumerate(("query", "key", "value")):
        kernel = params[f"encoderblock_1/attention/{name}/kernel"]
        assert kernel.shape == (48, 3, 16)
        np.testing.assert_array_equal(kernel[:, 2, 5], joint[48 * index + 2 * 16 + 5])


@pytest.mark.parametrize("wrap", ["", "model.", "module.", "module.model."])
def test_prefix_of_all_names_does_not_matter(params, recorded, wrap):
    wrapped = {wrap + name.removeprefix(recorded.prefix): tensor for name, tensor in recorded.tensors.items()}
    found = leaves(wrapped, recorded.model)
    for path, leaf in params.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path)


def test_two_heads_are_joined_in_alphabetical_order(recorded):
    kernel = leaves(recorded.two_heads, recorded.model.clone(num_classes=HEADS))["output_projection/kernel"]
    np.testing.assert_array_equal(kernel[:, :7].T, recorded.two_heads[f"{recorded.prefix}head1.weight"])
    np.testing.assert_array_equal(kernel[:, 7:].T, recorded.two_heads[f"{recorded.prefix}head0.weight"])


def test_heads_of_other_names_are_refused(recorded):
    message = rf"{FAMILY[recorded.kind]}'s files .* output_projection/bias.*verb"
    with pytest.raises(CheckpointError, match=message):
        from_torch_state_dict(recorded.tensors, recorded.model.clone(num_classes={"object": 3}))


def test_motionformers_picture_embedding_may_be_there_or_not():
    recorded = RECORDED["motionformer"]
    assert set(recorded.tensors) >= LEFTOVERS
    without = {name: tensor for name, tensor in recorded.tensors.items() if name not in LEFTOVERS}
    assert leaves(without, recorded.model).keys() == leaves(recorded.tensors, recorded.model).keys()


def test_trajectory_keys_and_values_are_parts_of_one_tensor():
    recorded = RECORDED["motionformer"]
    params, joint = leaves(recorded.tensors, recorded.model), recorded.tensors["blocks.1.attn.proj_kv.weight"]
    for index, name in enumerate(("trajectory_key", "trajectory_value")):
        kernel = params[f"encoderblock_1/attention/{name}/kernel"]
        np.testing.assert_array_equal(kernel[:, 2, 5], joint[48 * index + 2 * 16 + 5])


def test_videomaes_keys_have_no_bias():
    params = leaves(RECORDED["videomae"].tensors, RECORDED["videomae"].model)
    assert "encoderblock_0/attention/query/bias" in params
    assert "encoderblock_0/attention/key/bias" not in params
