"""What ViViT does besides the recorded values: heads, pooling, devices, errors."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from tiny_models import random_params, tiny_factorised, tiny_video, tiny_vivit

from jax_vtm.errors import UserError
from jax_vtm.merging import Reduction, plan
from jax_vtm.models import create_model

VIDEO = tiny_video()
COLLECTIVES = ("all-gather", "all-reduce", "collective-permute", "all-to-all", "reduce-scatter")


def run(model, variables, video=VIDEO, **arguments):
    return jax.jit(lambda variables, video: model.apply(variables, video, **arguments))(variables, video)


def test_no_reduction_is_a_reduction_of_nothing():
    # Also where the sizes, all one, are asked to weigh the attention.
    variables = random_params(tiny_vivit())
    plain, trace = run(tiny_vivit(), variables, trace=True)
    none = run(tiny_vivit(Reduction(r=0, mode="merge")), variables)
    np.testing.assert_array_equal(plain, none)
    np.testing.assert_array_equal(trace.membership, [range(33)] * 2)


def test_frames_of_the_factorised_encoder_are_merged_by_themselves():
    reduction = Reduction(r=4)
    model = tiny_factorised(reduction, temporal_reduction=Reduction(r=1, mode="drop"), spatial_layers=1)
    variables = random_params(model)
    _, trace = run(model, variables, trace=True)
    assert trace.tokens_per_layer == plan(17, (4,), 1)
    assert trace.temporal.tokens_per_layer == plan(3, (1,), 1)
    assert trace.membership.shape == (2, 2, 17)
    assert trace.sizes.shape == (2, 2, 13)
    assert (np.asarray(trace.sizes).sum(-1) == 17).all()
    # One time index alone, by a model that knows no other.
    alone = tiny_factorised(reduction, spatial_layers=1, num_frames=2, spatial_only=True)
    params = {name: leaf for name, leaf in variables["params"].items() if "Temporal" not in name}
    for index in range(2):
        _, one = run(alone, {"params": params}, VIDEO[:, 2 * index : 2 * index + 2], trace=True)
        assert one.temporal is None
        np.testing.assert_array_equal(one.membership[:, 0], trace.membership[:, index])
        np.testing.assert_array_equal(one.sizes[:, 0], trace.sizes[:, index])


def test_heads_share_one_projection_in_alphabetical_order():
    model = tiny_vivit(num_classes={"verb": 2, "noun": 3})
    variables = random_params(model)
    joint = run(tiny_vivit(num_classes=5), variables)
    heads = run(model, variables)
    np.testing.assert_array_equal(heads["noun"], joint[:, :3])
    np.testing.assert_array_equal(heads["verb"], joint[:, 3:])


@pytest.mark.parametrize(
    ("classifier", "layout"), [("gap", "reference"), ("gap", "fixed"), ("gsp", "fixed"), ("gmp", "fixed")]
)
def test_pooling(classifier, layout):
    model = tiny_vivit(Reduction(r=9, layout=layout), classifier=classifier, num_layers=1)
    variables = random_params(model)

    def pooled(variables, video):
        (logits, trace), captured = model.apply(variables, video, trace=True, capture_intermediates=True)
        return logits, trace.sizes, captured["intermediates"]["Transformer"]["encoder_norm"]["__call__"][0]

    logits, sizes, tokens = map(np.asarray, jax.jit(pooled)(variables, VIDEO))
    assert sizes.max() > 1
    weights = sizes[..., None] if layout == "fixed" else np.ones_like(sizes)[..., None]
    vector = {
        "gap": (tokens * weights).sum(1) / weights.sum(1),
        "gsp": (tokens * weights).sum(1),
        "gmp": tokens.max(1),
    }[classifier]
    head = variables["params"]["output_projection"]
    np.testing.assert_allclose(logits, vector @ head["kernel"] + head["bias"], rtol=1e-4, atol=1e-4)


def test_eight_devices_do_not_talk_and_agree_with_one():
    model = tiny_vivit(Reduction(r=5), num_layers=1)
    variables = random_params(model)
    video = tiny_video(batch=8)

    def forward(variables, video):
        logits, trace = model.apply(variables, video, trace=True)
        return logits, trace.membership, trace.sizes

    one = jax.jit(forward)
    expected = [one(variables, video[index : index + 1]) for index in range(8)]

    pmapped = jax.pmap(forward, in_axes=(None, 0))
    split = video.reshape(8, 1, *video.shape[1:])
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    clips = PartitionSpec("batch")
    mapped = jax.jit(jax.shard_map(forward, mesh=mesh, in_specs=(PartitionSpec(), clips), out_specs=clips))
    for run_all, given in ((pmapped, split), (mapped, video)):
        text = run_all.lower(variables, given).compile().as_text()
        assert not [word for word in COLLECTIVES if word in text]
        for part, found in enumerate(run_all(variables, given)):
            for index in range(8):
                np.testing.assert_array_equal(found[index].reshape(-1), expected[index][part].reshape(-1))


@pytest.mark.parametrize("build", [tiny_vivit, tiny_factorised])
def test_wrong_video_shape(build):
    with pytest.raises(UserError, match=r"clips of shape \[B, 4, 16, 16, 3\]; got \[2, 4, 16, 12, 3\]"):
        jax.eval_shape(build().init, jax.random.key(0), VIDEO[:, :, :, :12])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classifier": "mean"}, "classifier is 'mean'; expected 'token', 'gap', 'gmp', 'gsp'"),
        ({"attention": "flash"}, "attention is 'flash'; known are auto, xla, chunked"),
        ({"num_sampled_frames": 2}, r"num_sampled_frames needs a patch size of one frame; got \(2, 4, 4\)"),
        ({"reduction": Reduction(r=[1, 2, 3])}, "3 layers.*2"),
    ],
)
def test_fields_that_do_not_fit(fields, message):
    with pytest.raises(UserError, match=message):
        jax.eval_shape(tiny_vivit(**fields).init, jax.random.key(0), VIDEO)


def test_the_layout_is_the_same_thing_for_a_class_token():
    variables = random_params(tiny_vivit())
    reference, fixed = (run(tiny_vivit(Reduction(r=5, layout=layout)), variables) for layout in ("reference", "fixed"))
    np.testing.assert_array_equal(reference, fixed)


def test_dropout_needs_training():
    model = tiny_vivit(num_layers=1, dropout_rate=0.5, droplayer_rate=0.5)
    variables = random_params(model)
    still = run(model, variables)
    np.testing.assert_array_equal(still, run(tiny_vivit(num_layers=1), variables))
    noisy = run(model, variables, train=True, rngs={"dropout": jax.random.key(0)})
    assert (noisy != still).any()


def test_the_shipped_model_is_small():
    model = create_model("vivit_moving_digits")
    video = jax.ShapeDtypeStruct((1, *model.input_shape), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), video)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) < 1_000_000
