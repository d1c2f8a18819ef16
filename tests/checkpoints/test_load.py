import json
import shutil

import jax
import numpy as np
import pytest

from jax_vtm.checkpoints import CheckpointError, from_torch_state_dict, load_checkpoint, save_checkpoint
from jax_vtm.errors import UserError
from jax_vtm.models import from_scenic_config

MODELS = [
    "vivit_spacetime",
    "vivit_fe",
    "vivit_factorised_self_attention",
    "vivit_factorised_dot_product",
]
LAYOUTS = ["legacy_2021/checkpoint", "legacy_2021", "new_msgpack/checkpoint_1234", "new_msgpack"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MODELS)
def test_scenic_files_give_the_recorded_parameters(golden, read_params, tree_model, assert_same_tree, name, layout):
    params = read_params(golden / "models" / f"{name}.npz")
    loaded = load_checkpoint(golden / "checkpoints" / name / layout, tree_model(params))
    assert set(loaded) == {"params"}
    assert_same_tree(loaded["params"], params)


@pytest.mark.parametrize(
    "name",
    [
        "chunked_arrays/checkpoint",
        "empty_pre_logits/checkpoint",
        "pre_linen_names/checkpoint",
        "new_layout_null_state/checkpoint_7",
    ],
)
def test_odd_but_valid_files_load(golden, spacetime_params, spacetime_model, assert_same_tree, name):
    loaded = load_checkpoint(golden / "checkpoints" / "odd" / name, spacetime_model)
    assert_same_tree(loaded["params"], spacetime_params)


@pytest.mark.parametrize("name", MODELS)
def test_real_models_reproduce_scenics_logits(golden, name):
    config = json.loads((golden / "models" / "models.json").read_text())[name]["config"]
    with np.load(golden / "models" / f"{name}.npz") as arrays:
        video, logits = arrays["video"], arrays["logits"]
    model = from_scenic_config(config, num_classes=11, input_shape=video.shape[1:])
    variables = load_checkpoint(str(golden / "checkpoints" / name / "legacy_2021"), model)
    np.testing.assert_allclose(jax.jit(model.apply)(variables, video), logits, atol=2e-5)


def test_real_model_with_two_heads(golden, read_params, assert_same_tree):
    config = json.loads((golden / "models" / "models.json").read_text())["vivit_spacetime"]["config"]
    heads = {"verb": 4, "noun": 7}
    model = from_scenic_config(config, num_classes=heads, input_shape=(8, 16, 24, 3))
    loaded = load_checkpoint(golden / "checkpoints" / "vivit_spacetime" / "legacy_2021", model)
    assert_same_tree(loaded["params"], read_params(golden / "models" / "vivit_spacetime.npz"))


def test_highest_step_of_a_directory_is_read(
    tmp_path, spacetime_params, spacetime_model, replace_leaf, assert_same_tree
):
    older = replace_leaf(spacetime_params, "cls", np.zeros((1, 1, 24), np.float32))
    save_checkpoint(tmp_path / "checkpoint_9", older, step=9)
    save_checkpoint(tmp_path / "checkpoint_10", spacetime_params, step=10)
    save_checkpoint(tmp_path / "checkpoint", older)
    assert_same_tree(load_checkpoint(tmp_path, spacetime_model)["params"], spacetime_params)


@pytest.mark.parametrize("name", ["model.safetensors", "weights.of-any-name"])
def test_kind_is_recognised_from_the_content(golden, tmp_path, read_params, tree_model, assert_same_tree, name):
    params = read_params(golden / "hf" / "scenic.npz")
    shutil.copy(golden / "hf" / "model.safetensors", tmp_path / name)
    model = tree_model(params, input_shape=(8, 16, 16, 3), heads=(("", 7),))
    assert_same_tree(load_checkpoint(tmp_path / name, model)["params"], params)


@pytest.mark.parametrize("prefix", ["", "params/"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_npz_with_the_packages_own_names(tmp_path, tree_model, assert_same_tree, prefix, dtype):
    params = {"a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}, "cls": np.ones(1, np.float32)}
    np.savez(
        tmp_path / "weights.npz",
        **{
            f"{prefix}a/kernel": params["a"]["kernel"].astype(dtype),
            f"{prefix}cls": params["cls"].astype(dtype),
        },
    )
    assert_same_tree(load_checkpoint(tmp_path / "weights.npz", tree_model(params))["params"], params)


def test_npz_with_hugging_face_names(golden, tmp_path, read_params, tree_model, assert_same_tree):
    from safetensors.numpy import load_file

    params = read_params(golden / "hf" / "scenic.npz")
    tensors = load_file(golden / "hf" / "model.safetensors")
    np.savez(tmp_path / "weights.npz", **tensors)
    model = tree_model(params, input_shape=(8, 16, 16, 3), heads=(("", 7),))
    assert_same_tree(load_checkpoint(tmp_path / "weights.npz", model)["params"], params)
    assert_same_tree(from_torch_state_dict(tensors, model)["params"], params)


BAD = {
    "empty_file": ["the file is empty (0 bytes)", "Download it again"],
    "error_page": ["an HTML or XML page, not a checkpoint", "<Code>NoSuchKey</Code>"],
    "truncated_60pct": ["truncated", "ends after 85,450 bytes", "Download it again"],
    "truncated_last_9_bytes": ["truncated", "ends after 71,003 bytes", "Download it again"],
    "no_params": ["no parameters found", "accum_train_time, global_step, model_state, rng"],
    "wrong_shape": [
        "1 of another shape:\n",
        "Transformer/encoderblock_1/MlpBlock_0/Dense_0/kernel: found (24, 28), expected (24, 32)",
    ],
    "missing_layer": [
        "16 missing:\n",
        "Transformer/encoderblock_1/LayerNorm_0/bias: expected (24,)",
        "Transformer/encoderblock_1/MultiHeadDotProductAttention_0/value/kernel: expected (24, 4, 6)",
        "Hint: layer 1 is absent from the checkpoint's Transformer",
    ],
    "missing_cls": ["1 missing:\n    cls: expected (1, 1, 24)"],
    "extra_layer": [
        "16 unexpected:\n",
        "Transformer/encoderblock_3/MlpBlock_0/Dense_0/kernel: found (24, 32)",
        "Hint: the checkpoint's Transformer has 4 layers, the model's 3",
    ],
    "nan_leaf": ["1 not finite (NaN or infinite):\n", " values"],
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_files_are_refused_with_the_reason(golden, spacetime_model, name):
    path = golden / "checkpoints" / "bad" / name / "checkpoint"
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, spacetime_model)
    message = str(caught.value)
    assert isinstance(caught.value, UserError)
    assert message.startswith(f"{path}: ")
    for part in BAD[name]:
        assert part in message, message


def test_every_cut_of_a_file_is_refused(golden, tmp_path, spacetime_model):
    data = (golden / "checkpoints" / "vivit_spacetime" / "legacy_2021" / "checkpoint").read_bytes()
    cuts = [1, 2, 13, 500, len(data) // 3, len(data) // 2, int(len(data) * 0.9), len(data) - 1]
    for size in cuts:
        (tmp_path / "checkpoint").write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=f"truncated: it ends after {size:,} bytes"):
            load_checkpoint(tmp_path, spacetime_model)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x80", "no parameters found.*Top-level keys: none"),
        (b"\x81\xa6params\xc0", "`params` is not a tree of parameters; it is null"),
        (b"\x81\xa9optimizer\xc0", "no parameters found.*Top-level keys: optimizer"),
        (b"\x81\xa6params\xc1", "not a flax msgpack checkpoint, or a damaged one"),
        (b"\x81\xa6params\x80rest", "its data ends at byte 9, the file has 13 bytes"),
        (b"\x81\xa6params\x81\xa1a\xc7\x01\x05x", "unknown msgpack extension type 5"),
        (b"\x93\x01\x02\x03", "not a known checkpoint format"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b'{"error": "not found"}', "a text file, not a checkpoint"),
        (b"\n <!DOCTYPE html><html>", "an HTML or XML page"),
        (b"PK\x03\x04 and no more", "truncated or damaged.*15 bytes|zip archive"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, spacetime_model, content, reason):
    (tmp_path / "checkpoint").write_bytes(content)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_checkpoint(tmp_path, spacetime_model)
    assert str(tmp_path / "checkpoint") in str(caught.value)


def test_truncated_safetensors_is_refused(golden, tmp_path, spacetime_model):
    data = (golden / "hf" / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[:-10])
    with pytest.raises(CheckpointError, match=rf"truncated or damaged.*{len(data) - 10:,} bytes"):
        load_checkpoint(tmp_path / "model.safetensors", spacetime_model)


def test_unreadable_file_is_a_clear_error(tmp_path, spacetime_model, monkeypatch):
    (tmp_path / "checkpoint").write_bytes(b"\x80")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("jax_vtm.checkpoints.load.recognise", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be read: .*Permission denied"):
        load_checkpoint(tmp_path / "checkpoint", spacetime_model)
