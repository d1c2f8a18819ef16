import copy

import jax
import ml_collections
import numpy as np
import pytest
from tiny_models import SCENIC, scenic_arrays, tree

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction
from jax_vtm.models import FactorisedEncoderViViT, from_scenic_config

SHAPE = (8, 16, 24, 3)


def build(name, **arguments):
    return from_scenic_config(SCENIC[name]["config"], num_classes=11, input_shape=SHAPE, **arguments)


def pooled(tokens, classifier):
    return tokens[..., 0, :] if classifier == "token" else tokens.mean(axis=-2)


@pytest.mark.parametrize("name", SCENIC)
def test_recorded_model(name):
    arrays = scenic_arrays(name)
    model = build(name)
    run = jax.jit(lambda params, video: model.apply({"params": params}, video, capture_intermediates=True))
    logits, captured = run(tree(arrays), arrays["video"])
    np.testing.assert_allclose(logits, arrays["logits"], rtol=0, atol=2e-5)

    def output(path):
        node = captured["intermediates"]
        for part in path.split("/"):
            node = node[part]
        found = node["__call__"][0]
        # A block that can merge also returns what it knows of its tokens.
        return np.asarray(found[0] if isinstance(found, tuple) else found)

    factorised = isinstance(model, FactorisedEncoderViViT)
    for entry in (entry for entry in arrays if entry.startswith("inter/")):
        path = entry.removeprefix("inter/")
        expected = arrays[entry]
        if path == "temporal_input":
            found = pooled(output("SpatialTransformer/encoder_norm"), model.classifier)
        elif path == "pre_logits" and model.representation_size is None:
            encoder = "Transformer" if not factorised else "TemporalTransformer"
            if factorised and model.spatial_only:
                spatial = pooled(output("SpatialTransformer/encoder_norm"), model.classifier)
                found = spatial.reshape(len(logits), -1, spatial.shape[-1]).mean(axis=1)
            else:
                found = pooled(output(f"{encoder}/encoder_norm"), model.classifier)
        else:
            found = output(path)
        # Time is part of the batch in the spatial encoder, and blocks on a grid keep it, whatever was recorded.
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=5e-5, err_msg=entry)


@pytest.mark.parametrize("name", SCENIC)
def test_config_dict_and_plain_dict_describe_the_same_model(name):
    config = ml_collections.ConfigDict(SCENIC[name]["config"])
    assert from_scenic_config(config, num_classes=11, input_shape=SHAPE) == build(name)
    shapes = jax.eval_shape(build(name).init, jax.random.key(0), np.zeros((1, *SHAPE), np.float32))["params"]
    assert jax.tree.map(np.shape, shapes) == jax.tree.map(np.shape, tree(scenic_arrays(name)))


def changed(path, value=None):
    config = copy.deepcopy(SCENIC["vivit_fe"]["config"])
    *parents, last = path.split(".")
    node = config
    for part in parents:
        node = node[part]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (changed("model"), r"config has no 'model'"),
        (changed("model.attention_config"), r"config\.model has no 'attention_config'.*Found: .*hidden_size"),
        (changed("model.attention_config.type"), r"config\.model\.attention_config has no 'type'"),
        (changed("model.attention_config.type", "axial"), r"type is 'axial'; known are spacetime, factorized_encoder"),
        (changed("model.patches"), r"config\.model has no 'patches'"),
        (changed("model.hidden_size"), r"config\.model has no 'hidden_size'"),
        (changed("model.spatial_transformer"), r"config\.model has no 'spatial_transformer'"),
        (changed("model.temporal_transformer.num_heads"), r"config\.model\.temporal_transformer has no 'num_heads'"),
        (changed("model.temporal_encoding_config.method", "mean"), r"method is 'mean'.*known are '3d_conv'"),
        (changed("model.patches.size", (4, 4)), r"'3d_conv' with patches\.size \(4, 4\)"),
    ],
)
def test_what_scenic_would_not_know_either(config, message):
    with pytest.raises(UserError, match=message):
        from_scenic_config(config, num_classes=11, input_shape=SHAPE)


def test_reductions():
    spatial, temporal = Reduction(r=3), Reduction(r=1, mode="drop")
    model = build("vivit_fe", reduction=spatial, temporal_reduction=temporal)
    assert (model.reduction, model.temporal_reduction) == (spatial, temporal)
    with pytest.raises(UserError, match=r"temporal_reduction needs attention type 'factorized_encoder'.*'spacetime'"):
        build("vivit_spacetime", temporal_reduction=temporal)


@pytest.mark.parametrize("name", ["vivit_factorised_self_attention", "vivit_factorised_dot_product"])
def test_factorised_attention_takes_no_reduction(name):
    model = build(name, reduction=Reduction(r=3))
    with pytest.raises(UserError, match=r"mode 'merge'.*does not fit factorised self-attention.*factorised encoder"):
        jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, *SHAPE), np.float32))


def test_the_class_tokens_position_is_another_name_for_it():
    model = from_scenic_config(changed("model.classifier", "0"), num_classes=11, input_shape=SHAPE)
    assert model.has_class_token
