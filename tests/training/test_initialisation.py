import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from recorded_training import SCENIC, load, tree

from jax_vtm.checkpoints import abstract_params, load_checkpoint, save_checkpoint
from jax_vtm.errors import UserError
from jax_vtm.models import create_model, from_scenic_config
from jax_vtm.models.frames import SpaceTimePositions
from jax_vtm.training.initialisation import initial_params
from jax_vtm.training.positions import fitted_positions, zoomed

INIT = load(SCENIC / "init")
# Scenic goes on there with another meaning, or ends with a stack trace.
REFUSED = {
    "image_to_spacetime_arp": "train.init_kernel is 'average_arp_frame'",
    "image_to_fe_tile_wrong_size": "16 positions and the model 36 at each time, 6 x 6",
    "k400_fe_fewer_temporal_layers_in_target": r"blocks that the model has not: TemporalTransformer/encoderblock_1.*"
    r"\(--config.train.init_new=output_projection,TemporalTransformer\)",
}
# Scenic takes 16 positions for a square; with the model's 4 times they are 2 x 2 at each.
CORRECTED = ("k400_spacetime_resize_square_quirk", "k400_spacetime_resize_error")


def begun(name, tmp_path):
    """What ours makes of a recorded case; also the recorded tree and the report."""
    case, arrays = INIT.settings[name], INIT.arrays
    config = case["target_config"]
    model = from_scenic_config(config, num_classes=case["target_classes"], input_shape=tuple(case["target_shape"][1:]))
    source = save_checkpoint(tmp_path / "source", tree(arrays, f"{case.get('from_is_that_of', name)}/from"))
    fresh = tree(arrays, f"{name}/init")
    new = [] if case["restore_output_proj"] else ["output_projection"]
    new += [] if config["init_from"]["restore_positional_embedding"] else ["posembed_input"]
    new += [] if config["init_from"]["restore_input_embedding"] else ["embedding"]
    kernel = config["model"]["temporal_encoding_config"]["kernel_init_method"].removesuffix("_initializer")
    method = config["init_from"]["positional_embed_size_change"]
    if not fresh:
        fresh = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), abstract_params(model))
    params, rows = initial_params(model, fresh, str(source), positions=method, kernel=kernel, new=new)
    return flatten_dict(params, sep="/"), flatten_dict(fresh, sep="/"), {row["leaf"]: row for row in rows}


@pytest.mark.parametrize("name", [name for name in INIT.settings if name not in {*REFUSED, *CORRECTED}])
def test_recorded_initialisation(name, tmp_path):
    case, arrays = INIT.settings[name], INIT.arrays
    params, fresh, rows = begun(name, tmp_path)
    source = flatten_dict(tree(arrays, f"{case.get('from_is_that_of', name)}/from"), sep="/")
    assert set(params) == {*case["kept_from_init"], *case["copied_from"], *case["computed"]}
    for leaf in case["kept_from_init"]:
        np.testing.assert_array_equal(params[leaf], fresh[leaf], err_msg=leaf)
        assert rows[leaf]["how"] == "new"
    for leaf, origin in case["copied_from"].items():
        np.testing.assert_array_equal(params[leaf], source[origin], err_msg=leaf)
        assert (rows[leaf]["from"], rows[leaf]["how"]) == (origin, "taken")
    for leaf in case["computed"]:
        np.testing.assert_allclose(params[leaf], arrays[f"{name}/out/{leaf}"], rtol=0, atol=1e-6, err_msg=leaf)
        assert rows[leaf]["how"] not in ("taken", "new")


@pytest.mark.parametrize("name", REFUSED)
def test_what_scenic_would_take_for_something_else_is_refused(name, tmp_path):
    with pytest.raises(UserError, match=REFUSED[name]):
        begun(name, tmp_path)


@pytest.mark.parametrize("name", CORRECTED)
def test_space_and_time_are_not_taken_for_one_square(name, tmp_path):
    params, _, rows = begun(name, tmp_path)
    leaf = "Transformer/posembed_input/pos_embedding"
    assert "at each time" in rows[leaf]["how"]
    if f"{name}/out/{leaf}" in INIT.arrays:
        assert np.abs(params[leaf] - INIT.arrays[f"{name}/out/{leaf}"]).max() > 0.1


FUNCTIONS = sorted({name.rpartition("/")[0] for name in INIT.arrays if name.startswith("fn/")})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_recorded_tables_of_positions(name):
    table, expected = INIT.arrays[f"{name}/in"], INIT.arrays[f"{name}/out"][0]
    count = int(name.rpartition("_")[2])
    if "tile" in name:
        grid = (count // len(table), len(table), 1)
        if count % len(table):
            with pytest.raises(UserError, match="5 positions"):
                fitted_positions(table, (3, 4, 1), "tile", is_image=True, where="here")
            return
        found, _ = fitted_positions(table, grid, "tile", is_image=True, where="here")
    elif "1d" in name:
        found = zoomed(table, (count,))
    else:
        side = round(count**0.5)
        found, _ = fitted_positions(table, (1, side, side), "resize", is_image=True, where="here")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def vivit():
    return create_model(
        "vivit_b_16x2", num_classes=3, image_size=8, num_frames=4, patch_size=(2, 4, 4), hidden_size=16, num_layers=2,
        num_heads=2, mlp_dim=32,
    )  # fmt: skip


def fresh_params(model):
    """Random parameters in the place of the model's first ones, which would have to be compiled."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), abstract_params(model))


def image_vit(seed=0):
    """An image ViT under big_vision's names in AugReg's files, where all children of a block are counted together."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    arrays = {"cls": draw(1, 1, 16), "embedding/kernel": draw(4, 4, 3, 16), "embedding/bias": draw(16)}
    arrays |= {"head/kernel": draw(16, 10), "head/bias": draw(10)}
    arrays |= {"Transformer/posembed_input/pos_embedding": draw(1, 5, 16)}
    arrays |= {f"Transformer/encoder_norm/{leaf}": draw(16) for leaf in ("scale", "bias")}
    for block in (f"Transformer/encoderblock_{number}" for number in range(2)):
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            arrays |= {f"{block}/{norm}/{leaf}": draw(16) for leaf in ("scale", "bias")}
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            arrays |= {f"{attention}/{part}/kernel": draw(16, 2, 8), f"{attention}/{part}/bias": draw(2, 8)}
        arrays |= {f"{attention}/out/kernel": draw(2, 8, 16), f"{attention}/out/bias": draw(16)}
        for layer, (inputs, outputs) in (("Dense_0", (16, 32)), ("Dense_1", (32, 16))):
            arrays |= {f"{block}/MlpBlock_3/{layer}/kernel": draw(inputs, outputs)}
            arrays |= {f"{block}/MlpBlock_3/{layer}/bias": draw(outputs)}
    return arrays


def hugging_face_names(arrays):
    """The same weights as Hugging Face's `ViTForImageClassification` has them."""
    tensors = {
        "vit.embeddings.cls_token": arrays["cls"],
        "vit.embeddings.position_embeddings": arrays["Transformer/posembed_input/pos_embedding"],
        "vit.embeddings.patch_embeddings.projection.weight": arrays["embedding/kernel"].transpose(3, 2, 0, 1),
        "vit.embeddings.patch_embeddings.projection.bias": arrays["embedding/bias"],
        "vit.layernorm.weight": arrays["Transformer/encoder_norm/scale"],
        "vit.layernorm.bias": arrays["Transformer/encoder_norm/bias"],
        "classifier.weight": arrays["head/kernel"].T,
        "classifier.bias": arrays["head/bias"],
    }
    for number in range(2):
        ours, theirs = f"Transformer/encoderblock_{number}", f"vit.encoder.layer.{number}"
        for norm, name in (("LayerNorm_0", "layernorm_before"), ("LayerNorm_2", "layernorm_after")):
            tensors[f"{theirs}.{name}.weight"] = arrays[f"{ours}/{norm}/scale"]
            tensors[f"{theirs}.{name}.bias"] = arrays[f"{ours}/{norm}/bias"]
        attention = f"{ours}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            name = f"{theirs}.attention.attention.{part}"
            tensors[f"{name}.weight"] = arrays[f"{attention}/{part}/kernel"].reshape(16, 16).T
            tensors[f"{name}.bias"] = arrays[f"{attention}/{part}/bias"].reshape(16)
        tensors[f"{theirs}.attention.output.dense.weight"] = arrays[f"{attention}/out/kernel"].reshape(16, 16).T
        tensors[f"{theirs}.attention.output.dense.bias"] = arrays[f"{attention}/out/bias"]
        for layer, name in (("Dense_0", "intermediate"), ("Dense_1", "output")):
            tensors[f"{theirs}.{name}.dense.weight"] = arrays[f"{ours}/MlpBlock_3/{layer}/kernel"].T
            tensors[f"{theirs}.{name}.dense.bias"] = arrays[f"{ours}/MlpBlock_3/{layer}/bias"]
    return tensors


def timm_names(arrays):
    """The same weights as timm has them."""
    theirs = {
        r"vit.embeddings.cls_token": "cls_token",
        r"vit.embeddings.position_embeddings": "pos_embed",
        r"vit.embeddings.patch_embeddings.projection": "patch_embed.proj",
        r"vit.layernorm": "norm",
        r"classifier": "head",
        r"vit.encoder.layer": "blocks",
        r"layernorm_before": "norm1",
        r"layernorm_after": "norm2",
        r"attention.output.dense": "attn.proj",
        r"intermediate.dense": "mlp.fc1",
        r"output.dense": "mlp.fc2",
    }
    tensors, parts = {}, {}
    for name, array in hugging_face_names(arrays).items():
        for old, new in theirs.items():
            name = name.replace(old, new)
        if ".attention.attention." in name:
            parts.setdefault(re.sub(r"attention\.attention\.\w+", "attn.qkv", name), []).append(array)
        else:
            tensors[name] = array
    return tensors | {name: np.concatenate(arrays) for name, arrays in parts.items()}


NAMES = {"augreg": dict, "hugging_face": hugging_face_names, "timm": timm_names}


@pytest.mark.parametrize("form", NAMES)
def test_an_image_vit_of_any_form_begins_the_same_training(vivit, tmp_path, form):
    arrays, fresh = image_vit(), fresh_params(vivit)
    np.savez(tmp_path / "image.npz", **NAMES[form](arrays))
    params, rows = initial_params(vivit, fresh, str(tmp_path / "image.npz"))
    found = flatten_dict(params, sep="/")
    kernel = found["embedding/kernel"]
    np.testing.assert_array_equal(kernel[1], arrays["embedding/kernel"])
    assert not kernel[0].any()
    table = arrays["Transformer/posembed_input/pos_embedding"]
    positions = np.concatenate([table[:, :1], table[:, 1:], table[:, 1:]], axis=1)
    np.testing.assert_array_equal(found["Transformer/posembed_input/pos_embedding"], positions)
    block = "Transformer/encoderblock_1"
    theirs_by_ours = {
        "LayerNorm_1/scale": "LayerNorm_2/scale",
        "MlpBlock_0/Dense_1/kernel": "MlpBlock_3/Dense_1/kernel",
        "MultiHeadDotProductAttention_0/key/kernel": "MultiHeadDotProductAttention_1/key/kernel",
    }
    for ours, theirs in theirs_by_ours.items():
        np.testing.assert_array_equal(found[f"{block}/{ours}"], arrays[f"{block}/{theirs}"])
    assert [row["leaf"] for row in rows if row["how"] == "new"] == [
        "output_projection/bias",
        "output_projection/kernel",
    ]


FRAMES = [
    ("timesformer_b_8", (1, 4, 4), "augreg"),
    ("timesformer_b_8", (1, 4, 4), "timm"),
    ("motionformer_b_16", (2, 4, 4), "hugging_face"),
]


@pytest.mark.parametrize(("name", "patch", "form"), FRAMES)
def test_an_image_vit_begins_the_models_with_frames(tmp_path, form, name, patch):
    model = create_model(
        name, num_classes=3, image_size=8, num_frames=4, patch_size=patch, hidden_size=16, num_layers=2, num_heads=2,
        mlp_dim=32,
    )  # fmt: skip
    arrays, fresh = image_vit(), fresh_params(model)
    np.savez(tmp_path / "image.npz", **NAMES[form](arrays))
    params, rows = initial_params(model, fresh, str(tmp_path / "image.npz"))
    found, how = flatten_dict(params, sep="/"), {row["leaf"]: row["how"] for row in rows}
    np.testing.assert_array_equal(found["embedding/kernel"][patch[0] // 2], arrays["embedding/kernel"])
    np.testing.assert_array_equal(found["positions/cls"], arrays["cls"])
    np.testing.assert_array_equal(found["positions/space"], arrays["Transformer/posembed_input/pos_embedding"])
    np.testing.assert_array_equal(found["positions/time"], fresh["positions"]["time"])
    attention = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1"
    attentions = ["attention", "temporal_attention"] if "timesformer" in name else ["attention"]
    for ours in attentions:
        for leaf in ("query/kernel", "value/bias", "out/kernel"):
            np.testing.assert_array_equal(found[f"encoderblock_1/{ours}/{leaf}"], arrays[f"{attention}/{leaf}"])
    new = {re.sub(r"^encoderblock_\d/", "", leaf): how for leaf, how in how.items() if how.startswith("new")}
    temporal = {f"temporal_projection/{leaf}": "new, zero" for leaf in ("kernel", "bias")}
    trajectory = [f"attention/trajectory_{part}" for part in ("query", "key", "value")] + ["pre_logits"]
    theirs = {f"{part}/{leaf}": "new" for part in trajectory for leaf in ("kernel", "bias")}
    head = {"positions/time": "new", "output_projection/kernel": "new", "output_projection/bias": "new"}
    assert new == head | (temporal if "timesformer" in name else theirs)
    # Of other frames and pixels, from a file of ours.
    larger = model.clone(num_frames=8, image_size=16)
    path = str(save_checkpoint(tmp_path / "checkpoint", params))
    params, rows = initial_params(larger, fresh_params(larger), path, positions="resize")
    how = {row["leaf"]: row["how"] for row in rows}
    assert how["positions/space"] == "resized from 2 x 2 to 4 x 4"
    assert how["positions/time"] == f"resized from {model.grid[0]}"


def test_positions_in_time_begin_as_zeros():
    params = SpaceTimePositions().init(jax.random.key(0), jnp.zeros((1, 2, 2, 2, 16)))["params"]
    assert not params["time"].any()
    assert params["space"].any()


def test_parts_with_other_layers_begin_anew_where_they_are_named(tmp_path):
    fields = {"num_classes": 3, "image_size": 8, "num_frames": 4, "patch_size": (2, 4, 4), "hidden_size": 16}
    fields |= {"spatial_layers": 1, "spatial_heads": 2, "spatial_mlp_dim": 16, "temporal_heads": 2}
    deep, shallow = (
        create_model("vivit_b_16x2_fe", **fields, temporal_mlp_dim=16, temporal_layers=layers) for layers in (2, 1)
    )
    path = str(save_checkpoint(tmp_path / "checkpoint", fresh_params(deep)))
    _, rows = initial_params(shallow, fresh_params(shallow), path, new=("output_projection", "TemporalTransformer"))
    new = {row["leaf"].split("/")[0] for row in rows if row["how"] == "new"}
    assert new == {"output_projection", "TemporalTransformer"}


def test_videomaes_pretraining_gives_all_but_norm_and_head(tmp_path):
    model = create_model(
        "videomae_b_16", num_classes=3, image_size=8, num_frames=4, patch_size=(2, 4, 4), hidden_size=16, num_layers=1,
        num_heads=2, mlp_dim=32,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    shapes = {
        "patch_embed.proj.weight": (16, 3, 2, 4, 4), "patch_embed.proj.bias": (16,), "blocks.0.norm1.weight": (16,),
        "blocks.0.norm1.bias": (16,), "blocks.0.attn.qkv.weight": (48, 16), "blocks.0.attn.q_bias": (16,),
        "blocks.0.attn.v_bias": (16,), "blocks.0.attn.proj.weight": (16, 16), "blocks.0.attn.proj.bias": (16,),
        "blocks.0.norm2.weight": (16,), "blocks.0.norm2.bias": (16,), "blocks.0.mlp.fc1.weight": (32, 16),
        "blocks.0.mlp.fc1.bias": (32,), "blocks.0.mlp.fc2.weight": (16, 32), "blocks.0.mlp.fc2.bias": (16,),
        "norm.weight": (16,), "norm.bias": (16,),
    }  # fmt: skip
    tensors = {f"encoder.{name}": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    others = {"decoder.blocks.0.norm1.weight": (8,), "encoder_to_decoder.weight": (8, 16), "mask_token": (1, 1, 8)}
    tensors |= {name: np.zeros(shape, np.float32) for name, shape in others.items()}
    np.savez(tmp_path / "pretrained.npz", **tensors)
    fresh = fresh_params(model)
    params, rows = initial_params(model, fresh, str(tmp_path / "pretrained.npz"))
    new = {row["leaf"]: row["how"] for row in rows if row["how"].startswith("new")}
    assert new == {
        "pooled_norm/scale": "new", "pooled_norm/bias": "new", "output_projection/kernel": "new, times 0.001",
        "output_projection/bias": "new, times 0.001",
    }  # fmt: skip
    np.testing.assert_array_equal(
        params["encoderblock_0"]["mlp"]["Dense_0"]["kernel"], tensors["encoder.blocks.0.mlp.fc1.weight"].T
    )
    np.testing.assert_allclose(params["output_projection"]["kernel"], 0.001 * fresh["output_projection"]["kernel"])


def test_other_classes_and_an_own_checkpoint(vivit, tmp_path):
    params = fresh_params(vivit)
    path = save_checkpoint(tmp_path / "checkpoint", params)
    kept, rows = initial_params(vivit, fresh_params(vivit), str(path), new=())
    assert {row["how"] for row in rows} == {"taken"}
    jax.tree.map(np.testing.assert_array_equal, kept, load_checkpoint(path, vivit)["params"])
    other = vivit.clone(num_classes={"noun": 2, "verb": 4})
    _, rows = initial_params(other, fresh_params(other), str(path))
    assert sum(row["how"] == "new" for row in rows) == 2
    with pytest.raises(
        UserError, match=r"(?s)does not fit.*output_projection/kernel: found \(16, 3\), expected \(16, 6\)"
    ):
        initial_params(other, fresh_params(other), str(path), new=())
