"""Files as training programs and Hugging Face leave them: the weights in them, or one sentence."""

import argparse
import collections
import datetime
import json
import logging
import os
import pathlib

import jax
import numpy as np
import pytest
from hugging_face_names import videomae_of_hugging_face
from recorded_tensors import RECORDED, TORCH
from safetensors.numpy import save_file

from jax_vtm.checkpoints import CheckpointError, from_torch_state_dict, load_checkpoint
from jax_vtm.models import create_model

MODEL, TENSORS = (
    RECORDED["videomae"].model,
    {name.removeprefix("model."): tensor for name, tensor in RECORDED["videomae"].tensors.items()},
)
HUGGING_FACE = TORCH.parent / "hugging_face"


def assert_same(found, tensors=TENSORS, model=MODEL):
    jax.tree.map(np.testing.assert_array_equal, found, from_torch_state_dict(tensors, model))


def refusal(load) -> str:
    with pytest.raises(CheckpointError) as caught:
        load()
    assert "\x1b" not in str(caught.value)
    return str(caught.value)


# What wrappers put before or into the names.


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "model.", "network.", "net.", "backbone.", "encoder.", "_orig_mod.", "_forward_module."),
        *("_fsdp_wrapped_module.", "module._orig_mod.", "model.module._orig_mod.", "state.model_ema."),
    ],
)
def test_what_stands_before_all_names_does_not_matter(prefix):
    assert_same(from_torch_state_dict({prefix + name: tensor for name, tensor in TENSORS.items()}, MODEL))


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."])
def test_wrapped_blocks(wrapper):
    wrapped = {name.replace("blocks.1.", f"blocks.1.{wrapper}"): tensor for name, tensor in TENSORS.items()}
    assert_same(from_torch_state_dict(wrapped, MODEL))
    doubled = {**TENSORS, f"blocks.1.{wrapper}norm1.bias": TENSORS["blocks.1.norm1.bias"]}
    assert "two tensors are `blocks.1.norm1.bias`" in refusal(lambda: from_torch_state_dict(doubled, MODEL))


def test_buffers_that_are_not_learned_are_left_out():
    buffers = {"total_ops": np.zeros(1), "total_params": np.zeros(1), "blocks.0.total_ops": np.zeros(1)}
    buffers |= {"blocks.1.norm1.num_batches_tracked": np.int64(3), "blocks.0.attn.relative_position_index": np.ones(4)}
    assert_same(from_torch_state_dict(TENSORS | buffers, MODEL))


def test_other_tensors_beside_the_model_are_named():
    names = {f"model.{name}": tensor for name, tensor in TENSORS.items()}
    message = refusal(lambda: from_torch_state_dict({**names, "criterion.weight": np.ones(3)}, MODEL))
    assert "1 unexpected:\n    criterion.weight: found (3,)" in message
    assert "missing" not in message
    both = names | {f"other.{name}": tensor for name, tensor in TENSORS.items()}
    assert "several sets of the model's tensors, under model., other." in refusal(
        lambda: from_torch_state_dict(both, MODEL)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_table_of_positions_is_taken_if_it_is_the_sinusoid(dtype):
    from jax_vtm.models.videomae import sinusoid_positions

    tensors = {name: tensor.astype(dtype) for name, tensor in TENSORS.items()}
    width = TENSORS["fc_norm.weight"].size
    _, *patch = MODEL.patch_size
    tokens = MODEL.num_frames // MODEL.patch_size[0] * (MODEL.image_size // patch[0]) ** 2
    table = sinusoid_positions(tokens, width).astype(dtype)
    assert_same(from_torch_state_dict({**tensors, "pos_embed": table}, MODEL), tensors)
    moved = {**tensors, "pos_embed": table + dtype(0.01)}
    assert "`pos_embed` holds learned positions" in refusal(lambda: from_torch_state_dict(moved, MODEL))
    shorter = {**tensors, "pos_embed": table[:, 1:]}
    assert f"pos_embed: found (1, {tokens - 1}, {width})" in refusal(lambda: from_torch_state_dict(shorter, MODEL))


def test_mmaction2_is_called_by_its_name():
    tensors = {f"backbone.{name}": tensor for name, tensor in TENSORS.items() if not name.startswith("head.")}
    tensors |= {f"cls_head.fc_cls.{leaf}": TENSORS[f"head.{leaf}"] for leaf in ("weight", "bias")}
    message = refusal(lambda: from_torch_state_dict(tensors, MODEL))
    assert "named as in the files of mmaction2" in message
    assert "2 missing:\n    head.bias" in message


# PyTorch files, and what stands beside the tensors in them.


class Settings:
    """A class of some training program."""


class SettingsDict(dict):
    """Another."""


class Code:
    """Pickled, an order to create a file."""

    def __init__(self, path, call):
        self.path, self.call = path, call

    def __reduce__(self):
        return self.call, (self.path if self.call is pathlib.Path.touch else f"touch {self.path}",)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(params=[False, True], ids=["zip", "old"])
def save(request, torch, tmp_path):
    """Writes a PyTorch file in either form; `TENSORS` in it become tensors."""

    def write(content):
        state = {name: torch.from_numpy(tensor.copy()) for name, tensor in TENSORS.items()}
        content = content(state)
        torch.save(content, tmp_path / "model.pth", _use_new_zipfile_serialization=not request.param)
        return tmp_path / "model.pth"

    return write


def beside(torch):
    """What training scripts put beside tensors."""
    import ml_collections

    return {
        "args": argparse.Namespace(lr=1e-3, out=pathlib.Path("runs"), other=pathlib.PureWindowsPath("c:/runs")),
        "best": np.float64(81.5),
        "numbers": [np.float32(1), np.int64(2), np.bool_(True), np.str_("x"), 1 + 2j, b"3", bytearray(b"4")],
        "arrays": {"rng": np.random.get_state(), "dtype": np.dtype("float32")},  # noqa: NPY002
        "torch": [torch.float16, torch.Size([1, 2]), torch.device("cpu")],
        "python": [{1, 2}, frozenset([3]), slice(1, 2), ..., datetime.datetime(2026, 1, 1)],
        "collections": [
            collections.OrderedDict(a=1),
            collections.defaultdict(list, {"a": [1]}),
            collections.Counter("ab"),
            collections.deque([1]),
        ],
        "config": ml_collections.ConfigDict({"model": {"name": "x"}}),
    }


@pytest.mark.torch
def test_what_training_scripts_put_beside_the_weights(torch, save):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])
    optimizer.param_groups[0]["params"][0].sum().backward()
    optimizer.step()
    path = save(lambda state: {"model": state, "optimizer": optimizer.state_dict(), "epoch": 49, **beside(torch)})
    assert_same(load_checkpoint(path, MODEL))


@pytest.mark.torch
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda state, path: {"model": state, "args": argparse.Namespace(a=[Settings()])}, "Settings` under `args/a`"),
        (lambda state, path: {"model": state, "args": SettingsDict(a=1)}, "SettingsDict` under `args`"),
        (lambda state, path: {"model": state, "class": Settings}, "Settings` under `class`"),
        (lambda state, path: {"model": state, "args": Code(path, os.system)}, "posix.system` under `args`"),
        (lambda state, path: {"model": state, "args": Code(path, pathlib.Path.touch)}, "builtins.getattr`"),
    ],
)
def test_other_classes_are_named_with_their_place_and_nothing_is_run(save, tmp_path, content, said):
    path = save(lambda state: content(state, tmp_path / "ran"))
    message = refusal(lambda: load_checkpoint(path, MODEL))
    assert said in message
    assert 'torch.save(torch.load("model.pth", weights_only=False)["KEY"]' in message
    assert "options" not in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.torch
def test_a_whole_model_says_to_save_its_state_dict(torch, save):
    message = refusal(lambda: load_checkpoint(save(lambda state: torch.nn.Linear(2, 2)), MODEL))
    assert "`torch.nn.modules.linear.Linear`" in message
    assert "save model.state_dict()" in message


@pytest.mark.torch
@pytest.mark.parametrize(
    "content",
    [
        lambda state: {"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}, "epoch": 3},
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}}},
        lambda state: {"checkpoint": {"model": {"state_dict": state}}},
        lambda state: collections.OrderedDict(net=state),
        lambda state: {"model": {**state, "blocks.0._extra_state": None}},
        lambda state: {"model_ema": state},
    ],
)
def test_containers(save, content):
    assert_same(load_checkpoint(save(content), MODEL))


@pytest.mark.torch
@pytest.mark.parametrize(("key", "average"), [("model", "model_ema"), ("state_dict", "state_dict_ema")])
def test_of_weights_and_their_average_the_weights_are_taken_and_that_is_said(save, caplog, key, average):
    path = save(lambda state: {average: {name: 2 * tensor for name, tensor in state.items()}, key: state})
    with caplog.at_level(logging.WARNING):
        assert_same(load_checkpoint(path, MODEL))
    assert f"took the weights under `{key}`; the averaged ones under `{average}`" in caplog.text


@pytest.mark.torch
def test_two_models_in_one_file_are_refused(save):
    path = save(lambda state: {"student": state, "teacher": {name: 2 * tensor for name, tensor in state.items()}})
    assert "several sets of the model's tensors, under student, teacher" in refusal(
        lambda: load_checkpoint(path, MODEL)
    )


@pytest.mark.torch
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda torch, head: head.to(torch.float8_e4m3fn), "found float8_e4m3fn"),
        (lambda torch, head: head.to(torch.int8), "found int8"),
        (lambda torch, head: torch.complex(head, head).conj(), "found complex64"),
        (lambda torch, head: head.to_sparse(), "found a sparse tensor"),
        (lambda torch, head: head.to_sparse_csr(), "found a sparse tensor"),
        (lambda torch, head: torch.quantize_per_tensor(head, 0.1, 0, torch.qint8), "found a quantised tensor"),
        (lambda torch, head: torch.empty_like(head, device="meta"), "found a tensor without values"),
        (lambda torch, head: torch.nested.nested_tensor([head, head[:2]]), "found a nested tensor"),
        (lambda torch, head: torch.ones(1).expand(2**17, 2**17), "found (131072, 131072)"),
        (lambda torch, head: head.numpy(), "found an object of type"),
        (lambda torch, head: None, "found an object of type NoneType"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_without_plain_numbers_are_named(torch, tmp_path, change, said):
    state = {name: torch.from_numpy(tensor.copy()) for name, tensor in TENSORS.items()}
    torch.save({**state, "head.weight": change(torch, state["head.weight"])}, tmp_path / "model.pth")
    message = refusal(lambda: load_checkpoint(tmp_path / "model.pth", MODEL))
    assert said in message
    assert "head.weight" in message or "output_projection/kernel" in message


@pytest.mark.torch
def test_views_of_few_values_are_read_as_what_they_show(torch, save):
    path = save(lambda state: {**state, "head.bias": torch.ones(1).expand(10), "fc_norm.bias": -state["fc_norm.bias"]})
    changed = {**TENSORS, "head.bias": np.ones(10, np.float32), "fc_norm.bias": -TENSORS["fc_norm.bias"]}
    assert_same(load_checkpoint(path, MODEL), changed)


# Hugging Face.


def test_videomae_as_transformers_5_13_to_5_16_wrote_it():
    tensors = videomae_of_hugging_face(TENSORS)
    names = {name: name.replace("q_bias", "query.bias").replace("v_bias", "value.bias") for name in tensors}
    linear = {names[name]: tensor for name, tensor in tensors.items()}
    keys = [name.replace("query", "key") for name in linear if name.endswith("query.bias")]
    assert_same(from_torch_state_dict(linear, MODEL))
    assert_same(from_torch_state_dict(linear | {name: np.zeros(48, np.float32) for name in keys}, MODEL))
    message = refusal(lambda: from_torch_state_dict(linear | {keys[1]: np.full(48, 1e-4, np.float32)}, MODEL))
    assert f"`{keys[1]}` holds a bias of keys that is not zero" in message


def test_videomae_of_hugging_face_is_the_authors_under_other_names(tmp_path):
    tensors = videomae_of_hugging_face(TENSORS)
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    assert_same(load_checkpoint(tmp_path / "model.safetensors", MODEL))
    two = MODEL.clone(num_classes={"verb": 5, "noun": 7})
    assert "Hugging Face's VideoMAE has no counterpart of output_projection/bias" in refusal(
        lambda: from_torch_state_dict(tensors, two)
    )
    before = {name: tensor for name, tensor in tensors.items() if not name.startswith(("fc_norm", "classifier"))}
    before["mask_token"] = np.zeros((1, 1, 24), np.float32)
    assert "files of VideoMAE's pre-training, which have no classifier" in refusal(
        lambda: from_torch_state_dict(before, MODEL)
    )
    assert "named as in the files of VideoMAE; the model is the unfactorised ViViT" in refusal(
        lambda: from_torch_state_dict(tensors, RECORDED["vivit"].model)
    )


@pytest.fixture(scope="module")
def timesformer():
    """A model, its tensors under Hugging Face's names, a video, and the logits of Hugging Face's class."""
    with np.load(HUGGING_FACE / "timesformer.npz") as file:
        tensors = {name.removeprefix("param/"): file[name] for name in file.files if name.startswith("param/")}
        video, logits = file["video"], file["logits"]
    model = create_model(
        "timesformer_b_8",
        num_classes=5,
        image_size=16,
        num_frames=3,
        patch_size=(1, 8, 8),
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        mlp_dim=24,
    )
    return model, tensors, video, logits


def test_hugging_faces_timesformer_gives_the_logits_of_its_class(timesformer):
    model, tensors, video, logits = timesformer
    found = jax.jit(model.apply)(from_torch_state_dict(tensors, model), video)
    np.testing.assert_allclose(found, logits, atol=1e-5)


def save_pretrained(folder, tensors, shards):
    """The files of a folder that `save_pretrained` writes, as far as they matter here."""
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    homes = {name: f"model-{place % shards:05}-of-{shards:05}.safetensors" for place, name in enumerate(tensors)}
    (folder / "config.json").write_text("{}")
    (folder / "preprocessor_config.json").write_text("{}")
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    for home in set(homes.values()):
        save_file({name: tensors[name] for name in tensors if homes[name] == home}, folder / home)
    index = {"metadata": {"total_size": 1}, "weight_map": homes}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("shards", [1, 3])
def test_folders_of_save_pretrained(tmp_path, timesformer, shards):
    save_pretrained(tmp_path, timesformer[1], shards)
    (tmp_path / "pytorch_model.bin").write_bytes(b"safetensors come first")
    assert_same(load_checkpoint(tmp_path, timesformer[0]), timesformer[1], timesformer[0])


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["Vivit", "VideoMAE", "Timesformer"])
def test_folders_that_transformers_itself_wrote(torch, tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    size |= {"image_size": 16, "num_frames": 4, "num_labels": 5, "layer_norm_eps": 1e-6}
    own = {"tubelet_size": [2, 8, 8], "hidden_act": "gelu_fast"} if kind == "Vivit" else {"patch_size": 8}
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**size, **own)
    theirs = getattr(transformers, f"{kind}ForVideoClassification")(config).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(0.15 * torch.randn_like(weight))
    preset = {"Vivit": "vivit_b_16x2", "VideoMAE": "videomae_b_16", "Timesformer": "timesformer_b_8"}[kind]
    model = create_model(
        preset,
        num_classes=5,
        image_size=16,
        num_frames=4,
        patch_size=(1 if kind == "Timesformer" else 2, 8, 8),
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        mlp_dim=24,
    )
    video = np.random.default_rng(1).uniform(-1, 1, (2, 4, 16, 16, 3)).astype(np.float32)
    with torch.no_grad():
        logits = theirs(torch.from_numpy(video.transpose(0, 1, 4, 2, 3).copy())).logits.numpy()
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    binary = load_checkpoint(tmp_path, model)
    theirs.save_pretrained(tmp_path / "sharded", max_shard_size="5KB")
    theirs.save_pretrained(tmp_path / "whole")
    assert (tmp_path / "sharded" / "model.safetensors.index.json").exists()
    for folder in ("sharded", "whole"):
        jax.tree.map(np.testing.assert_array_equal, load_checkpoint(tmp_path / folder, model), binary)
    # Another epsilon in VideoMAE's last normalisation, which the class fixes.
    np.testing.assert_allclose(jax.jit(model.apply)(binary, video), logits, atol=1e-4 if kind == "VideoMAE" else 1e-5)
