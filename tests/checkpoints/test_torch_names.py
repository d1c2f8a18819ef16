"""Tensors by the names of released files, of Hugging Face's and of wrappers, in our trees, and back."""

import json
import math

import numpy as np
import pytest
from checkpoint_cases import (
    GOLDEN,
    KINDS,
    RECORDED,
    VIDEOMAE,
    VIDEOMAES,
    TreeModel,
    assert_same_tree,
    hugging_face_vivit,
    refusal,
    scenic_params,
)
from flax.traverse_util import flatten_dict
from hugging_face_names import of_hugging_face, videomae_of_hugging_face

from jax_vtm.checkpoints import CheckpointError, abstract_params, from_torch_state_dict, to_hugging_face
from jax_vtm.checkpoints.name_tables import MOTIONFORMER, TABLES, architecture_of_file, architecture_of_tree
from jax_vtm.checkpoints.torch_names import torch_sources
from jax_vtm.models import PRESETS, create_model

AUTHORS = KINDS[1:]
VERB_AND_NOUN = {"verb": 5, "noun": 7}

# Names and shapes in the released files, compared with what our full-size models ask for. They were recorded from the
# state dicts of the authors' own model code, built as their configurations say; `*` stands for the number of a block.
RELEASED = json.loads((GOLDEN / "released" / "tensors.json").read_text())
FILES = {
    "vivit-b-16x2-kinetics400": ("vivit_b_16x2", {}),
    "TimeSformer_divST_8x32_224_K400": ("timesformer_b_8", {}),
    "TimeSformer_divST_16x16_448_K400": ("timesformer_b_16_hr", {}),
    "TimeSformer_divST_64_224_SSv2": ("timesformer_b_64", {}),
    "TimeSformer_divST_96x4_224_K400": ("timesformer_b_96", {}),
    "k400_motionformer_224_16x4": ("motionformer_b_16", {}),
    "k400_motionformer_336_16x8": ("motionformer_b_16_hr", {}),
    "k400_motionformer_224_32x3": ("motionformer_b_32_l", {}),
    "ek_motionformer_224_16x4": ("motionformer_b_16", {"num_classes": {"verb": 97, "noun": 300}}),
    "videomae_vit_small_k400": ("videomae_s_16", {}),
    "videomae_vit_base_k400": ("videomae_b_16", {}),
    "videomae_vit_large_k400": ("videomae_l_16", {}),
    "videomae_vit_huge_k400": ("videomae_h_16", {}),
}
REFUSED = {
    "k400_joint_224_16x4": "Motionformer with joint attention",
    "k400_divided_224_16x4": "Motionformer with divided attention",
}


def released(file):
    """Shape by name; of the blocks, which are all alike, the first."""
    return {name.replace("*", "0"): tuple(shape) for name, shape in RELEASED[file]["tensors"].items()}


def test_every_recorded_file_and_every_preset_with_released_tensors_is_checked():
    assert FILES.keys() | REFUSED.keys() == RELEASED.keys()
    # Scenic's own files are those of test_presets.py, and VideoMAE V2's have VideoMAE's tensors.
    assert {preset for preset, _ in FILES.values()} == {
        name for name in PRESETS if not name.startswith(("vivit_", "videomae_v2_")) or name == "vivit_b_16x2"
    }
    for size in "sb":
        assert create_model(f"videomae_v2_{size}_16", num_classes=400) == create_model(f"videomae_{size}_16")


@pytest.mark.parametrize("file", FILES)
def test_full_size_models_ask_for_exactly_the_released_tensors(file):
    preset, overrides = FILES[file]
    model, shapes, blocks = create_model(preset, **overrides), released(file), RELEASED[file]["blocks"]
    assert model.num_layers == blocks
    table = next(table for table in TABLES if table.file == preset.split("_")[0])
    params = flatten_dict(abstract_params(model.clone(num_layers=1)), sep="/")
    assert architecture_of_file(shapes) == architecture_of_tree(params) == table.architecture
    asked: dict[str, tuple[int, ...]] = {}
    for entry in torch_sources(table, params, model, file).values():
        asked |= entry.shapes
    prefix = "model." if preset.startswith("timesformer") else ""
    assert {prefix + name: shape for name, shape in asked.items()} == {
        name: shape for name, shape in shapes.items() if name not in table.leftovers
    }
    # Nothing is counted twice, and nothing is left: the parameters are as many as in the file.
    idle = sum(math.prod(shapes[name]) for name in table.leftovers)
    ours = sum(leaf.size * (blocks if "encoderblock_0" in path else 1) for path, leaf in params.items())
    theirs = sum(math.prod(shape) * (blocks if "*" in name else 1) for name, shape in RELEASED[file]["tensors"].items())
    assert ours + idle == theirs == RELEASED[file]["parameters"]


def test_files_of_other_attention_and_of_nothing_known():
    for file, name in REFUSED.items():
        assert (architecture_of_file(released(file)) or "").startswith(name)
    assert architecture_of_file(["fc.weight"]) is None
    assert architecture_of_tree(["fc/kernel"]) is None


# Recorded tiny models.


def test_hugging_faces_vivit_gives_the_recorded_parameters():
    model, tensors = hugging_face_vivit()
    loaded = from_torch_state_dict(tensors, model)
    assert set(loaded) == {"params"}
    assert_same_tree(loaded, model.params)
    message = refusal(tensors, TreeModel(scenic_params("models/vivit_fe")))
    assert "no counterpart of SpatialTransformer/" in message
    # The names of the class itself since transformers 5.20.
    new = {"attention.attention.query": "attention.q_proj", "attention.attention.key": "attention.k_proj"}
    new |= {"attention.attention.value": "attention.v_proj", "attention.output.dense": "attention.o_proj"}
    new |= {"intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2", "encoder.layer.": "layers."}
    renamed = {}
    for name, tensor in tensors.items():
        for old, now in new.items():
            name = name.replace(old, now)
        renamed[name] = tensor
    assert_same_tree(from_torch_state_dict(renamed, model), model.params)


@pytest.mark.parametrize("heads", [(("noun", 4), ("verb", 3)), (("verb", 4), ("noun", 3))])
def test_heads_are_joined_in_the_models_order(heads):
    model, tensors = hugging_face_vivit()
    split = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier")}
    for leaf in ("weight", "bias"):
        for (head, _), part in zip(heads, np.split(tensors[f"classifier.{leaf}"], [4]), strict=True):
            split[f"{head}_classifier.{leaf}"] = part
    # The dict's own order must not matter.
    shuffled = dict(sorted(split.items(), reverse=True))
    two = TreeModel(model.params, input_shape=model.input_shape, heads=heads)
    assert_same_tree(from_torch_state_dict(shuffled, two), model.params)


@pytest.mark.parametrize("kind", AUTHORS)
def test_every_value_is_used_once_and_query_key_and_value_are_parts_of_one_tensor(kind):
    recorded, params = RECORDED[kind], flatten_dict(RECORDED[kind].params, sep="/")
    # Sums of squares, since a permutation keeps them; the recorded values are random.
    given = [a for name, a in recorded.tensors.items() if name not in MOTIONFORMER.leftovers]
    used = sum(float(np.sum(np.float64(leaf) ** 2)) for leaf in params.values())
    np.testing.assert_allclose(used, sum(float(np.sum(np.float64(a) ** 2)) for a in given), rtol=1e-12)
    assert sum(leaf.size for leaf in params.values()) == sum(a.size for a in given)
    parts = {"attn.qkv": ("query", "key", "value")}
    if kind == "motionformer":
        parts["attn.proj_kv"] = ("trajectory_key", "trajectory_value")
    for name, parts_of_it in parts.items():
        joint = recorded.tensors[f"{recorded.prefix}blocks.1.{name}.weight"]
        for index, part in enumerate(parts_of_it):
            kernel = params[f"encoderblock_1/attention/{part}/kernel"]
            assert kernel.shape == (48, 3, 16)
            np.testing.assert_array_equal(kernel[:, 2, 5], joint[48 * index + 2 * 16 + 5])


@pytest.mark.parametrize("kind", AUTHORS)
def test_two_heads_are_joined_in_alphabetical_order(kind):
    recorded = RECORDED[kind]
    params = from_torch_state_dict(recorded.two_heads, recorded.model.clone(num_classes=VERB_AND_NOUN))["params"]
    kernel = params["output_projection"]["kernel"]
    np.testing.assert_array_equal(kernel[:, :7].T, recorded.two_heads[f"{recorded.prefix}head1.weight"])
    np.testing.assert_array_equal(kernel[:, 7:].T, recorded.two_heads[f"{recorded.prefix}head0.weight"])
    message = refusal(recorded.tensors, recorded.model.clone(num_classes={"object": 3}))
    assert f"{recorded.name}'s files have no counterpart of output_projection/bias" in message
    assert "verb" in message


def test_motionformers_picture_embedding_may_be_there_or_not():
    recorded = RECORDED["motionformer"]
    assert set(recorded.tensors) >= MOTIONFORMER.leftovers
    without = {name: tensor for name, tensor in recorded.tensors.items() if name not in MOTIONFORMER.leftovers}
    assert_same_tree(from_torch_state_dict(without, recorded.model), recorded.params)


# What wrappers put before or into the names, and what lies next to them.


def same_as_videomaes(tensors, given=VIDEOMAES):
    assert_same_tree(from_torch_state_dict(tensors, VIDEOMAE), from_torch_state_dict(given, VIDEOMAE))


@pytest.mark.parametrize("prefix", ["net.", "encoder.", "_orig_mod.", "model.module._orig_mod.", "state.model_ema."])
def test_what_stands_before_all_names_does_not_matter(prefix):
    same_as_videomaes({prefix + name: tensor for name, tensor in VIDEOMAES.items()})


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."])
def test_wrapped_blocks_and_buffers_that_are_not_learned(wrapper):
    buffers = {"total_ops": np.zeros(1), "total_params": np.zeros(1), "blocks.0.total_ops": np.zeros(1)}
    buffers |= {"blocks.1.norm1.num_batches_tracked": np.int64(3), "blocks.0.attn.relative_position_index": np.ones(4)}
    wrapped = {name.replace("blocks.1.", f"blocks.1.{wrapper}"): tensor for name, tensor in VIDEOMAES.items()}
    same_as_videomaes(wrapped | buffers)
    doubled = {**VIDEOMAES, f"blocks.1.{wrapper}norm1.bias": VIDEOMAES["blocks.1.norm1.bias"]}
    assert "two tensors are `blocks.1.norm1.bias`" in refusal(doubled, VIDEOMAE)


def test_other_tensors_next_to_the_model_are_named():
    names = {f"model.{name}": tensor for name, tensor in VIDEOMAES.items()}
    message = refusal({**names, "criterion.weight": np.ones(3)}, VIDEOMAE)
    assert "1 unexpected:\n    criterion.weight: found (3,)" in message
    assert "missing" not in message
    both = names | {f"other.{name}": tensor for name, tensor in VIDEOMAES.items()}
    assert "several sets of the model's tensors, under model., other." in refusal(both, VIDEOMAE)
    tensors = {f"backbone.{name}": tensor for name, tensor in VIDEOMAES.items() if not name.startswith("head.")}
    tensors |= {f"cls_head.fc_cls.{leaf}": VIDEOMAES[f"head.{leaf}"] for leaf in ("weight", "bias")}
    message = refusal(tensors, VIDEOMAE)
    assert "named as in the files of mmaction2" in message
    assert "2 missing:\n    head.bias" in message


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_table_of_positions_is_taken_if_it_is_the_sinusoid(dtype):
    from jax_vtm.models.videomae import sinusoid_positions

    tensors = {name: tensor.astype(dtype) for name, tensor in VIDEOMAES.items()}
    width, model = VIDEOMAES["fc_norm.weight"].size, RECORDED["videomae"].model
    tokens = model.num_frames // model.patch_size[0] * (model.image_size // model.patch_size[1]) ** 2
    table = sinusoid_positions(tokens, width).astype(dtype)
    same_as_videomaes({**tensors, "pos_embed": table}, tensors)
    assert "`pos_embed` holds learned positions" in refusal({**tensors, "pos_embed": table + dtype(0.01)}, VIDEOMAE)
    shorter = {**tensors, "pos_embed": table[:, 1:]}
    assert f"pos_embed: found (1, {tokens - 1}, {width})" in refusal(shorter, VIDEOMAE)


# Hugging Face's VideoMAE.


def test_videomae_of_hugging_face_is_the_authors_under_other_names():
    tensors = videomae_of_hugging_face(VIDEOMAES)
    same_as_videomaes(tensors)
    # As transformers 5.13 to 5.16 wrote it.
    names = {name: name.replace("q_bias", "query.bias").replace("v_bias", "value.bias") for name in tensors}
    linear = {names[name]: tensor for name, tensor in tensors.items()}
    keys = [name.replace("query", "key") for name in linear if name.endswith("query.bias")]
    same_as_videomaes(linear)
    same_as_videomaes(linear | {name: np.zeros(48, np.float32) for name in keys})
    message = refusal(linear | {keys[1]: np.full(48, 1e-4, np.float32)}, VIDEOMAE)
    assert f"`{keys[1]}` holds a bias of keys that is not zero" in message
    two = RECORDED["videomae"].model.clone(num_classes=VERB_AND_NOUN)
    assert "Hugging Face's VideoMAE has no counterpart of output_projection/bias" in refusal(tensors, two)
    before = {name: tensor for name, tensor in tensors.items() if not name.startswith(("fc_norm", "classifier"))}
    before["mask_token"] = np.zeros((1, 1, 24), np.float32)
    assert "files of VideoMAE's pre-training, which have no classifier" in refusal(before, VIDEOMAE)
    message = refusal(tensors, RECORDED["vivit"].model)
    assert "named as in the files of VideoMAE; the model is the unfactorised ViViT" in message


@pytest.mark.parametrize("kind", KINDS)
def test_from_our_variables_back_to_hugging_faces_tensors(kind):
    given, model = RECORDED[kind].tensors, RECORDED[kind].model
    if kind == "motionformer":
        with pytest.raises(CheckpointError, match="Hugging Face has no Motionformer"):
            to_hugging_face({"params": RECORDED[kind].params}, model)
        return
    given = of_hugging_face(kind, given)
    found = to_hugging_face(from_torch_state_dict(given, model), model)
    assert found.keys() == given.keys()
    for name, tensor in given.items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)
        assert found[name].dtype == tensor.dtype


def test_two_heads_become_one_classifier_where_the_model_joins_them():
    given, model = RECORDED["vivit"].two_heads, RECORDED["vivit"].model
    variables = from_torch_state_dict(given, model.clone(num_classes=VERB_AND_NOUN))
    apart = to_hugging_face(variables, model.clone(num_classes=VERB_AND_NOUN))
    np.testing.assert_array_equal(apart["verb_classifier.weight"], given["verb_classifier.weight"])
    joined = to_hugging_face(variables, model.clone(num_classes=12))["classifier.weight"]
    np.testing.assert_array_equal(joined[:7], given["noun_classifier.weight"])
    np.testing.assert_array_equal(joined[7:], given["verb_classifier.weight"])
