"""Files as training programs and Hugging Face leave them: the weights in them, or one sentence."""

import argparse
import collections
import datetime
import io
import logging
import os
import pathlib
import pickle
import zipfile

import jax
import numpy as np
import pytest
from checkpoint_cases import GOLDEN, VIDEOMAE, VIDEOMAES, TreeModel, refusal, write_index, write_safetensors

from jax_vtm.checkpoints import from_torch_state_dict, load_checkpoint
from jax_vtm.models import create_model


def assert_same(found, tensors=VIDEOMAES, model=VIDEOMAE):
    jax.tree.map(np.testing.assert_array_equal, found, from_torch_state_dict(tensors, model))


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
    """Writes a PyTorch file in either form; `VIDEOMAES` in it become tensors."""

    def write(content):
        state = {name: torch.from_numpy(tensor.copy()) for name, tensor in VIDEOMAES.items()}
        content = content(state)
        torch.save(content, tmp_path / "model.pth", _use_new_zipfile_serialization=not request.param)
        return tmp_path / "model.pth"

    return write


@pytest.mark.torch
def test_what_training_scripts_put_next_to_the_weights(torch, save):
    import ml_collections

    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])
    optimizer.param_groups[0]["params"][0].sum().backward()
    optimizer.step()
    others = {
        "optimizer": optimizer.state_dict(),
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
    assert_same(load_checkpoint(save(lambda state: {"model": state, "epoch": 49, **others}), VIDEOMAE))


@pytest.mark.torch
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda state, path: {"model": state, "args": argparse.Namespace(a=[Settings()])}, "Settings` under `args/a`"),
        (lambda state, path: {"model": state, "args": SettingsDict(a=1)}, "SettingsDict` under `args`"),
        (lambda state, path: {"model": state, "class": Settings}, "Settings` under `class`"),
        (lambda state, path: {"model": state, "args": Code(path, os.system)}, "posix.system` under `args`"),
        (
            lambda state, path: {"model": state, "args": Code(path, pathlib.Path.touch)},
            "getattr` under `args`",
        ),
        (lambda state, path: pytest.importorskip("torch").nn.Linear(2, 2), "`torch.nn.modules.linear.Linear`"),
    ],
)
def test_other_classes_are_named_with_their_place_and_nothing_is_run(save, tmp_path, content, said):
    path = save(lambda state: content(state, tmp_path / "ran"))
    message = refusal(path, VIDEOMAE)
    assert said in message
    assert 'torch.save(torch.load("model.pth", weights_only=False)["KEY"]' in message
    assert "save model.state_dict()" in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_pickle_is_refused_by_name_and_not_run(tmp_path, protocol):
    pickled = pickle.dumps({"model_state": Code(tmp_path / "ran", os.system)}, protocol)
    (tmp_path / "bare.pyth").write_bytes(pickled)
    with zipfile.ZipFile(tmp_path / "zipped.pyth", "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    for name in ("bare.pyth", "zipped.pyth"):
        assert "`posix.system` under `model_state`, not tensors alone" in refusal(tmp_path / name, VIDEOMAE)
    assert not (tmp_path / "ran").exists()


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
    assert_same(load_checkpoint(save(content), VIDEOMAE))


@pytest.mark.torch
@pytest.mark.parametrize(("key", "average"), [("model", "model_ema"), ("state_dict", "state_dict_ema")])
def test_of_weights_and_their_average_the_weights_are_taken_and_that_is_said(save, caplog, key, average):
    path = save(lambda state: {average: {name: 2 * tensor for name, tensor in state.items()}, key: state})
    with caplog.at_level(logging.WARNING):
        assert_same(load_checkpoint(path, VIDEOMAE))
    assert f"loaded the weights under `{key}`; to load the averaged ones under `{average}`" in caplog.text
    path = save(lambda state: {"student": state, "teacher": {name: 2 * tensor for name, tensor in state.items()}})
    assert "several sets of the model's tensors, under student, teacher" in refusal(path, VIDEOMAE)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda torch, head: head.to(torch.float8_e4m3fn), "found a tensor of float8_e4m3fn"),
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
    state = {name: torch.from_numpy(tensor.copy()) for name, tensor in VIDEOMAES.items()}
    torch.save({**state, "head.weight": change(torch, state["head.weight"])}, tmp_path / "model.pth")
    message = refusal(tmp_path / "model.pth", VIDEOMAE)
    assert said in message
    assert "head.weight" in message or "output_projection/kernel" in message


@pytest.mark.torch
def test_views_of_few_values_and_parameters_are_read_as_what_they_show(torch, save):
    def views(state):
        negated = torch._neg_view(-state["fc_norm.bias"])
        transposed = state["head.weight"].T.contiguous().T
        return {
            **state,
            "head.bias": torch.ones(1).expand(10),
            "fc_norm.bias": negated,
            "head.weight": torch.nn.Parameter(transposed),
        }

    assert_same(load_checkpoint(save(views), VIDEOMAE), {**VIDEOMAES, "head.bias": np.ones(10, np.float32)})


@pytest.mark.torch
@pytest.mark.parametrize("checksums", [True, False])
def test_the_checksums_of_pytorchs_archives_are_compared_where_they_are(torch, tmp_path, checksums):
    array, path = np.arange(6, dtype=np.float32), tmp_path / "a.pth"
    torch.serialization.set_crc32_options(checksums)
    try:
        torch.save({"params/a": torch.from_numpy(array)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    model = TreeModel({"a": array})
    np.testing.assert_array_equal(load_checkpoint(path, model)["params"]["a"], array)
    path.write_bytes(path.read_bytes().replace(array.tobytes(), (array + 1).tobytes()))
    if checksums:
        assert "it is damaged; download it again (BadZipFile: Bad CRC-32" in refusal(path, model)
    else:
        np.testing.assert_array_equal(load_checkpoint(path, model)["params"]["a"], array + 1)
    stored = io.BytesIO()
    torch.save({"a": torch.zeros(2**20)}, stored)
    with zipfile.ZipFile(stored) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.namelist():
            target.writestr(member, source.read(member))
    assert "its entries are compressed" in refusal(path, model)


# Hugging Face.

SMALL = {"num_classes": 5, "image_size": 16, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "mlp_dim": 24}


@pytest.mark.parametrize("shards", [0, 1, 3])
def test_folders_of_save_pretrained_give_the_logits_of_its_class(tmp_path, shards):
    with np.load(GOLDEN / "hugging_face" / "timesformer.npz") as file:
        tensors = {name.removeprefix("param/"): file[name] for name in file.files if name.startswith("param/")}
        video, logits = file["video"], file["logits"]
    model = create_model("timesformer_b_8", num_frames=3, patch_size=(1, 8, 8), **SMALL)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"safetensors come first")
    if shards:
        write_index(tmp_path / "model.safetensors.index.json", tensors, shards)
    else:
        write_safetensors(tmp_path / "model.safetensors", tensors)
    variables = load_checkpoint(tmp_path, model)
    np.testing.assert_allclose(jax.jit(model.apply)(variables, video), logits, atol=1e-5)


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
    model = create_model(preset, num_frames=4, patch_size=(1 if kind == "Timesformer" else 2, 8, 8), **SMALL)
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
